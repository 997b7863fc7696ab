//! Talking to a lab in the background: one request and one reply, JSON each, over a unix socket in
//! the user's runtime directory. Each side ends what it says by closing its half.

mod client;
mod server;

use std::{net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::process::Signal;

pub(crate) use client::{AskError, ask};
pub(crate) use server::serve;

/// Longest request or reply in octets.
const LONGEST: u64 = 16 << 20;

/// What a lab can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Request {
    /// All hosts.
    Status,
    /// End everything; answered when it has ended.
    Down,
    Start {
        host: String,
    },
    Stop {
        host: String,
    },
    Restart {
        host: String,
    },
    Kill {
        host: String,
        signal: Signal,
    },
    /// The pair, or the whole host.
    Cut {
        a: String,
        b: Option<String>,
    },
    /// The pair, or the whole host.
    Heal {
        a: String,
        b: Option<String>,
    },
    /// Each direction, milliseconds.
    Delay {
        a: String,
        b: String,
        ms: f64,
    },
    /// Each direction, percent.
    Loss {
        a: String,
        b: String,
        percent: f64,
    },
    /// Links of a host, or all, that have seen packets.
    Links {
        host: Option<String>,
    },
    /// How to get into a host.
    Entrance {
        host: String,
    },
    /// What its program wrote last.
    Log {
        host: String,
    },
}

/// What a lab answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reply {
    Done,
    Refused(String),
    Status(Status),
    Links(Vec<LinkStatus>),
    Entrance(Entrance),
    Log(String),
}

/// A lab as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) process: u32,
    pub(crate) backend: String,
    pub(crate) dir: PathBuf,
    pub(crate) hosts: Vec<HostStatus>,
    pub(crate) multicast: u64,
    pub(crate) unroutable: u64,
}

/// One host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HostStatus {
    pub(crate) name: String,
    pub(crate) addresses: Vec<IpAddr>,
    /// The kind of its program, if it has one.
    pub(crate) program: Option<String>,
    /// In words.
    pub(crate) state: String,
    pub(crate) cut_off: bool,
}

/// One direction between two hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LinkStatus {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) delay_ms: f64,
    pub(crate) jitter_ms: f64,
    pub(crate) loss_percent: f64,
    pub(crate) is_cut: bool,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) cut: u64,
    pub(crate) overflowed: u64,
}

/// What a process of the same user needs to get into a host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entrance {
    /// The process that holds the lab; its user namespace must be entered first.
    pub(crate) process: u32,
    pub(crate) namespace: PathBuf,
    pub(crate) dir: PathBuf,
    /// To be set, so that the lab finds the process when it ends.
    pub(crate) marker: String,
}
