//! What the scenarios share: real daemons in this process on loopback addresses of their own,
//! whoever asks them and whoever they talk to, and the shipped programs.
//!
//! Whatever is waited for is looked at again and again until a deadline; nothing sleeps in hope.
//! Every answer is checked together with the counters that it must have moved.

pub mod admin;
pub mod binaries;
pub mod chain;
pub mod configs;
pub mod dns_a;
pub mod dns_b;
pub mod ground;
pub mod intruder;
pub mod packet;
pub mod peer;
pub mod question;
pub mod raw;
pub mod running;
pub mod sites;
pub mod strict;
pub mod tls;
pub mod wait;

pub use admin::{Admin, Counters};
pub use chain::{Chain, Size};
pub use ground::{Ground, scenario};
pub use running::Running;
pub use wait::{LONG, eventually, so};
