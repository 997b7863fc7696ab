//! One daemon that is asked over its admin endpoint.

use std::time::Duration;

use serde_json::Value;

use crate::{
    address::Address,
    cli::{Failure, code, print},
    explain,
    fetch::{FetchError, Method, fetch, request},
    force,
    map::{encoded, map_table},
    render::render,
};

/// One daemon to ask.
pub(crate) struct Daemon<'a> {
    pub(crate) address: &'a Address,
    pub(crate) patience: Duration,
}

impl Daemon<'_> {
    pub(crate) async fn status(&self) -> Result<Value, Failure> {
        let body = self.good("/api/v1/status").await?;
        let document: Value = serde_json::from_str(&body).map_err(|e| self.stranger(e.to_string()))?;
        match document.get("daemon") {
            Some(_) => Ok(document),
            None => Err(self.stranger("its status names no daemon".into())),
        }
    }

    pub(crate) async fn show(&self, several: bool) -> Result<(), Failure> {
        let document = self.status().await?;
        let readiness = match self.readiness().await? {
            None => "ready".to_owned(),
            Some(reasons) => format!("NOT READY: {reasons}"),
        };
        let text = format!("{}{readiness}\n", render(&document));
        print(&if several { format!("== {}\n{text}\n", self.address) } else { text })
    }

    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let address = self.address;
        match self.readiness().await? {
            None => print(&format!("{address}: ready\n")),
            Some(reasons) => {
                Err(Failure { code: code::NOT_READY, message: format!("{address}: not ready: {reasons}") })
            }
        }
    }

    pub(crate) async fn metrics(&self, prefix: Option<&str>) -> Result<(), Failure> {
        let body = self.good("/metrics").await?;
        let Some(prefix) = prefix else { return print(&body) };
        let lines: String = body.lines().filter(|l| l.starts_with(prefix)).map(|l| format!("{l}\n")).collect();
        print(&lines)
    }

    /// Whether this daemon runs there.
    pub(crate) async fn is(&self, daemon: &str) -> bool {
        self.kind().await.is_ok_and(|kind| kind == daemon)
    }

    /// Which daemon runs there.
    pub(crate) async fn kind(&self) -> Result<String, Failure> {
        Ok(self.status().await?["daemon"].as_str().unwrap_or_default().to_owned())
    }

    /// Explains an answer; `false` if this daemon is not the one that is meant.
    pub(crate) async fn explain(&self, wanted: &explain::Arguments, several: bool) -> Result<bool, Failure> {
        if !wanted.is_for(&self.kind().await?) {
            return Ok(false);
        }
        let document = self.asked(Method::Get, &wanted.path()).await?;
        if wanted.json {
            return print(&format!("{document:#}\n")).map(|()| true);
        }
        let text = explain::text(&document);
        print(&if several { format!("{text}\n") } else { text }).map(|()| true)
    }

    pub(crate) async fn map(&self, prefix: Option<&str>, limit: u32, json: bool) -> Result<(), Failure> {
        let prefix = prefix.map_or_else(String::new, |prefix| format!("&prefix={}", encoded(prefix)));
        let document = self.asked(Method::Get, &format!("/api/v1/map?limit={limit}{prefix}")).await?;
        if json {
            return print(&format!("{document:#}\n"));
        }
        print(&map_table(&document))
    }

    pub(crate) async fn drain(&self, identity: &str, drained: bool) -> Result<(), Failure> {
        let path = format!("/api/v1/drain?dns-lb={}&drained={drained}", encoded(identity));
        let document = self.asked(Method::Change, &path).await?;
        let state = if drained { "drained" } else { "not drained" };
        let before = if document["changed"] == true { "" } else { ", as before" };
        print(&format!("{}: {identity} is {state}{before}\n", self.address))
    }

    pub(crate) async fn force(&self, wanted: &force::Arguments) -> Result<(), Failure> {
        self.asked(Method::Change, &wanted.path()).await?;
        print(&format!("{}: {}\n", self.address, wanted.done()))
    }

    /// The document that answers a request; what is wrong with it is the user's mistake.
    async fn asked(&self, method: Method, path: &str) -> Result<Value, Failure> {
        match request(self.address, method, path, self.patience).await? {
            (200, body) => serde_json::from_str(&body).map_err(|e| self.stranger(e.to_string())),
            (422, wrong) => {
                Err(Failure { code: code::USAGE, message: format!("{}: {}", self.address, wrong.trim_end()) })
            }
            (404, _) => Err(self.stranger("it is another daemon, or an older one".to_owned())),
            (code, _) => Err(self.stranger(format!("HTTP status {code}"))),
        }
    }

    /// What the daemon waits for; `None` when it is ready.
    async fn readiness(&self) -> Result<Option<String>, Failure> {
        match fetch(self.address, "/readyz", self.patience).await? {
            (200, _) => Ok(None),
            (503, reasons) => Ok(Some(reasons.lines().collect::<Vec<_>>().join("; "))),
            (code, _) => Err(self.stranger(format!("HTTP status {code}"))),
        }
    }

    async fn good(&self, path: &str) -> Result<String, Failure> {
        match fetch(self.address, path, self.patience).await? {
            (200, body) => Ok(body),
            (code, _) => Err(self.stranger(format!("HTTP status {code}"))),
        }
    }

    fn stranger(&self, what: String) -> Failure {
        FetchError::Stranger { address: self.address.clone(), what }.into()
    }
}
