//! `unbound`: NLnet Labs Unbound as DNS-ISP. Recent versions, Debian's 1.17 among them, drop an answer
//! that took more than 1.9 s (`discard-timeout`): the client gets it when it asks again.

use std::fmt::Write;

use super::super::locate::RealProgram;
use super::super::{HostContext, Launch, PrepareError, Ready, master, settings};
use super::{QnameMinimisation, ResolverSettings};

const KIND: &str = "unbound";
pub(super) const PROGRAM: RealProgram = RealProgram { executable: "unbound", install: "apt-get install unbound" };

/// Writes `unbound.conf` and the root hints.
pub(in super::super) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = ResolverSettings::read(KIND, table)?;
    let listen = settings.listen(host)?;
    let family = settings.family(host);
    let program = PROGRAM.locate()?;
    let hints = settings::write(host, "root.hints", &master::root_hints(&settings.roots, host, family)?)?;
    let yes = |set: bool| if set { "yes" } else { "no" };
    let mut conf = format!(
        r#"server:
  directory: "{dir}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: ""
  verbosity: 1
  num-threads: 1
  port: {port}
  do-ip4: {v4}
  do-ip6: {v6}
  prefer-ip6: no
  access-control: 0.0.0.0/0 allow
  access-control: ::/0 allow
  do-not-query-localhost: no
  local-zone: "test." nodefault
  root-hints: "{hints}"
  module-config: "{modules}"
  qname-minimisation: {qmin}
  qname-minimisation-strict: {strict}
"#,
        dir = host.dir.display(),
        port = listen[0].port(),
        v4 = yes(family.v4()),
        v6 = yes(family.v6()),
        hints = hints.display(),
        modules = if settings.ecs { "subnetcache iterator" } else { "iterator" },
        qmin = yes(settings.qmin != QnameMinimisation::Off),
        strict = yes(settings.qmin == QnameMinimisation::Strict),
    );
    for address in &listen {
        let _ = writeln!(conf, "  interface: {}", address.ip());
    }
    if settings.ecs {
        conf.push_str("  send-client-subnet: 0.0.0.0/0\n  send-client-subnet: ::/0\n");
        conf.push_str("  max-client-subnet-ipv4: 24\n  client-subnet-always-forward: yes\n");
    }
    let _ = write!(conf, "{}\nremote-control:\n  control-enable: no\n", settings.extra);
    let path = settings::write(host, "unbound.conf", &conf)?;
    let argv = vec![program.into(), "-d".into(), "-p".into(), "-c".into(), path.into()];
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}
