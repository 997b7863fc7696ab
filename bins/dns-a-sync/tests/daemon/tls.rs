//! Certificates of everybody who plays in these tests: all of one authority, which is as old as the
//! process.

use std::{path::Path, sync::OnceLock};

use dglb_ca::Ephemeral;
use dglb_node::link::{Credentials, LinkSettings, TlsFiles};

static AUTHORITY: OnceLock<Ephemeral> = OnceLock::new();

/// Who signs for all of them.
pub(crate) fn authority() -> &'static Ephemeral {
    AUTHORITY.get_or_init(|| Ephemeral::new().expect("a key can be made"))
}

/// Writes what the host of this name (`dglb:dns-lb:lb1`) needs into a directory.
pub(crate) fn equip(name: &str, directory: &Path) {
    authority().write(&name.parse().expect("a name"), directory).expect("room for files");
}

/// Settings of the links of the host of this name.
pub(crate) fn links(name: &str) -> LinkSettings {
    let directory = tempfile::tempdir().expect("room for files");
    equip(name, directory.path());
    let name = name.parse().expect("a name");
    let credentials = Credentials::load(&TlsFiles::in_directory(directory.path()), name).expect("they were just made");
    LinkSettings { tls: Some(credentials), ..LinkSettings::default() }
}
