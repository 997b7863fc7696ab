//! What customers and operators say of where something is.

use dglb_core::catalogue::{Location, is_group};

use super::{Section, Value, number, text};

/// The name of a group of DNS-LBs.
///
/// # Errors
/// Anything but 1 to 63 small letters, digits and hyphens.
pub fn group(value: &Value<'_>) -> Result<String, String> {
    let name: String = text(value)?;
    match is_group(&name) {
        true => Ok(name),
        false => Err(format!("\"{name}\" is no group: a name of 1 to 63 small letters, digits and hyphens is wanted")),
    }
}

/// `<key> = { latitude, longitude }` in degrees, if it is there.
pub fn location(section: &Section<'_>, key: &str) -> Option<Location> {
    let table = section.table(key)?;
    let latitude = table.required("latitude", number(-90.0..=90.0));
    let longitude = table.required("longitude", number(-180.0..=180.0));
    Some(Location { latitude: latitude?, longitude: longitude? })
}
