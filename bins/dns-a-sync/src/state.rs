//! What was published last, in a file, so that generations and guard rails outlive a restart. The
//! file is whole at any moment: a new one replaces it in one step.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use dglb_core::{catalogue::ZoneCatalogue, identity::Identity, name::Name};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::generation::Origin;

/// Raised when the file changes its meaning.
const FORMAT: u32 = 1;
/// The file in the state directory.
const FILE: &str = "published.json";
/// Octets beyond which a file is none of ours.
const MOST: u64 = 256 << 20;

/// What is in the file.
#[derive(Debug, Deserialize, Serialize)]
struct Saved {
    format: u32,
    zones: Vec<SavedZone>,
}

#[derive(Debug, Deserialize, Serialize)]
struct SavedZone {
    catalogue: ZoneCatalogue,
    sent_to: BTreeSet<Identity>,
}

/// Why the state cannot be read or written.
#[derive(Debug, Error)]
pub enum StateError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path}: {what}; move it away to start without it")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

/// The state directory.
#[derive(Clone, Debug)]
pub struct State {
    directory: PathBuf,
}

impl State {
    /// The state kept in `directory`, which must exist.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// What was saved; nothing if there is no file yet.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn load(&self) -> Result<BTreeMap<Name, Origin>, StateError> {
        let path = self.directory.join(FILE);
        let io = |source| StateError::Io { path: path.clone(), source };
        let content = |what| StateError::Content { path: path.clone(), what };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            // A missing directory is a mistake, a missing file a first start.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.directory.is_dir() => {
                return Ok(BTreeMap::new());
            }
            Err(error) => return Err(io(error)),
        };
        if file.metadata().map_err(io)?.len() > MOST {
            return Err(content("it is far too large".to_owned()));
        }
        let saved: Saved = serde_json::from_reader(io::BufReader::new(file)).map_err(|e| content(e.to_string()))?;
        if saved.format != FORMAT {
            return Err(content(format!("it has format {}, wanted {FORMAT}", saved.format)));
        }
        let origin = |zone: SavedZone| (zone.catalogue.zone.clone(), Origin::restored(zone.catalogue, zone.sent_to));
        Ok(saved.zones.into_iter().map(origin).collect())
    }

    /// What [`State::save`] is to write: everything that was ever published.
    ///
    /// # Errors
    /// [`StateError::Content`], which cannot happen.
    pub fn encode(&self, origins: &BTreeMap<Name, Origin>) -> Result<Vec<u8>, StateError> {
        let zone = |origin: &Origin| {
            let catalogue = ZoneCatalogue::clone(origin.current()?);
            Some(SavedZone { catalogue, sent_to: origin.recipients().clone() })
        };
        let saved = Saved { format: FORMAT, zones: origins.values().filter_map(zone).collect() };
        let path = self.directory.join(FILE);
        serde_json::to_vec(&saved).map_err(|e| StateError::Content { path, what: e.to_string() })
    }

    /// Replaces the file, and returns when the new one is on the disk.
    ///
    /// # Errors
    /// [`StateError::Io`]; the old file stays then.
    pub fn save(&self, octets: &[u8]) -> Result<(), StateError> {
        let path = self.directory.join(FILE);
        let new = self.directory.join(format!("{FILE}.new"));
        let write = || {
            let mut file = fs::File::create(&new)?;
            file.write_all(octets)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            fs::File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| StateError::Io { path: path.clone(), source })
    }
}

#[cfg(test)]
mod tests {
    use dglb_core::catalogue::ZoneStyle;

    use super::*;

    fn origin(generation: u64) -> Origin {
        let catalogue = ZoneCatalogue {
            zone: "glb.foobar.com".parse().unwrap(),
            generation,
            soa_serial: 1,
            style: ZoneStyle::SubZone,
            cname_ttl: 60,
            services: vec![],
            records: vec![],
        };
        Origin::restored(catalogue, ["b1".parse().unwrap()].into())
    }

    #[test]
    fn what_was_saved_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::new(directory.path());
        assert!(state.load().unwrap().is_empty());
        for generation in [7, 8] {
            let origins = BTreeMap::from([("glb.foobar.com".parse().unwrap(), origin(generation))]);
            state.save(&state.encode(&origins).unwrap()).unwrap();
            let loaded = state.load().unwrap();
            let (zone, loaded) = loaded.first_key_value().unwrap();
            assert_eq!(zone.to_string(), "glb.foobar.com.");
            assert_eq!(loaded.current(), origin(generation).current());
            assert_eq!(loaded.recipients(), origin(generation).recipients());
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing is left lying about");
    }

    /// Written before services could have HTTPS records and policies scales.
    #[test]
    fn what_an_older_version_wrote_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let service = r#"{"name":"www.glb.foobar.com.","host":"www.foobar.com.","mode":"referral","ttl":300,"answers":1,
            "policy":{"margin_ms":10,"margin_percent":10,"latency":1.0,"cost":0.0},"probes":[],"sites":[]}"#;
        let zone = r#""zone":"glb.foobar.com.","generation":7,"soa_serial":7,"style":"sub-zone","cname_ttl":60"#;
        let catalogue = format!(r#"{{{zone},"services":[{service}],"records":[]}}"#);
        let file = format!(r#"{{"format":1,"zones":[{{"catalogue":{catalogue},"sent_to":["b1"]}}]}}"#);
        fs::write(directory.path().join(FILE), file).unwrap();
        let loaded = State::new(directory.path()).load().unwrap();
        let published = loaded.first_key_value().and_then(|(_, origin)| origin.current()).unwrap();
        assert_eq!((published.generation, published.services[0].https.as_ref()), (7, None));
        assert_eq!(published.services[0].policy, dglb_core::catalogue::Policy::default(), "without scales");
    }

    #[test]
    fn what_is_not_ours_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let state = State::new(directory.path());
        for bad in ["", "{", "[]", r#"{"format":2,"zones":[]}"#] {
            fs::write(directory.path().join(FILE), bad).unwrap();
            let error = state.load().unwrap_err().to_string();
            assert!(error.contains(FILE) && error.contains("move it away"), "{error}");
        }
        let missing = State::new(&directory.path().join("missing"));
        assert!(matches!(missing.load(), Err(StateError::Io { .. })));
        assert!(matches!(missing.save(b"{}"), Err(StateError::Io { .. })));
    }
}
