//! What daemons say of themselves, over their real admin endpoints.

use std::{collections::BTreeMap, net::SocketAddr};

use reqwest::{Client, StatusCode};
use serde_json::Value;

use crate::wait::LONG;

/// The admin endpoint of a daemon.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    client: Client,
}

/// Every sample of `/metrics` at one moment, by name and labels as they are printed.
#[derive(Clone, Debug)]
pub struct Counters(BTreeMap<String, f64>);

impl Admin {
    /// Of a daemon that listens there.
    ///
    /// # Panics
    /// When no client can be made, for want of memory.
    pub fn new(address: SocketAddr) -> Self {
        // A proxy in the environment must not be asked; and the endpoint closes what has been open for a minute,
        // which may be in the middle of a question on a connection that is used again.
        let client = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(LONG)
            .build()
            .expect("a plain client needs nothing");
        Self { address, client }
    }

    /// Status code and body of a page; an error if nobody listens.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn fetch(&self, path: &str) -> Result<(StatusCode, String), String> {
        let fetch = async {
            let response = self.client.get(format!("http://{}{path}", self.address)).send().await?;
            Ok((response.status(), response.text().await?))
        };
        fetch.await.map_err(|error: reqwest::Error| format!("{}{path}: {error}", self.address))
    }

    /// A page that must be there.
    ///
    /// # Panics
    /// When it is not.
    pub async fn page(&self, path: &str) -> String {
        match self.fetch(path).await {
            Ok((StatusCode::OK, body)) => body,
            other => panic!("{path}: {other:?}"),
        }
    }

    /// The status document.
    ///
    /// # Panics
    /// When there is none.
    pub async fn status(&self) -> Value {
        let text = self.page("/api/v1/status").await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
    }

    /// All counters.
    ///
    /// # Panics
    /// When there are none.
    pub async fn counters(&self) -> Counters {
        let text = self.page("/metrics").await;
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            (series.to_owned(), value.parse().unwrap_or_else(|error| panic!("{line}: {error}")))
        };
        Counters(text.lines().filter(|line| !line.starts_with('#')).map(sample).collect())
    }

    /// One counter; `series` with its labels as they are printed.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn counter(&self, series: &str) -> u64 {
        self.counters().await.of(series)
    }

    /// How many questions were decided in this way.
    ///
    /// # Panics
    /// When there is no such decision.
    pub async fn decisions(&self, decision: &str) -> u64 {
        self.counters().await.decisions(decision)
    }
}

impl Counters {
    /// One of them.
    ///
    /// # Panics
    /// When there is none of this name.
    pub fn of(&self, series: &str) -> u64 {
        let found = self.0.get(series);
        *found.unwrap_or_else(|| panic!("no {series} among {:#?}", self.0.keys())) as u64
    }

    /// How many questions were decided in this way.
    ///
    /// # Panics
    /// When there is no such decision.
    pub fn decisions(&self, decision: &str) -> u64 {
        self.of(&format!("dglb_dns_decisions_total{{decision=\"{decision}\"}}"))
    }

    /// How many questions were answered with this response code.
    ///
    /// # Panics
    /// When there is no such counter.
    pub fn replies(&self, rcode: &str) -> u64 {
        self.of(&format!("dglb_dns_replies_total{{rcode=\"{rcode}\"}}"))
    }

    /// What has grown since `before`, by how much.
    pub fn since(&self, before: &Self) -> BTreeMap<String, u64> {
        let grown = |(series, now): (&String, &f64)| {
            let was = before.0.get(series).copied().unwrap_or_default();
            (*now > was).then(|| (series.clone(), (*now - was) as u64))
        };
        self.0.iter().filter_map(grown).collect()
    }
}
