//! `pdns-recursor`: PowerDNS Recursor as DNS-ISP.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::super::locate::RealProgram;
use super::super::{HostContext, Launch, PrepareError, Ready, master, settings};
use super::{QnameMinimisation, ResolverSettings};

const KIND: &str = "pdns-recursor";
pub(super) const PROGRAM: RealProgram =
    RealProgram { executable: "pdns_recursor", install: "apt-get install pdns-recursor" };
/// From this version on a configuration in `key=value` lines must be asked for.
const YAML_SINCE: (u32, u32) = (5, 2);

/// Writes `recursor.conf` and the root hints.
pub(in super::super) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = ResolverSettings::read(KIND, table)?;
    settings.refuse(KIND, settings.qmin == QnameMinimisation::Strict, "qmin = \"strict\"")?;
    let listen = settings.listen(host)?;
    let family = settings.family(host);
    let program = PROGRAM.locate()?;
    let hints = settings::write(host, "root.hints", &master::root_hints(&settings.roots, host, family)?)?;
    let local: Vec<_> = listen.iter().map(ToString::to_string).collect();
    let sources: Vec<_> =
        [(family.v4(), "0.0.0.0"), (family.v6(), "::")].iter().filter(|(used, _)| *used).map(|(_, any)| *any).collect();
    let mut conf = format!(
        "local-address={}\nquery-local-address={}\nallow-from=0.0.0.0/0,::/0\ndont-query=\nhint-file={}\n",
        local.join(","),
        sources.join(","),
        hints.display(),
    );
    let _ = writeln!(
        conf,
        "dnssec=off\nqname-minimization={}\nsocket-dir={}\nsecurity-poll-suffix=\ndaemon=no\nwrite-pid=no",
        if settings.qmin == QnameMinimisation::Off { "no" } else { "yes" },
        host.dir.display(),
    );
    conf.push_str("threads=1\nany-to-tcp=no\ndisable-syslog=yes\n");
    if settings.ecs {
        conf.push_str("edns-subnet-allow-list=0.0.0.0/0,::/0\necs-add-for=0.0.0.0/0,::/0\n");
        conf.push_str("ecs-ipv4-bits=24\nuse-incoming-edns-subnet=yes\n");
    }
    conf.push_str(&settings.extra);
    settings::write(host, "recursor.conf", &conf)?;
    let wants_yaml = version(&program).is_some_and(|version| version >= YAML_SINCE);
    let mut argv = vec![program.into(), format!("--config-dir={}", host.dir.display()).into()];
    if wants_yaml {
        argv.push("--enable-old-settings".into());
    }
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}

/// Major and minor version, as the program tells.
fn version(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    parse_version(&String::from_utf8_lossy(&said))
}

fn parse_version(said: &str) -> Option<(u32, u32)> {
    let (_, rest) = said.split_once("PowerDNS Recursor ")?;
    let mut numbers = rest.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_banner() {
        assert_eq!(parse_version("msg=\"PowerDNS Recursor 4.8.8 (C) 2001-2022\""), Some((4, 8)));
        assert_eq!(parse_version("PowerDNS Recursor 5.2.0-alpha1 (C)"), Some((5, 2)));
        assert_eq!(parse_version("something else"), None);
    }
}
