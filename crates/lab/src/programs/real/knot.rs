//! `knot`: CZ.NIC Knot DNS as DNS-A.

use std::fmt::Write;

use super::super::locate::RealProgram;
use super::super::{HostContext, Launch, PrepareError, Ready, settings};
use super::PrimarySettings;

const KIND: &str = "knot";
pub(super) const PROGRAM: RealProgram = RealProgram { executable: "knotd", install: "apt-get install knot" };

/// Writes `knot.conf` and the master files. With a key its zones take updates and give transfers.
pub(in super::super) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = PrimarySettings::read(KIND, table)?;
    let listen = settings.listen(host)?;
    let program = PROGRAM.locate()?;
    let dir = host.dir.display();
    let sockets: Vec<_> = listen.iter().map(|address| format!("{}@{}", address.ip(), address.port())).collect();
    let mut conf = format!(
        r#"server:
  rundir: "{dir}"
  listen: [ {} ]
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
- target: stderr
  any: warning
database:
  storage: "{dir}"
"#,
        sockets.join(", "),
    );
    if let Some(key) = &settings.key {
        let _ = write!(
            conf,
            "key:\n- id: \"{name}\"\n  algorithm: {}\n  secret: \"{}\"\nacl:\n- id: keyed\n  key: \"{name}\"\n  action: [ transfer, update ]\n",
            key.algorithm,
            key.secret,
            name = key.name,
        );
    }
    conf.push_str("zone:\n");
    for (origin, path) in settings.write_zones(host)? {
        let _ = writeln!(conf, "- domain: \"{origin}\"\n  file: \"{path}\"");
        if settings.key.is_some() {
            conf.push_str("  acl: keyed\n");
        }
    }
    conf.push_str(&settings.extra);
    let path = settings::write(host, "knot.conf", &conf)?;
    let argv = vec![program.into(), "-c".into(), path.into()];
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}
