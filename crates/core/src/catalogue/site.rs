//! Where a service runs.

use std::{collections::HashSet, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{Forced, Location, MAX_ADDRESSES};

/// Most groups that a site names of either sort.
pub const MAX_GROUPS: usize = 16;
/// Longest name of a group, in octets.
const MAX_GROUP: usize = 63;

/// One server location of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// Unique in the service.
    pub name: String,
    /// IPv4 and IPv6, at least one.
    pub addresses: Vec<IpAddr>,
    /// What the customer pays for traffic here, in units of the policy's choosing. Default 0.
    pub cost: f64,
    /// What it counts as by the customer's word. Default: what probes say.
    #[serde(default)]
    pub forced: Option<Forced>,
    /// Requests a second that it can serve; where a site tells its requests but no load, the one divided
    /// by the other is its load. Spare capacity is measured by it.
    #[serde(default)]
    pub capacity: Option<f64>,
    /// Share of the clients among the other sites' weights, 1 to 65 535, where the policy shares out.
    #[serde(default = "one")]
    pub weight: u16,
    /// Where it is.
    #[serde(default)]
    pub location: Option<Location>,
    /// Groups of DNS-LBs that may hand it out; empty for all.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Groups of DNS-LBs that may not.
    #[serde(default)]
    pub not_groups: Vec<String>,
}

fn one() -> u16 {
    1
}

impl Default for Site {
    fn default() -> Self {
        Self {
            name: String::new(),
            addresses: Vec::new(),
            cost: 0.0,
            forced: None,
            capacity: None,
            weight: 1,
            location: None,
            groups: Vec::new(),
            not_groups: Vec::new(),
        }
    }
}

/// Whether DNS-LBs can have a group of this name: 1 to 63 small letters, digits and hyphens.
pub fn is_group(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=MAX_GROUP).contains(&name.len()) && name.bytes().all(fits)
}

impl Site {
    /// Whether a DNS-LB of these groups may hand it out.
    pub fn admits(&self, groups: &[String]) -> bool {
        let any = |of: &[String]| of.iter().any(|group| groups.contains(group));
        (self.groups.is_empty() || any(&self.groups)) && !any(&self.not_groups)
    }

    /// Hands over each figure: what it is, its range, itself, and whether it lies within.
    pub(super) fn check(&self, range: &mut impl FnMut(&'static str, &'static str, String, bool)) {
        range(
            "site cost",
            "0 to 1e9",
            self.cost.to_string(),
            self.cost.is_finite() && (0.0..=1e9).contains(&self.cost),
        );
        self.forced.iter().for_each(|forced| forced.check(range));
        let capacity = self.capacity.unwrap_or(1.0);
        range("site capacity", "0.001 to 1e9", capacity.to_string(), (0.001..=1e9).contains(&capacity));
        range("site weight", "1 to 65535", self.weight.to_string(), self.weight > 0);
        if let Some(Location { latitude, longitude }) = self.location {
            let place = format!("{latitude}, {longitude}");
            let valid = Location { latitude, longitude }.is_valid();
            range("site location", "a latitude of -90 to 90 and a longitude of -180 to 180", place, valid);
        }
        for groups in [&self.groups, &self.not_groups] {
            range("number of groups", "at most 16", groups.len().to_string(), groups.len() <= MAX_GROUPS);
            for group in groups.iter().filter(|group| !is_group(group)) {
                range("group", "1 to 63 small letters, digits and hyphens", group.clone(), false);
            }
        }
        let distinct: HashSet<_> = self.addresses.iter().collect();
        let count = self.addresses.len();
        range("number of addresses", "at most 16", count.to_string(), count <= MAX_ADDRESSES);
        range("addresses of a site", "distinct", format!("{count} with repetitions"), distinct.len() == count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    #[test]
    fn groups_admit_and_deny_and_denying_is_stronger() {
        let site =
            |groups: &[&str], not: &[&str]| Site { groups: texts(groups), not_groups: texts(not), ..Site::default() };
        assert!(site(&[], &[]).admits(&[]));
        assert!(site(&["eu", "uk"], &[]).admits(&texts(&["x", "uk"])));
        assert!(!site(&["eu"], &[]).admits(&[]), "who is in no group is not in this one");
        assert!(!site(&["eu"], &[]).admits(&texts(&["us"])));
        assert!(site(&[], &["cn"]).admits(&texts(&["us"])));
        assert!(!site(&["eu"], &["isp-a"]).admits(&texts(&["eu", "isp-a"])));
    }

    #[test]
    fn what_no_file_could_say_is_no_group() {
        for good in ["eu", "isp-7", &"x".repeat(63)] {
            assert!(is_group(good), "{good}");
        }
        for bad in ["", "EU", "a b", "ü", &"x".repeat(64)] {
            assert!(!is_group(bad), "{bad}");
        }
    }
}
