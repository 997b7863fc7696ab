//! Conduct as a DNS server: every row of the table in `docs/conduct.md`, octet by octet, from a
//! dns-b's referral and fall-back addresses and from a DNS-LB, over UDP and over TCP; and with every
//! reply the counters that it must have moved.

mod ecs;
mod edns;
mod header;
mod size;
mod world;
