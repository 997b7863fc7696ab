//! Conduct as a DNS server: every row of the table in `docs/conduct.md`, octet by octet, from a
//! dns-b's referral and fall-back addresses and from a DNS-LB, over UDP and over TCP; and with every
//! reply the counters that it must have moved.

mod any;
mod clients;
mod cookies;
mod ecs;
mod ede;
mod edns;
mod encrypted;
mod header;
mod identity;
mod lanes;
mod names;
mod outside;
mod reader;
mod replies;
mod rrl;
mod silence;
mod size;
mod tcp;
mod types;
mod v6;
mod world;
