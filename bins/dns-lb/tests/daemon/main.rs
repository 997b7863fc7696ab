//! A whole dns-lb in this process, between dns-bs that speak the real protocol, sites that answer
//! real HTTP, and questions over real sockets, all on loopback.

mod backbone;
mod encrypted;
mod host;
mod links;
mod lookup;
mod place;
mod tls;
