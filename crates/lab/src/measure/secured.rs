//! A world whose sites are measured over HTTPS, with certificates of their own authority.

use std::time::{Duration, SystemTime};

use dglb_ca::AuthorityError;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use toml::{Table, Value};

use crate::{
    lab::{Options, UpError},
    topology::Topology,
    world::{Plan, SITES, WWW, World, site},
};

/// Where a DNS-LB finds the authority of the sites.
const CA: &str = "sites.pem";
/// The one way in which the sites are measured here: it notices every way to fail.
pub(super) const PROBE: &str = "[[zone.service.probe]]\nkind = \"https\"\npath = \"/health\"\nbody = \"ok\"\n\
                                interval = \"1s\"\ntimeout = \"500ms\"\nfall = 2\nrise = 2\n";
const DAY: Duration = Duration::from_secs(86_400);

/// Starts it.
///
/// # Errors
/// [`UpError`].
pub fn up(plan: Plan, options: &Options) -> Result<World, UpError> {
    // Made here and for this world alone: nothing else could be wrong with them.
    let certificates = certificates().map_err(|error| AuthorityError::Sign(error.to_string()))?;
    World::up_with(plan, options, |topology| secure(topology, &certificates))
}

struct Certificates {
    ca: String,
    good: String,
    expired: String,
    key: String,
}

fn certificates() -> Result<Certificates, rcgen::Error> {
    let (mut params, ca_key) = (CertificateParams::default(), KeyPair::generate()?);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(params, ca_key);
    let key = KeyPair::generate()?;
    let until = |end: SystemTime| {
        let mut params = CertificateParams::new([WWW.to_owned()])?;
        (params.not_before, params.not_after) = ((end - 30 * DAY).into(), end.into());
        params.signed_by(&key, &issuer).map(|certificate| certificate.pem())
    };
    let now = SystemTime::now();
    Ok(Certificates { ca, good: until(now + 20 * DAY)?, expired: until(now - DAY)?, key: key.serialize_pem() })
}

fn secure(topology: &mut Topology, certificates: &Certificates) {
    let Certificates { ca, good, expired, key } = certificates;
    let entries = [("certificate", good), ("expired", expired), ("key", key)];
    let tls: Table = entries.map(|(name, pem)| (name.to_owned(), pem.clone().into())).into_iter().collect();
    for host in &mut topology.hosts {
        let Some(program) = host.program.as_mut().and_then(Value::as_table_mut) else { continue };
        if (0..SITES).any(|s| site(s) == host.name) {
            program.insert("tls".to_owned(), Value::Table(tls.clone()));
        } else if host.name == "sync" {
            change(program, |config| {
                // From the first probe to the first site: they stand together.
                let probes = config.find("[[zone.service.probe]]").zip(config.find("[[zone.service.site]]"));
                if let Some((from, to)) = probes {
                    config.replace_range(from..to, &format!("{PROBE}\n"));
                }
            });
        } else if host.name.starts_with("lb") {
            change(program, |config| *config = config.replace("[probe]\n", &format!("[probe]\nca = \"{CA}\"\n")));
            if let Some(files) = program.get_mut("files").and_then(Value::as_table_mut) {
                files.insert(CA.to_owned(), ca.clone().into());
            }
        }
    }
}

fn change(program: &mut Table, change: impl FnOnce(&mut String)) {
    if let Some(Value::String(config)) = program.get_mut("config") {
        change(config);
    }
}
