//! What the keeper is told, and what it wants done for that.

use std::{collections::BTreeSet, net::IpAddr};

use dglb_core::{
    catalogue::Forced,
    decided::Decided,
    identity::Identity,
    name::Name,
    proto::message::{FleetStamp, Message, Welcome},
    rank::Here,
};
use dglb_probe::{prober::Sample, shares::InForce};

use crate::{
    proof::LookUp,
    registration::{Claim, Outgoing},
    self_check::{Arrived, Check},
};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A probe ended.
    Sample(Sample),
    /// The DNS-ISP has these addresses now.
    Resolvers(Vec<IpAddr>),
    /// The world asks this DNS-LB at these addresses now.
    Addresses(Vec<IpAddr>),
    /// The DNS-ISP has answered a dns-b's challenge with this text.
    LookedUp(LookUp, Vec<u8>),
    /// Where a question to this resolver for a name of this DNS-LB arrived.
    Arrived(IpAddr, Arrived),
    /// The configuration claims this now.
    Claim(Claim),
    /// The operator says what a site of a service counts as, or takes that back.
    Forced(Name, String, Option<Forced>),
    /// It says this of where the DNS-LB is.
    Here(Here),
    /// The link to a dns-b is up; its HELLO named this fleet document.
    Up(Identity, Box<Welcome>, FleetStamp),
    /// A dns-b said something.
    Said(Identity, Message),
    /// Somebody asked for this name, below our label, and we could not answer.
    Asked(Name),
    /// The link to a dns-b is down, or could not be had.
    Down(Identity),
    /// Time went by.
    Tick,
}

/// What has to be done.
#[derive(Debug, Default, PartialEq)]
pub struct Effects {
    /// Messages to send, in this order.
    pub send: Vec<Outgoing>,
    /// Messages to send once the change of this number is on the disk.
    pub after: Vec<(u64, Outgoing)>,
    /// The directory has changed: publish it.
    pub answers: bool,
    /// The targets have changed: probe them.
    pub targets: bool,
    /// These shares of ceilings hold from now on; before anything is sent.
    pub shares: Option<InForce>,
    /// Sites of services to be probed at once.
    pub probe_now: Vec<(Name, String)>,
    /// These sites of these services, and no others of theirs, need not be probed often.
    pub calm: Vec<(Name, BTreeSet<String>)>,
    /// Decisions to be put down.
    pub decided: Vec<Decided>,
    /// Ask the DNS-ISP for these.
    pub look_ups: Vec<LookUp>,
    /// Ask the DNS-ISP for these, too, and see where the questions arrive.
    pub checks: Vec<Check>,
}
