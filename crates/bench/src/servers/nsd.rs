//! NSD 4.

use std::{fmt::Write, io, net::SocketAddrV4, path::Path};

use super::{file, zones};
use crate::world;

/// Writes its files; the arguments to start it with. Its limits on the rate of responses are off,
/// since it cannot exempt a client.
pub(super) fn prepare(folder: &Path, address: SocketAddrV4) -> io::Result<Vec<String>> {
    zones::write(&folder.join("zones"), |name| format!("{name}.zone"), zones::address)?;
    let path = folder.display();
    let mut text = format!(
        "server:\n  ip-address: {}@{}\n  server-count: 1\n  username: \"\"\n  database: \"\"\n  \
         zonesdir: \"{path}/zones\"\n  pidfile: \"{path}/nsd.pid\"\n  xfrdfile: \"{path}/xfrd.state\"\n  \
         zonelistfile: \"{path}/zone.list\"\n  xfrdir: \"{path}\"\n  rrl-ratelimit: 0\n  rrl-whitelist-ratelimit: 0\n\
         remote-control:\n  control-enable: no\n",
        address.ip(),
        address.port()
    );
    for zone in (0..world::ZONES).map(world::zone) {
        let _ = writeln!(text, "zone:\n  name: \"{zone}\"\n  zonefile: \"{zone}.zone\"");
    }
    Ok(["-d".to_owned(), "-c".to_owned(), file(folder, "nsd.conf", &text)?].into())
}
