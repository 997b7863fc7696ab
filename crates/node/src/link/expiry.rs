//! What an operator hears of certificates that are about to expire: a line in the log when 30 days,
//! 7 days and a day are left and at the end, metrics, and a part of the status.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::{Value, json};
use tracing::{error, warn};

use super::Credentials;

const DAY: i64 = 86_400;

/// How near the end is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    #[default]
    Far,
    Month,
    Week,
    Day,
    Over,
}

impl Stage {
    fn of(seconds_left: i64) -> Self {
        match seconds_left {
            ..=0 => Self::Over,
            1..=DAY => Self::Day,
            left if left <= 7 * DAY => Self::Week,
            left if left <= 30 * DAY => Self::Month,
            _ => Self::Far,
        }
    }
}

/// Which warnings were given: each stage is told of once, and again after it got better.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    own: Stage,
    peer: Stage,
}

impl Warnings {
    /// Warns of what has come nearer since the last look.
    pub(super) fn look(&mut self, credentials: &Credentials) {
        let left = credentials.seconds_left();
        if let Some(stage) = nearer(&mut self.own, left) {
            let file = credentials.files().own.certificate.display();
            match stage {
                Stage::Over => error!("{file} has expired: no new map link comes up"),
                _ => warn!("{file} expires in {}", Left(left)),
            }
        }
        let peer = credentials.peer_seconds_left();
        let left = peer.as_ref().map_or(i64::MAX, |(left, _)| *left);
        if nearer(&mut self.peer, left).is_some()
            && let Some((_, Some(name))) = peer
        {
            warn!("the certificate of {name} expires in {}", Left(left));
        }
    }
}

/// The stage, if it is a nearer one than was told of.
fn nearer(told: &mut Stage, seconds_left: i64) -> Option<Stage> {
    let stage = Stage::of(seconds_left);
    let before = std::mem::replace(told, stage);
    (stage > before).then_some(stage)
}

/// A span in the largest unit that says enough.
struct Left(i64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            left @ 172_800.. => write!(f, "{} days", left / DAY),
            left @ 7_200.. => write!(f, "{} hours", left / 3_600),
            left => write!(f, "{} minutes", left.max(0) / 60),
        }
    }
}

impl Credentials {
    /// Shows expiry and reloads as `dglb_link_certificate_…`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(Shown(self.clone())));
    }

    /// The part of a daemon's status that tells of certificates.
    pub fn status(&self) -> Value {
        let left = self.seconds_left();
        let peer = self.peer_seconds_left();
        let warning = match Stage::of(left) {
            Stage::Far => None,
            Stage::Over => Some("the own certificate has expired: no new link comes up".to_owned()),
            _ => Some(format!("the own certificate expires in {}", Left(left))),
        };
        json!({
            "name": self.name().to_string(),
            "certificate": self.files().own.certificate,
            "expires_in_seconds": left,
            "next_peer": peer.as_ref().and_then(|(_, name)| name.as_ref().map(ToString::to_string)),
            "next_peer_expires_in_seconds": peer.map(|(left, _)| left),
            "revoked": self.revoked(),
            "problem": self.problem().or(warning),
        })
    }
}

#[derive(Debug)]
struct Shown(Credentials);

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (left, help) =
            ("dglb_link_certificate_remaining_seconds", "Seconds until a certificate of map links expires");
        let mut family = encoder.encode_descriptor(left, help, None, MetricType::Gauge)?;
        let own = Some(("own", self.0.seconds_left()));
        let peer = self.0.peer_seconds_left().map(|(left, _)| ("next peer", left));
        for (whose, left) in own.into_iter().chain(peer) {
            ConstGauge::new(left).encode(family.encode_family(&[("whose", whose)])?)?;
        }
        let (reloads, help) = ("dglb_link_certificate_reloads", "Changes of the files with certificates by outcome");
        let mut family = encoder.encode_descriptor(reloads, help, None, MetricType::Counter)?;
        let (applied, refused) = self.0.reload_counts();
        for (outcome, count) in [("applied", applied), ("refused", refused)] {
            ConstCounter::new(count).encode(family.encode_family(&[("outcome", outcome)])?)?;
        }
        let (revoked, help) = ("dglb_link_certificates_revoked", "Certificates that revocation lists name");
        let family = encoder.encode_descriptor(revoked, help, None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(self.0.revoked()).unwrap_or(i64::MAX)).encode(family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_is_told_of_once_until_it_gets_better() {
        let mut told = Stage::default();
        let told_of: Vec<Option<Stage>> = [31 * DAY, 30 * DAY, 29 * DAY, 7 * DAY, 6 * DAY, DAY, 1, 0, -9, 90 * DAY, 0]
            .map(|left| nearer(&mut told, left))
            .to_vec();
        let expected = [
            None,
            Some(Stage::Month),
            None,
            Some(Stage::Week),
            None,
            Some(Stage::Day),
            None,
            Some(Stage::Over),
            None,
            None,
            Some(Stage::Over),
        ];
        assert_eq!(told_of, expected);
    }

    #[test]
    fn spans_are_told_in_the_unit_that_fits() {
        let told = [30 * DAY, 47 * 3_600, 7_199, 59, -5].map(|left| Left(left).to_string());
        assert_eq!(told, ["30 days", "47 hours", "119 minutes", "0 minutes", "0 minutes"]);
    }
}
