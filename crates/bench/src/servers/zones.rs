//! Master files (RFC 1035 section 5) with the names that we serve.

use std::{io, path::Path};

use crate::world;

/// Writes one file for each zone into a new folder, named by `file`; `record` gives a service's.
///
/// # Errors
/// The system's.
pub(super) fn write(folder: &Path, file: impl Fn(&str) -> String, record: impl Fn(u32) -> String) -> io::Result<()> {
    std::fs::create_dir(folder)?;
    for zone in 0..world::ZONES {
        let name = world::zone(zone);
        let mut text = format!(
            "$ORIGIN {name}.\n$TTL 300\n@ IN SOA b1 hostmaster.ops.test. 1 3600 600 604800 30\n@ IN NS b1\nb1 IN A 192.0.2.1\n"
        );
        for service in (0..world::SERVICES).filter(|service| service % world::ZONES == zone) {
            text += &format!("{} 300 IN {}\n", world::label(service), record(service));
        }
        std::fs::write(folder.join(file(&name)), text)?;
    }
    Ok(())
}

/// A plain address record.
pub(super) fn address(service: u32) -> String {
    format!("A {}", world::site_address(service, 0))
}
