//! HTTPS records (RFC 9460) of services. Only their hints depend on who asks, so they are put
//! together when one is asked for: the very addresses that A and AAAA would be answered with.

use std::net::IpAddr;

use arrayvec::{ArrayVec, CapacityError};

use super::{
    rtype,
    writer::{Full, Pointer, Writer},
};
use crate::{
    answer::{Chance, MAX_ANSWERS},
    catalogue::{HttpsRecord, MAX_ALPN, Service},
    ranked::RankedSites,
};

/// SvcParamKeys (RFC 9460 section 14.3.2), in the order in which they must stand (section 2.2).
const ALPN: u16 = 1;
const NO_DEFAULT_ALPN: u16 = 2;
const PORT: u16 = 3;
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// SvcPriority 1, for ServiceMode, and the root as TargetName, which means the owner (RFC 9460
/// sections 2.4.1 and 2.5.2).
const HEAD: [u8; 3] = [0, 1, 0];
/// The longest RDATA: head, five keys with their lengths, and the longest of each value.
const MAX_RDATA: usize = HEAD.len() + 5 * 4 + MAX_ALPN + 2 + MAX_ANSWERS * (4 + 16);

/// Writes the HTTPS record of a service, which is its own RRset, with the addresses that `ranking`
/// answers. Returns how many records that is.
pub(super) fn record(
    w: &mut Writer<'_>,
    ttl: u32,
    https: &HttpsRecord,
    (service, ranking, chance): (&Service, &RankedSites, Chance),
) -> Result<u16, Full> {
    // Every catalogue that was taken in fits.
    let rdata = rdata(https, service, (ranking, chance)).map_err(|_| Full)?;
    w.record(Pointer::QNAME, rtype::HTTPS, ttl, [&rdata])?;
    Ok(1)
}

fn rdata(
    record: &HttpsRecord,
    service: &Service,
    (ranking, chance): (&RankedSites, Chance),
) -> Result<ArrayVec<u8, MAX_RDATA>, CapacityError> {
    let mut rdata = ArrayVec::new();
    rdata.try_extend_from_slice(&HEAD)?;
    if !record.alpn.is_empty() {
        key(&mut rdata, ALPN, record.alpn_octets())?;
        for id in &record.alpn {
            rdata.try_extend_from_slice(&[id.len() as u8])?;
            rdata.try_extend_from_slice(id.as_bytes())?;
        }
    }
    if record.no_default_alpn {
        key(&mut rdata, NO_DEFAULT_ALPN, 0)?;
    }
    if let Some(port) = record.port {
        key(&mut rdata, PORT, 2)?;
        rdata.try_extend_from_slice(&port.to_be_bytes())?;
    }
    if record.hints {
        hints(&mut rdata, service, (ranking, chance), true)?;
        hints(&mut rdata, service, (ranking, chance), false)?;
    }
    Ok(rdata)
}

/// One family's addresses. An empty list would be malformed (RFC 9460 section 7.3): no key then.
fn hints(
    rdata: &mut ArrayVec<u8, MAX_RDATA>,
    service: &Service,
    (ranking, chance): (&RankedSites, Chance),
    ipv4: bool,
) -> Result<(), CapacityError> {
    let addresses = chance.addresses(service, ranking, ipv4);
    let (number, size) = if ipv4 { (IPV4_HINT, 4) } else { (IPV6_HINT, 16) };
    if !addresses.is_empty() {
        key(rdata, number, addresses.len() * size)?;
    }
    addresses.iter().try_for_each(|address| match address {
        IpAddr::V4(v4) => rdata.try_extend_from_slice(&v4.octets()),
        IpAddr::V6(v6) => rdata.try_extend_from_slice(&v6.octets()),
    })
}

fn key(rdata: &mut ArrayVec<u8, MAX_RDATA>, number: u16, length: usize) -> Result<(), CapacityError> {
    let [n0, n1] = number.to_be_bytes();
    // At most MAX_RDATA.
    let [l0, l1] = (length as u16).to_be_bytes();
    rdata.try_extend_from_slice(&[n0, n1, l0, l1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{Mode, Policy, Site};
    use crate::ranked::Turn;

    fn service(answers: u8, sites: &[&[&str]]) -> Service {
        let site = |(n, addresses): (usize, &&[&str])| Site {
            name: format!("s{n}"),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
            cost: 0.0,
            ..Site::default()
        };
        Service {
            name: "www.glb.foobar.test".parse().unwrap(),
            host: "www.foobar.test".parse().unwrap(),
            mode: Mode::Referral,
            ttl: 300,
            answers,
            policy: Policy { margin_ms: 1000, ..Policy::default() },
            probes: vec![],
            https: None,
            probe_ceiling: None,
            least_ttl: None,
            sites: sites.iter().enumerate().map(site).collect(),
        }
    }

    fn written(record: &HttpsRecord, service: &Service) -> Vec<u8> {
        rdata(record, service, (&RankedSites::customer_order(service), Chance::Drawn(Turn::default())))
            .unwrap()
            .to_vec()
    }

    #[test]
    fn the_octets_are_those_of_rfc_9460() {
        let service = service(1, &[&["203.0.113.1", "2001:db8::1"], &["203.0.113.2"]]);
        assert_eq!(written(&HttpsRecord::default(), &service), [0, 1, 0]);
        let alpn = vec!["h3".to_owned(), "http/1.1".to_owned()];
        let whole = HttpsRecord { alpn, no_default_alpn: true, port: Some(8443), hints: true };
        let expected = [
            &b"\x00\x01\x00"[..],
            b"\x00\x01\x00\x0c\x02h3\x08http/1.1",
            b"\x00\x02\x00\x00",
            b"\x00\x03\x00\x02\x20\xfb",
            b"\x00\x04\x00\x04\xcb\x00\x71\x01",
            b"\x00\x06\x00\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
        ];
        assert_eq!(written(&whole, &service), expected.concat());
        let first = rdata(&whole, &service, (&RankedSites::customer_order(&service), Chance::First));
        assert_eq!(first.unwrap()[..], expected.concat());
    }

    #[test]
    fn a_family_without_an_address_has_no_key() {
        let hints = HttpsRecord { hints: true, ..HttpsRecord::default() };
        let four = service(16, &[&["203.0.113.1"]]);
        assert_eq!(written(&hints, &four), b"\x00\x01\x00\x00\x04\x00\x04\xcb\x00\x71\x01");
        let six = service(16, &[&["2001:db8::1"]]);
        assert_eq!(written(&hints, &six)[..7], *b"\x00\x01\x00\x00\x06\x00\x10");
    }

    #[test]
    fn the_largest_that_a_catalogue_may_hold_fits_exactly() {
        let (four, six): (Vec<_>, Vec<_>) =
            (1..=16).map(|n| (format!("203.0.113.{n}"), format!("2001:db8::{n}"))).unzip();
        let [four, six] = [&four, &six].map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
        let service = service(16, &[&four, &six]);
        let record =
            HttpsRecord { alpn: vec!["x".repeat(MAX_ALPN - 1)], no_default_alpn: true, port: Some(1), hints: true };
        assert_eq!(written(&record, &service).len(), MAX_RDATA);
        // Nobody serves this; it must not panic either.
        let beyond = HttpsRecord { alpn: vec!["x".repeat(300)], ..record };
        assert!(
            rdata(&beyond, &service, (&RankedSites::customer_order(&service), Chance::Drawn(Turn::default()))).is_err()
        );
    }
}
