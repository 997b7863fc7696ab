//! The programs of a world's hosts and their configurations.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use dglb_ca::{AuthorityError, Ephemeral};
use toml::{Table, Value};

use super::{ENTERPRISE, ISPS, Plan, Resolver, SERVERS, SITES, Style, WWW, site};
use crate::topology::HostSpec;

/// The key under which dns-a-sync may change DNS-A; it guards nothing outside of a lab.
const KEY_NAME: &str = "lab-key";
const KEY_SECRET: &str = "bGFiLWtleS1sYWIta2V5LWxhYi1rZXktbGFiLWtleSE=";
/// Where dns-bs take map links.
const MAP_PORT: u16 = 5300;
/// Where the daemons find their certificates.
const TLS: &str = Ephemeral::CONFIG;
/// The DNS-LBs; the last is the default group.
const LBS: [&str; ISPS + 1] = ["lb1", "lb2", "lb3"];

/// All hosts in the order in which they start, with certificates that are made anew each time.
///
/// # Errors
/// When no certificate can be made.
pub(super) fn hosts(plan: &Plan) -> Result<Vec<HostSpec>, AuthorityError> {
    let ca = Ephemeral::new()?;
    let mut hosts = vec![
        HostSpec { program: Some(name_server([(".", root_zone(plan))])), ..plan.host("root") },
        HostSpec {
            program: Some(name_server([("test", tld_zone(plan)), ("ops.test", operator_zone(plan))])),
            ..plan.host("tld")
        },
        HostSpec { program: Some(dns_a(plan)), ..plan.host("dnsa") },
    ];
    for s in 0..SITES {
        let program = table([("kind", "site".into()), ("hosts", Value::Array(vec![WWW.into()]))]);
        hosts.push(HostSpec { program: Some(program), ..plan.host(&site(s)) });
    }
    for server in SERVERS {
        let mut host = plan.host(server);
        host.addresses.extend(plan.fallback_addresses(server));
        hosts.push(HostSpec { program: Some(certified(&ca, server, dns_b(plan, server))?), ..host });
    }
    hosts.push(HostSpec { program: Some(certified(&ca, "sync", dns_a_sync(plan))?), ..plan.host("sync") });
    for (n, resolver) in plan.resolvers.iter().enumerate() {
        let isp = format!("isp{}", n + 1);
        hosts.push(HostSpec { program: Some(resolver_program(*resolver, plan.qmin[n])), ..plan.host(&isp) });
    }
    for (n, lb) in LBS.iter().enumerate() {
        let isp = (n < ISPS).then(|| format!("isp{}", n + 1));
        let program = Some(certified(&ca, lb, dns_lb(plan, lb, isp.is_some()))?);
        hosts.push(HostSpec { program, resolver: isp.into_iter().collect(), ..plan.host(lb) });
    }
    for n in 1..=ISPS {
        hosts.push(HostSpec { resolver: vec![format!("isp{n}")], ..plan.host(&format!("client{n}")) });
    }
    Ok(hosts)
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Table>())
}

fn name_server<const N: usize>(zones: [(&str, String); N]) -> Value {
    let zones = zones.map(|(origin, text)| table([("origin", origin.into()), ("text", text.into())]));
    table([("kind", "name-server".into()), ("zones", Value::Array(zones.into()))])
}

/// Address records of a name, in master-file form.
fn addresses(zone: &mut String, owner: &str, addresses: &[IpAddr]) {
    for address in addresses {
        let rtype = if address.is_ipv4() { "A" } else { "AAAA" };
        let _ = writeln!(zone, "{owner} {rtype} {address}");
    }
}

fn root_zone(plan: &Plan) -> String {
    let mut zone = "$ORIGIN .\n$TTL 86400\n@ SOA a.root-lab. hostmaster.root-lab. 1 1800 900 604800 86400\n".to_owned();
    zone.push_str("@ NS a.root-lab.\ntest. NS a.nic.test.\n");
    addresses(&mut zone, "a.root-lab.", &plan.host_addresses("root"));
    addresses(&mut zone, "a.nic.test.", &plan.host_addresses("tld"));
    zone
}

fn tld_zone(plan: &Plan) -> String {
    let mut zone =
        "$ORIGIN test.\n$TTL 3600\n@ SOA a.nic hostmaster.nic 1 1800 900 604800 300\n@ NS a.nic\n".to_owned();
    addresses(&mut zone, "a.nic", &plan.host_addresses("tld"));
    zone.push_str("foobar NS ns1.foobar\nops NS a.nic\n");
    addresses(&mut zone, "ns1.foobar", &plan.host_addresses("dnsa"));
    zone
}

/// The operator's own zone, on the TLD's server: all that it has is the dns-bs' zones for proofs.
fn operator_zone(plan: &Plan) -> String {
    let mut zone =
        "$ORIGIN ops.test.\n$TTL 3600\n@ SOA a.nic.test. hostmaster 1 1800 900 604800 300\n@ NS a.nic.test.\n"
            .to_owned();
    for server in SERVERS {
        for address in plan.host_addresses(server) {
            let family = if address.is_ipv4() { 4 } else { 6 };
            let name = format!("{family}.{server}.prove");
            let _ = writeln!(zone, "{name} NS ns.{name}");
            addresses(&mut zone, &format!("ns.{name}"), &[address]);
        }
    }
    zone
}

/// The enterprise's zone holds its sites; delegation and CNAME are dns-a-sync's work.
fn enterprise_zone(plan: &Plan) -> String {
    let mut zone = format!("$ORIGIN {ENTERPRISE}.\n$TTL 300\n@ SOA ns1 hostmaster 1 300 60 604800 5\n@ NS ns1\n");
    addresses(&mut zone, "ns1", &plan.host_addresses("dnsa"));
    for s in 0..SITES {
        addresses(&mut zone, &format!("{}.sites", site(s)), &plan.host_addresses(&site(s)));
    }
    zone
}

fn dns_a(plan: &Plan) -> Value {
    let zone = table([("origin", ENTERPRISE.into()), ("text", enterprise_zone(plan).into())]);
    let key = table([("name", KEY_NAME.into()), ("algorithm", "hmac-sha256".into()), ("secret", KEY_SECRET.into())]);
    table([("kind", plan.dns_a.kind().into()), ("zones", Value::Array(vec![zone])), ("key", key)])
}

fn resolver_program(resolver: Resolver, qmin: &str) -> Value {
    let roots = Value::Array(vec!["root".into()]);
    table([("kind", resolver.kind().into()), ("roots", roots), ("qmin", qmin.into())])
}

/// A daemon with its configuration, by the lab's own executable or the shipped one.
fn daemon<const N: usize>(plan: &Plan, kind: &str, config: &str, files: [(&str, Value); N]) -> Value {
    let mut program = Table::new();
    program.insert("kind".into(), kind.into());
    program.insert("config".into(), config.into());
    program.insert("files".into(), table(files));
    if kind == "dns-a-sync" {
        program.insert("ready".into(), table([("tcp", "127.0.0.1:8053".into())]));
    }
    if let Some(folder) = &plan.binaries {
        program.insert("binary".into(), folder.join(kind).display().to_string().into());
    }
    Value::Table(program)
}

/// The daemon, with the certificates of its host beside its configuration.
fn certified(ca: &Ephemeral, identity: &str, mut program: Value) -> Result<Value, AuthorityError> {
    let kind = program.get("kind").and_then(Value::as_str).unwrap_or_default();
    let name = format!("dglb:{kind}:{identity}");
    let name = name.parse().map_err(|_| AuthorityError::Name(name))?;
    if let Some(files) = program.get_mut("files").and_then(Value::as_table_mut) {
        files.extend(ca.files(&name)?.map(|(file, text)| (file.to_owned(), text.into())));
    }
    Ok(program)
}

fn quoted<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| format!("\"{}\"", i.to_string())).collect();
    format!("[{}]", items.join(", "))
}

fn fleet(plan: &Plan) -> String {
    let mut fleet = "serial = 1\noperator-zone = \"ops.test\"\nhostmaster = \"hostmaster.ops.test\"\n".to_owned();
    for server in SERVERS {
        let _ = write!(
            fleet,
            "\n[[dns-b]]\nidentity = \"{server}\"\nreferral = {}\nfallback = {}\n",
            quoted(plan.host_addresses(server)),
            quoted(plan.fallback_addresses(server)),
        );
    }
    fleet
}

fn dns_b(plan: &Plan, identity: &str) -> Value {
    let at = |port| quoted(plan.host_addresses(identity).into_iter().map(|a| SocketAddr::new(a, port)));
    let (listen, tls, https) = (at(MAP_PORT), at(853), at(443));
    let mut config = format!(
        r#"identity = "{identity}"
fleet = "fleet.toml"

[dns]
lanes = 1

[dns.tls]
referral = {tls}
certificate = "certificate.pem"
key = "key.pem"

[dns.https]
referral = {https}

[dns.quic]
referral = {tls}

[map]
listen = {listen}
{TLS}
lease = "60s"

[check]
interval = "2s"
timeout = "1s"
fall = 2

[prove]
interval = "2s"
# All hosts of the lab are in one /64.
v6-bits = 128

[[default]]
dns-lb = "{default}"

[admin]
listen = "127.0.0.1:8053"

[[peer]]
identity = "sync"
role = "dns-a-sync"
may-publish = ["{zone}"]
"#,
        default = LBS[ISPS],
        zone = plan.zone(),
    );
    for (n, lb) in LBS.iter().enumerate() {
        let resolver = plan.host_addresses(&format!("isp{}", n + 1)).into_iter().filter(|_| plan.mapping);
        let _ = write!(
            config,
            "\n[[peer]]\nidentity = \"{lb}\"\nrole = \"dns-lb\"\nmay-map = {}\nmay-prove = {}\n",
            quoted(resolver),
            plan.proving,
        );
    }
    daemon(plan, "dns-b", &config, [("fleet.toml", fleet(plan).into())])
}

/// `[[dns-b]]` as every dialling daemon has it.
fn servers(plan: &Plan) -> String {
    let mut text = String::new();
    for server in SERVERS {
        if let Some(address) = plan.host_addresses(server).first() {
            let address = SocketAddr::new(*address, MAP_PORT);
            let _ = write!(text, "\n[[dns-b]]\nidentity = \"{server}\"\naddress = \"{address}\"\n");
        }
    }
    text
}

fn dns_lb(plan: &Plan, identity: &str, beside_an_isp: bool) -> Value {
    let listen = quoted(plan.host_addresses(identity).into_iter().map(|a| SocketAddr::new(a, 53)));
    let isp = if beside_an_isp { "resolv-conf = \"resolv.conf\"" } else { "resolvers = []" };
    // Otherwise nobody asks the resolvers but the clients, so traces show what these do alone.
    let self_check = if plan.proving { "\"1s\"" } else { "false" };
    let config = format!(
        r#"identity = "{identity}"

[dns]
listen = {listen}
lanes = 1

[isp]
{isp}
self-check = {self_check}

[map]
{TLS}
keep-alive = "1s"
dead-after = "3s"

[probe]
settle = "2s"

[decisions]
file = "decisions.jsonl"

[admin]
listen = "127.0.0.1:8053"
{servers}"#,
        servers = servers(plan),
    );
    daemon(plan, "dns-lb", &config, [])
}

fn dns_a_sync(plan: &Plan) -> Value {
    let (zone, service, style) = (plan.zone(), plan.service(), plan.style);
    let style = if style == Style::SubZone { "sub-zone" } else { "host" };
    let server = plan.host_addresses("dnsa").first().map_or_else(String::new, |a| SocketAddr::new(*a, 53).to_string());
    let mut config = format!(
        r#"identity = "sync"

[dns-a]
server = "{server}"
zone = "{ENTERPRISE}"
interval = "2s"
key = {{ name = "{KEY_NAME}", algorithm = "hmac-sha256", secret-file = "key" }}

[map]
{TLS}

[delegation]
mode = "update"
interval = "1s"
settle = "500ms"

[admin]
listen = "127.0.0.1:8053"
{servers}
[[zone]]
name = "{zone}"
style = "{style}"

[[zone.service]]
name = "{service}"
host = "{WWW}"
ttl = {ttl}
https = {{ alpn = ["h2"], hints = true }}

[[zone.service.probe]]
kind = "http"
path = "/health"
interval = "1s"
timeout = "500ms"
fall = 2
rise = 2

[[zone.service.probe]]
kind = "tcp"
interval = "1s"
timeout = "500ms"
fall = 2
rise = 2
"#,
        servers = servers(plan),
        ttl = plan.address_ttl,
    );
    for s in 0..SITES {
        let name = site(s);
        let _ =
            write!(config, "\n[[zone.service.site]]\nname = \"{name}\"\ndns-name = \"{name}.sites.{ENTERPRISE}\"\n");
    }
    daemon(plan, "dns-a-sync", &config, [("key", KEY_SECRET.into())])
}
