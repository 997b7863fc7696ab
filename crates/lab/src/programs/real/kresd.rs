//! `kresd`: CZ.NIC Knot Resolver as DNS-ISP. It spells every question in random case.

use std::fmt::Write;
use std::fs;
use std::io;

use super::super::locate::RealProgram;
use super::super::{HostContext, Launch, PrepareError, Ready, master, settings};
use super::{QnameMinimisation, ResolverSettings};

const KIND: &str = "kresd";
pub(super) const PROGRAM: RealProgram = RealProgram { executable: "kresd", install: "apt-get install knot-resolver" };

/// Writes `kresd.conf`.
pub(in super::super) fn prepare(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = ResolverSettings::read(KIND, table)?;
    settings.refuse(KIND, settings.qmin == QnameMinimisation::Strict, "qmin = \"strict\"")?;
    settings.refuse(KIND, settings.ecs, "ecs")?;
    let listen = settings.listen(host)?;
    let family = settings.family(host);
    let program = PROGRAM.locate()?;
    remove_cache(host)?;
    let mut conf = String::from("log_level('notice')\nmodules = { 'hints > iterate', 'policy' }\n");
    for address in &listen {
        let _ = writeln!(conf, "net.listen('{}', {}, {{ kind = 'dns' }})", address.ip(), address.port());
    }
    let _ = writeln!(conf, "net.ipv4 = {}\nnet.ipv6 = {}", family.v4(), family.v6());
    conf.push_str("hints.root({\n");
    for (name, addresses) in master::root_servers(&settings.roots, host, family)? {
        let list: Vec<_> = addresses.iter().map(|address| format!("'{address}'")).collect();
        let _ = writeln!(conf, "  ['{name}'] = {{ {} }},", list.join(", "));
    }
    conf.push_str("})\n");
    // Without it servers on loopback addresses are not asked.
    conf.push_str("option('ALLOW_LOCAL', true)\n");
    conf.push_str("trust_anchors.remove('.')\n");
    for module in ["ta_update", "priming", "ta_signal_query", "ta_sentinel", "detect_time_skew"] {
        let _ = writeln!(conf, "modules.unload('{module}')");
    }
    conf.push_str("policy.add(policy.suffix(policy.PASS, { todname('test.') }))\ncache.size = 16 * MB\n");
    if settings.qmin == QnameMinimisation::Off {
        conf.push_str("option('NO_MINIMIZE', true)\n");
    }
    conf.push_str(&settings.extra);
    let path = settings::write(host, "kresd.conf", &conf)?;
    let argv = vec![program.into(), "-n".into(), "-c".into(), path.into(), host.dir.into()];
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}

/// Its cache is a file that outlives it; other resolvers start with an empty one.
fn remove_cache(host: &HostContext<'_>) -> Result<(), PrepareError> {
    let path = host.dir.join("data.mdb");
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(PrepareError::File { path, source }),
        _ => Ok(()),
    }
}
