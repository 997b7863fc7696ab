//! Whether a daemon is ready, and if not, why not.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Conditions that must hold before a daemon is ready. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<BTreeMap<&'static str, String>>>);

impl Readiness {
    /// Ready: nothing is waited for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Not ready for as long as `condition` is not met, and why, for people.
    pub fn wait(&self, condition: &'static str, why: impl Into<String>) {
        self.unmet().insert(condition, why.into());
    }

    /// `condition` is met.
    pub fn met(&self, condition: &'static str) {
        self.unmet().remove(condition);
    }

    /// Whether everything is met.
    pub fn is_ready(&self) -> bool {
        self.unmet().is_empty()
    }

    /// What is not met, as `condition: why`, sorted.
    pub fn reasons(&self) -> Vec<String> {
        self.unmet().iter().map(|(condition, why)| format!("{condition}: {why}")).collect()
    }

    fn unmet(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        // Each change is one insert or remove: never half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
