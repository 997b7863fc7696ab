//! `nsd`: NLnet Labs NSD as root, TLD or DNS-A. It takes no updates.

use std::fmt::Write;

use super::super::locate::RealProgram;
use super::super::{HostContext, Launch, PrepareError, Ready, settings};
use super::PrimarySettings;

const KIND: &str = "nsd";
pub(super) const PROGRAM: RealProgram = RealProgram { executable: "nsd", install: "apt-get install nsd" };

/// Writes `nsd.conf` and the master files. With a key its zones can be transferred.
pub(in super::super) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = PrimarySettings::read(KIND, table)?;
    let listen = settings.listen(host)?;
    let program = PROGRAM.locate()?;
    let dir = host.dir.display();
    let mut conf = format!(
        r#"server:
  username: ""
  chroot: ""
  zonesdir: "{dir}"
  pidfile: ""
  database: ""
  xfrdfile: "{dir}/xfrd.state"
  zonelistfile: "{dir}/zone.list"
  xfrdir: "{dir}"
  server-count: 1
  refuse-any: no
  rrl-ratelimit: 0
  verbosity: 1
  port: {}
"#,
        listen[0].port(),
    );
    for address in &listen {
        let _ = writeln!(conf, "  ip-address: {}", address.ip());
    }
    let _ = writeln!(conf, "remote-control:\n  control-enable: no");
    let mut transfer = String::new();
    if let Some(key) = &settings.key {
        let _ = writeln!(
            conf,
            "key:\n  name: \"{}\"\n  algorithm: {}\n  secret: \"{}\"",
            key.name, key.algorithm, key.secret
        );
        transfer = format!("  provide-xfr: 0.0.0.0/0 {name}\n  provide-xfr: ::/0 {name}\n", name = key.name);
    }
    for (origin, path) in settings.write_zones(host)? {
        let _ = write!(conf, "zone:\n  name: \"{origin}\"\n  zonefile: \"{path}\"\n{transfer}");
    }
    conf.push_str(&settings.extra);
    let path = settings::write(host, "nsd.conf", &conf)?;
    let argv = vec![program.into(), "-d".into(), "-c".into(), path.into()];
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}
