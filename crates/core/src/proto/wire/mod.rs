//! How messages look on the wire: one `prost` struct a message, with its [`Shape`] beside it and
//! total conversions to and from the domain's own types. `docs/map-protocol.proto` publishes the
//! same; a test holds the three together.

mod catalogue;
mod fleet;
mod link;
mod map;
mod policy;
mod probe;
mod publish;
mod report;
mod residence;
mod service;
mod site;
mod steering;

#[cfg(test)]
mod tests;

use std::net::IpAddr;

use bytes::Bytes;

pub(super) use link::{Begin, Part};

use super::{
    Number,
    body::BodyError,
    message::Message,
    scan::{Field, Kind, Shape, one},
};
use crate::{
    name::{MAX_NAME, Name},
    net::{self, Prefix},
};

/// Longest text for people, in octets; longer ones are cut when they are sent.
pub(super) const MAX_TEXT: usize = 512;
/// Longest identity, in octets.
const MAX_IDENTITY: usize = 32;

/// The message's number.
pub(super) fn number(message: &Message) -> Number {
    match message {
        Message::Hello(_) => Number::HELLO,
        Message::Welcome(_) => Number::WELCOME,
        Message::Refuse(_) => Number::REFUSE,
        Message::Fleet(_) => Number::FLEET,
        Message::Ready(_) => Number::READY,
        Message::Map(_) => Number::MAP,
        Message::MapAck(_) => Number::MAP_ACK,
        Message::Unmap(_) => Number::UNMAP,
        Message::Challenge(_) => Number::CHALLENGE,
        Message::Proof(_) => Number::PROOF,
        Message::Seen(_) => Number::SEEN,
        Message::Report(_) => Number::REPORT,
        Message::ReportAck(_) => Number::REPORT_ACK,
        Message::LabelRanking(_) => Number::LABEL_RANKING,
        Message::Catalogue(_) => Number::CATALOGUE,
        Message::CatalogueAck(_) => Number::CATALOGUE_ACK,
        Message::Resync(_) => Number::RESYNC,
        Message::Want(_) => Number::WANT,
        Message::GetReport => Number::GET_REPORT,
        Message::Verdict(_) => Number::VERDICT,
        Message::Budget(_) => Number::BUDGET,
        Message::BudgetAck(_) => Number::BUDGET_ACK,
        Message::Drain(_) => Number::DRAIN,
        Message::Delegation(_) => Number::DELEGATION,
        Message::Ping(_) => Number::PING,
        Message::Pong(_) => Number::PONG,
        Message::Bye(_) => Number::BYE,
    }
}

/// The shape of the message with this number, `None` for those of later versions.
pub(super) fn shape(number: Number) -> Option<&'static Shape> {
    Some(match number {
        Number::HELLO => &link::HELLO,
        Number::WELCOME => &link::WELCOME,
        Number::REFUSE => &link::REFUSE,
        Number::PING | Number::PONG => &link::PROBE,
        Number::BYE => &link::BYE,
        Number::BEGIN => &link::BEGIN,
        Number::PART => &link::PART,
        Number::COMMIT => &link::COMMIT,
        Number::FLEET => &fleet::FLEET,
        Number::READY => &map::READY,
        Number::MAP => &map::MAP,
        Number::MAP_ACK => &map::MAP_ACK,
        Number::UNMAP => &map::UNMAP,
        Number::DRAIN => &map::DRAIN,
        Number::CHALLENGE => &residence::CHALLENGE,
        Number::PROOF => &residence::PROOF,
        Number::SEEN => &residence::SEEN,
        Number::REPORT => &report::REPORT,
        Number::REPORT_ACK => &report::REPORT_ACK,
        Number::GET_REPORT => &report::GET_REPORT,
        Number::LABEL_RANKING => &steering::LABEL_RANKING,
        Number::WANT => &steering::WANT,
        Number::VERDICT => &steering::VERDICT,
        Number::BUDGET => &steering::BUDGET,
        Number::BUDGET_ACK => &steering::BUDGET_ACK,
        Number::CATALOGUE => &catalogue::CATALOGUE,
        Number::CATALOGUE_ACK => &publish::CATALOGUE_ACK,
        Number::RESYNC => &publish::RESYNC,
        Number::DELEGATION => &publish::DELEGATION,
        _ => return None,
    })
}

/// The message's protobuf octets.
pub(super) fn encode(message: &Message) -> Bytes {
    fn octets(wire: &impl prost::Message) -> Bytes {
        wire.encode_to_vec().into()
    }
    match message {
        Message::Hello(m) => octets(&link::Hello::from(m)),
        Message::Welcome(m) => octets(&link::Welcome::from(&**m)),
        Message::Refuse(m) => octets(&link::Refuse::from(m)),
        Message::Fleet(m) => octets(&fleet::Fleet::from(&**m)),
        Message::Ready(m) => octets(&map::Ready::from(m)),
        Message::Map(m) => octets(&map::Map::from(m)),
        Message::MapAck(m) => octets(&map::MapAck::from(m)),
        Message::Unmap(m) => octets(&map::Unmap::from(m)),
        Message::Challenge(m) => octets(&residence::Challenge::from(m)),
        Message::Proof(m) => octets(&residence::Proof::from(m)),
        Message::Seen(m) => octets(&residence::Seen::from(m)),
        Message::Report(m) => octets(&report::Report::from(m)),
        Message::ReportAck(m) => octets(&report::ReportAck { generation: m.generation, refused: m.refused }),
        Message::LabelRanking(m) => octets(&steering::LabelRanking::from(&**m)),
        Message::Catalogue(m) => octets(&catalogue::Catalogue::from(&**m)),
        Message::CatalogueAck(m) => octets(&publish::CatalogueAck::from(m)),
        Message::Resync(m) => octets(&publish::Resync::from(m)),
        Message::Want(m) => octets(&steering::Want::from(m)),
        Message::GetReport => Bytes::new(),
        Message::Verdict(m) => octets(&steering::Verdict::from(m)),
        Message::Budget(m) => octets(&steering::Budget::from(&**m)),
        Message::BudgetAck(m) => octets(&steering::BudgetAck { generation: m.generation }),
        Message::Drain(drained) => octets(&map::Drain { drained: *drained }),
        Message::Delegation(m) => octets(&publish::Delegation::from(m)),
        Message::Ping(value) | Message::Pong(value) => octets(&link::Probe { value: *value }),
        Message::Bye(m) => octets(&link::Bye::from(m)),
    }
}

/// A fleet document's octets, as in FLEET.
pub(super) fn fleet(document: &crate::fleet::Fleet) -> Vec<u8> {
    prost::Message::encode_to_vec(&fleet::Fleet::from(document))
}

/// A whole zone's octets, as in CATALOGUE.
pub(super) fn snapshot(zone: &crate::catalogue::ZoneCatalogue) -> Vec<u8> {
    prost::Message::encode_to_vec(&catalogue::Catalogue::from(zone))
}

/// The message in `body`, which the scan has let pass; `None` for numbers without a message.
pub(super) fn decode(number: Number, body: Bytes) -> Result<Option<Message>, BodyError> {
    Ok(Some(match number {
        Number::HELLO => Message::Hello(parse::<link::Hello>(body)?.try_into()?),
        Number::WELCOME => Message::Welcome(Box::new(parse::<link::Welcome>(body)?.try_into()?)),
        Number::REFUSE => Message::Refuse(parse::<link::Refuse>(body)?.into()),
        Number::FLEET => Message::Fleet(Box::new(parse::<fleet::Fleet>(body)?.try_into()?)),
        Number::READY => Message::Ready(parse::<map::Ready>(body)?.try_into()?),
        Number::MAP => Message::Map(parse::<map::Map>(body)?.try_into()?),
        Number::MAP_ACK => Message::MapAck(parse::<map::MapAck>(body)?.try_into()?),
        Number::UNMAP => Message::Unmap(parse::<map::Unmap>(body)?.try_into()?),
        Number::CHALLENGE => Message::Challenge(parse::<residence::Challenge>(body)?.try_into()?),
        Number::PROOF => Message::Proof(parse::<residence::Proof>(body)?.try_into()?),
        Number::SEEN => Message::Seen(parse::<residence::Seen>(body)?.try_into()?),
        Number::REPORT => Message::Report(parse::<report::Report>(body)?.try_into()?),
        Number::REPORT_ACK => Message::ReportAck(parse::<report::ReportAck>(body)?.into()),
        Number::LABEL_RANKING => Message::LabelRanking(Box::new(parse::<steering::LabelRanking>(body)?.try_into()?)),
        Number::CATALOGUE => Message::Catalogue(Box::new(parse::<catalogue::Catalogue>(body)?.try_into()?)),
        Number::CATALOGUE_ACK => Message::CatalogueAck(parse::<publish::CatalogueAck>(body)?.try_into()?),
        Number::RESYNC => Message::Resync(parse::<publish::Resync>(body)?.try_into()?),
        Number::WANT => Message::Want(parse::<steering::Want>(body)?.try_into()?),
        Number::GET_REPORT => Message::GetReport,
        Number::VERDICT => Message::Verdict(parse::<steering::Verdict>(body)?.try_into()?),
        Number::BUDGET => Message::Budget(Box::new(parse::<steering::Budget>(body)?.try_into()?)),
        Number::BUDGET_ACK => Message::BudgetAck(parse::<steering::BudgetAck>(body)?.into()),
        Number::DRAIN => Message::Drain(parse::<map::Drain>(body)?.drained),
        Number::DELEGATION => Message::Delegation(parse::<publish::Delegation>(body)?.try_into()?),
        Number::PING => Message::Ping(parse::<link::Probe>(body)?.value),
        Number::PONG => Message::Pong(parse::<link::Probe>(body)?.value),
        Number::BYE => Message::Bye(parse::<link::Bye>(body)?.into()),
        _ => return Ok(None),
    }))
}

/// Decodes one wire struct.
pub(super) fn parse<T: prost::Message + Default>(body: Bytes) -> Result<T, BodyError> {
    T::decode(body).map_err(|e| BodyError::Protobuf(e.to_string()))
}

/// [`WirePrefix`].
pub(super) const PREFIX: Shape =
    Shape { name: "Prefix", fields: &[one(1, "address", Kind::Address), one(2, "bits", Kind::Number(128))] };

/// A [`Prefix`].
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WirePrefix {
    /// 4 or 16 octets, none set beyond `bits`.
    #[prost(bytes = "bytes", tag = "1")]
    pub address: Bytes,
    /// 0 to 32 or 128.
    #[prost(uint32, tag = "2")]
    pub bits: u32,
}

impl From<&Prefix> for WirePrefix {
    fn from(prefix: &Prefix) -> Self {
        // Not from_address: a prefix of IPv6 stays one, even where it covers mapped addresses.
        let address = match prefix.address() {
            IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
        };
        Self { address, bits: prefix.bits().into() }
    }
}

impl TryFrom<WirePrefix> for Prefix {
    type Error = BodyError;

    fn try_from(wire: WirePrefix) -> Result<Self, BodyError> {
        let bits = narrow("bits", wire.bits)?;
        Ok(Self::strict(any_address("address", &wire.address)?, bits)?)
    }
}

/// The field of a domain name in wire form.
const fn name_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Octets(MAX_NAME))
}

/// The field of an identity.
const fn identity_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Text(MAX_IDENTITY))
}

/// The field of a `u64`.
const fn u64_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Number(u64::MAX))
}

/// The field of a `u32`.
const fn u32_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Number(u32::MAX as u64))
}

/// The field of a `u16`.
const fn u16_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Number(u16::MAX as u64))
}

/// The field of a `u8`.
const fn u8_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Number(u8::MAX as u64))
}

/// The field of a text for people.
const fn text_field(number: u32, field: &'static str) -> Field {
    one(number, field, Kind::Text(MAX_TEXT))
}

fn from_name(name: &Name) -> Bytes {
    Bytes::copy_from_slice(name.wire())
}

fn name(field: &'static str, wire: &Bytes) -> Result<Name, BodyError> {
    if wire.is_empty() {
        return Err(BodyError::Missing { field });
    }
    Ok(Name::from_wire(wire)?)
}

/// IPv4-mapped addresses, as sockets of both families give them, go as IPv4.
fn from_address(address: IpAddr) -> Bytes {
    match net::canonical(address) {
        IpAddr::V4(v4) => Bytes::copy_from_slice(&v4.octets()),
        IpAddr::V6(v6) => Bytes::copy_from_slice(&v6.octets()),
    }
}

/// An address in its one form: an IPv4 address dressed as IPv6 would walk around checks by family.
fn address(field: &'static str, wire: &[u8]) -> Result<IpAddr, BodyError> {
    let address = any_address(field, wire)?;
    if net::canonical(address) == address { Ok(address) } else { Err(BodyError::Address { field, length: wire.len() }) }
}

fn any_address(field: &'static str, wire: &[u8]) -> Result<IpAddr, BodyError> {
    let address = match wire.len() {
        0 => return Err(BodyError::Missing { field }),
        4 => <[u8; 4]>::try_from(wire).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(wire).map(IpAddr::from),
    };
    address.map_err(|_| BodyError::Address { field, length: wire.len() })
}

fn from_addresses(addresses: &[IpAddr]) -> Vec<Bytes> {
    addresses.iter().map(|a| from_address(*a)).collect()
}

fn addresses(field: &'static str, wire: &[Bytes]) -> Result<Vec<IpAddr>, BodyError> {
    wire.iter().map(|a| address(field, a)).collect()
}

/// Cuts a text for people to what may be sent.
fn from_text(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

fn required<T>(field: &'static str, value: Option<T>) -> Result<T, BodyError> {
    value.ok_or(BodyError::Missing { field })
}

/// A number that the scan has found to be in range.
fn narrow<T: TryFrom<u32>>(field: &'static str, value: u32) -> Result<T, BodyError> {
    let limit = (1_u64 << (8 * size_of::<T>())) - 1;
    T::try_from(value).map_err(|_| BodyError::Range { field, value: value.into(), limit })
}

fn convert<A, B: TryFrom<A, Error = BodyError>>(wire: Vec<A>) -> Result<Vec<B>, BodyError> {
    wire.into_iter().map(B::try_from).collect()
}
