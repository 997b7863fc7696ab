//! Configuration files: a file is either understood whole or refused with **every** mistake in it,
//! each as `file:line:column: message`.
//!
//! `serde` stops at the first mistake, so a file is read as a tree of values that know where they
//! stand, through a [`Section`] for each table. Reading never stops: a reader takes all its keys
//! first and puts the parts together last, and whatever went wrong on the way is noted. Keys that
//! nobody asked for are mistakes too.
//!
//! ```
//! use std::{net::SocketAddr, time::Duration};
//! use dglb_node::config::{duration, text, Section};
//!
//! struct Config { listen: SocketAddr, interval: Duration }
//!
//! fn read(section: &Section<'_>) -> Option<Config> {
//!     let listen = section.required("listen", text);
//!     let interval = section.or("interval", duration("100ms", "1h"), Duration::from_secs(10));
//!     Some(Config { listen: listen?, interval }) // every `?` at the end, or keys go unread
//! }
//! # let file = tempfile::NamedTempFile::new().unwrap();
//! # std::fs::write(&file, "listen = '127.0.0.1:53'\ninterval = '2s'").unwrap();
//! let loaded = dglb_node::config::load(file.path(), read).unwrap();
//! assert_eq!(loaded.value.interval, Duration::from_secs(2));
//! ```

mod decisions;
mod dns;
mod fleet;
mod links;
mod place;
mod problem;
mod secrets;
mod section;
mod suggest;
mod transports;
mod value;

use std::path::Path;

pub use decisions::decisions;
pub(crate) use dns::RATE_TABLE;
pub use dns::{Cookies, Dns, SecretFile};
pub use fleet::fleet;
pub use links::link_security;
pub use place::{group, location};
pub use problem::{ConfigError, Problem};
pub use secrets::Secrets;
pub use section::Section;
pub use value::{Value, boolean, choice, duration, integer, moment, number, seconds, size, text};

use problem::Sink;

/// A configuration that was understood, and what an operator should hear about it all the same.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// What the reader made of the file.
    pub value: T,
    /// Legal, but probably not what was meant; sorted by position.
    pub warnings: Vec<Problem>,
}

/// Reads the TOML file at `path` with `read`, which sees its top level.
///
/// # Errors
/// [`ConfigError`] with everything that is wrong: the file cannot be read, syntax, unknown keys,
/// wrong types, missing keys, and what `read` complained about.
pub fn load<T>(path: &Path, read: impl FnOnce(&Section<'_>) -> Option<T>) -> Result<Loaded<T>, ConfigError> {
    let sink = Sink::default();
    let value = section::read_file(path, &sink, read);
    let (problems, warnings) = sink.into_sorted();
    match value {
        Some(value) if problems.is_empty() => Ok(Loaded { value, warnings }),
        _ => Err(ConfigError::new(path, problems)),
    }
}

#[cfg(test)]
mod tests;
