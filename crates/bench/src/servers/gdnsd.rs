//! gdnsd 3.

use std::{fmt::Write, io, net::SocketAddrV4, path::Path};

use super::{file, zones};
use crate::world;

/// Writes its files; the arguments to start it with.
pub(super) fn prepare(folder: &Path, address: SocketAddrV4, weighted: bool) -> io::Result<Vec<String>> {
    let record = |service| if weighted { format!("DYNA weighted!svc{service}") } else { zones::address(service) };
    zones::write(&folder.join("zones"), str::to_owned, record)?;
    for name in ["run", "state"] {
        std::fs::create_dir(folder.join(name))?;
    }
    let (port, path) = (address.port(), folder.display());
    let mut text = format!(
        "options => {{\n  listen => {{ {}:{port} => {{ udp_threads = 1, tcp_threads = 1 }} }}\n  \
         run_dir = {path}/run\n  state_dir = {path}/state\n}}\n",
        address.ip()
    );
    if weighted {
        text += "plugins => { weighted => {\n  service_types = up\n";
        for service in 0..world::SERVICES {
            let site = |site| format!("s{site} = [ {}, {} ]", world::site_address(service, site), 1 + site);
            let sites: Vec<String> = (0..4).map(site).collect();
            let _ = writeln!(text, "  svc{service} => {{ {} }}", sites.join(", "));
        }
        text += "} }\n";
    }
    file(folder, "config", &text)?;
    Ok(["-c", &path.to_string(), "start"].map(str::to_owned).into())
}
