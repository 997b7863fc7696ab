//! Waiting for what must come.

use std::time::{Duration, Instant};

/// Longer than anything here may ever take, on a machine that has much else to do.
pub const LONG: Duration = Duration::from_secs(30);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until it sees what it is to see; an error says what is there instead.
///
/// # Panics
/// After [`LONG`], with what was seen last.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        let instead = match look().await {
            Ok(seen) => return seen,
            Err(instead) => instead,
        };
        assert!(start.elapsed() < LONG, "not within {LONG:?}: {what}; instead: {instead}");
        tokio::time::sleep(LOOK).await;
    }
}

/// For [`eventually`]: whether it is so, and else what there is.
///
/// # Errors
/// What there is instead.
pub fn so(is: bool, instead: impl std::fmt::Debug) -> Result<(), String> {
    if is { Ok(()) } else { Err(format!("{instead:?}")) }
}
