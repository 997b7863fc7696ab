//! Knot DNS 3.

use std::{fmt::Write, io, net::SocketAddrV4, path::Path};

use super::{file, zones};
use crate::world;

/// Writes its files; the arguments to start it with.
pub(super) fn prepare(folder: &Path, address: SocketAddrV4) -> io::Result<Vec<String>> {
    zones::write(&folder.join("zones"), |name| format!("{name}.zone"), zones::address)?;
    let path = folder.display();
    let mut text = format!(
        "server:\n    listen: {}@{}\n    rundir: \"{path}\"\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\nlog:\n  - target: stderr\n    any: error\ndatabase:\n    storage: \"{path}/db\"\n\
         template:\n  - id: default\n    storage: \"{path}/zones\"\n    file: \"%s.zone\"\nzone:\n",
        address.ip(),
        address.port()
    );
    for zone in 0..world::ZONES {
        let _ = writeln!(text, "  - domain: {}", world::zone(zone));
    }
    Ok(["-c".to_owned(), file(folder, "knot.conf", &text)?].into())
}
