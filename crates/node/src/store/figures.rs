//! Figures of a store, for the admin endpoint.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Figures of one store; clones count into the same.
#[derive(Clone, Debug)]
pub struct StoreFigures {
    /// Commits that reached the disk.
    pub commits: Counter,
    /// Commits that did not.
    pub failures: Counter,
    /// 1 while the last commit has failed and is tried again.
    pub failing: Gauge,
    /// Keys changed by one commit.
    pub writes: Histogram,
    /// Seconds that one commit took.
    pub seconds: Histogram,
    /// Files set aside since they could not be read.
    pub set_aside: Counter,
    /// Records passed over since they could not be read.
    pub unreadable: Counter,
}

impl Default for StoreFigures {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            failures: Counter::default(),
            failing: Gauge::default(),
            // One to a million.
            writes: Histogram::new(exponential_buckets(1.0, 4.0, 11)),
            // A quarter of a millisecond to four seconds.
            seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            set_aside: Counter::default(),
            unreadable: Counter::default(),
        }
    }
}

impl StoreFigures {
    /// Puts the figures into a registry, as `dglb_store_…`.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("dglb_store");
        store.register("commits", "Commits that reached the disk", self.commits.clone());
        store.register("commit_failures", "Commits that failed; they are tried again", self.failures.clone());
        store.register("failing", "1 while the last commit has failed", self.failing.clone());
        store.register("commit_writes", "Keys changed by one commit", self.writes.clone());
        store.register("commit_seconds", "Seconds that one commit took", self.seconds.clone());
        store.register("set_aside", "Files set aside since they could not be read", self.set_aside.clone());
        store.register("records_unreadable", "Records passed over, being none", self.unreadable.clone());
    }
}
