//! What happened: always as a hash, for the eye only when asked.

use crate::Ms;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    verbose: bool,
}

impl Trace {
    pub(crate) fn new(verbose: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, verbose }
    }

    /// Of everything so far.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// At `host`, `what` happened; the numbers tell it from others of its kind.
    pub(crate) fn note(&mut self, (now, host): (Ms, usize), what: &str, numbers: [u64; 2]) {
        let octets = what.bytes().map(u64::from);
        for value in [now, host as u64].into_iter().chain(numbers).chain(octets) {
            self.hash = (self.hash ^ value).wrapping_mul(0x0100_0000_01b3);
        }
        if self.verbose {
            println!("{now:>6} ms  host {host:<2}  {what} {} {}", numbers[0], numbers[1]);
        }
    }

    /// For the eye alone.
    pub(crate) fn detail(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            println!("                     {}", text());
        }
    }
}
