//! `bind` and `bind-auth`: ISC BIND as DNS-ISP and as DNS-A.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::locate::RealProgram;
use super::super::settings::Family;
use super::super::{HostContext, Launch, PrepareError, Ready, TsigKey, master, settings};
use super::{PrimarySettings, QnameMinimisation, ResolverSettings, of_family};

const RESOLVER: &str = "bind";
const PRIMARY: &str = "bind-auth";
pub(super) const PROGRAM: RealProgram = RealProgram { executable: "named", install: "apt-get install bind9" };

/// Writes `named.conf` of a recursive resolver, and the root hints.
pub(in super::super) fn prepare_resolver(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = ResolverSettings::read(RESOLVER, table)?;
    settings.refuse(RESOLVER, settings.ecs, "ecs")?;
    let listen = settings.listen(host)?;
    let family = settings.family(host);
    let program = PROGRAM.locate()?;
    let hints = settings::write(host, "root.hints", &master::root_hints(&settings.roots, host, family)?)?;
    let qmin = match settings.qmin {
        QnameMinimisation::Off => "off",
        QnameMinimisation::On => "relaxed",
        QnameMinimisation::Strict => "strict",
    };
    let options = format!(
        "recursion yes; allow-recursion {{ any; }}; allow-query {{ any; }}; prefetch 0;\n  qname-minimization {qmin};"
    );
    let mut conf = options_block(host, &listen, &options);
    let _ = writeln!(conf, "zone \".\" {{ type hint; file \"{}\"; }};", hints.display());
    conf.push_str(&settings.extra);
    launch(host, program, &conf, family, listen)
}

/// Writes `named.conf` of a primary and its master files. With a key its zones take updates and
/// give transfers.
pub(in super::super) fn prepare_primary(table: toml::Table, host: &HostContext<'_>) -> Result<Launch, PrepareError> {
    let settings = PrimarySettings::read(PRIMARY, table)?;
    let listen = settings.listen(host)?;
    let program = PROGRAM.locate()?;
    let mut conf = options_block(host, &listen, "recursion no; allow-query { any; };\n  notify explicit;");
    let permission = match &settings.key {
        None => "allow-transfer { none; };".to_owned(),
        Some(TsigKey { name, algorithm, secret }) => {
            let _ = writeln!(conf, "key \"{name}\" {{ algorithm {algorithm}; secret \"{secret}\"; }};");
            format!("allow-update {{ key \"{name}\"; }}; allow-transfer {{ key \"{name}\"; }};")
        }
    };
    for (origin, path) in settings.write_zones(host)? {
        let _ = writeln!(conf, "zone \"{origin}\" {{ type primary; file \"{path}\"; {permission} }};");
    }
    conf.push_str(&settings.extra);
    let family = Family::Auto.of(host.addresses);
    launch(host, program, &conf, family, listen)
}

fn options_block(host: &HostContext<'_>, listen: &[SocketAddr], options: &str) -> String {
    let addresses = |v4: bool| {
        let list: String = of_family(listen, v4).map(|address| format!("{address}; ")).collect();
        if list.is_empty() { "none; ".to_owned() } else { list }
    };
    format!(
        r#"options {{
  directory "{dir}"; managed-keys-directory "{dir}";
  pid-file none; lock-file none; session-keyfile "{dir}/session.key";
  listen-on port {port} {{ {v4}}};
  listen-on-v6 port {port} {{ {v6}}};
  dnssec-validation no; empty-zones-enable no; masterfile-format text;
  {options}
}};
controls {{ }};
logging {{ channel stderr {{ stderr; severity notice; }}; category default {{ stderr; }}; }};
"#,
        dir = host.dir.display(),
        port = listen[0].port(),
        v4 = addresses(true),
        v6 = addresses(false),
    )
}

fn launch(
    host: &HostContext<'_>,
    program: PathBuf,
    conf: &str,
    family: Family,
    listen: Vec<SocketAddr>,
) -> Result<Launch, PrepareError> {
    let path = settings::write(host, "named.conf", conf)?;
    let mut argv = vec![program.into(), "-f".into(), "-n".into(), "1".into(), "-c".into(), path.into()];
    match family {
        Family::Ipv4 => argv.push("-4".into()),
        Family::Ipv6 => argv.push("-6".into()),
        Family::Auto | Family::Dual => {}
    }
    Ok(Launch { argv, env: Vec::new(), ready: Ready::Dns(listen) })
}
