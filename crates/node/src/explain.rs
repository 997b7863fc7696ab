//! `/api/v1/explain`: what somebody would be answered by the running daemon, and why. A real question is made
//! of what is asked and goes the way of all questions (`dglb_core::dns::explain`), from what serving threads
//! answer from at that moment. It is not counted, and nobody is sent anything.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    time::{SystemTime, UNIX_EPOCH},
};

use dglb_core::{
    dns::{Asked, Role, Transport, explain::Explanation},
    name::Name,
    net::{Prefix, canonical},
};
use hickory_proto::{
    op::Message,
    rr::{
        Record, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};
use serde_json::{Value, json};

use crate::{
    ask,
    metrics::rcode_name,
    serve::{Content, Source},
};

/// Where it is asked.
pub const PATH: &str = "/api/v1/explain";

/// Any port but 0, which is a forger's.
const PORT: u16 = 53_000;

/// The parameters that are known.
const PARAMETERS: [&str; 5] = ["name", "type", "from", "ecs", "role"];

/// What is to be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME.
    pub name: Name,
    /// QTYPE.
    pub rtype: RecordType,
    /// Who asks: a resolver's address.
    pub from: IpAddr,
    /// On behalf of whom (RFC 7871).
    pub subnet: Option<Prefix>,
    /// What the address is for that is asked.
    pub role: Role,
}

/// A question with its answer, and why.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The service, if it is for one.
    pub service: Option<Name>,
    /// As far as the directory knows.
    pub explanation: Explanation,
    document: Value,
}

impl Question {
    /// Reads the parameters of a request to a daemon whose addresses have these roles, the usual one first.
    ///
    /// # Errors
    /// What is wrong, and what to do, for people.
    pub fn read(parameters: &BTreeMap<String, String>, roles: &[Role]) -> Result<Self, String> {
        if let Some(unknown) = parameters.keys().find(|key| !PARAMETERS.contains(&key.as_str())) {
            return Err(format!("there is no parameter \"{unknown}\" here, but {}", PARAMETERS.join(", ")));
        }
        let get = |key: &str| parameters.get(key).map(String::as_str);
        let name = get("name").ok_or("say which name is to be explained, such as www.glb.example.com")?;
        let from = get("from").ok_or("say who asks: the address of a resolver")?;
        let from: IpAddr = from.parse().map_err(|_| format!("from: \"{from}\" is no address, such as 192.0.2.1"))?;
        let rtype = get("type").unwrap_or("A").to_uppercase();
        let unknown = |_| format!("type: \"{rtype}\" is no type of records, such as A, AAAA, HTTPS, NS");
        Ok(Self {
            name: name.parse().map_err(|error| format!("name: \"{name}\": {error}"))?,
            rtype: RecordType::from_str(&rtype).map_err(unknown)?,
            from: canonical(from),
            subnet: get("ecs").map(read_subnet).transpose()?,
            role: read_role(get("role"), roles)?,
        })
    }

    /// Puts it to what serving threads answer from.
    ///
    /// # Errors
    /// When no question can be made of it, for people.
    pub fn explain(&self, content: &Content) -> Result<Explained, String> {
        let mut question = ask::question(&self.name, self.rtype).map_err(|error| error.to_string())?;
        if let (Some(subnet), Some(edns)) = (self.subnet, question.edns.as_mut()) {
            let subnet = ClientSubnet::new(subnet.address(), subnet.bits(), 0);
            edns.options_mut().insert(EdnsOption::Subnet(subnet));
        }
        let packet = question.to_vec().map_err(|error| error.to_string())?;
        // Nothing is truncated over TCP, and nobody has to show a cookie.
        let peer = SocketAddr::new(self.from, PORT);
        let asked = Asked { packet: &packet, peer, transport: Transport::Tcp, role: self.role };
        let mut reply = vec![0; usize::from(u16::MAX)];
        let (handled, explanation) = content.hold().explain(&asked, &mut reply);
        let reply = Message::from_vec(reply.get(..handled.length).unwrap_or_default());
        let answer = reply.map_err(|error| format!("there is no readable reply to such a question: {error}"))?;
        let document = json!({
            "question": {
                "name": self.name,
                "type": self.rtype.to_string(),
                "from": self.from,
                "ecs": self.subnet,
                "role": name_of(self.role),
            },
            "unix_seconds": SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
            "explanation": explanation,
            "answer": answer_document(handled.rcode, &answer),
        });
        let service = explanation.service.as_ref().map(|service| service.name.clone());
        Ok(Explained { service, explanation, document })
    }
}

impl Explained {
    /// The document, with what else a daemon has to say.
    #[must_use]
    pub fn document(mut self, more: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
        if let Some(object) = self.document.as_object_mut() {
            object.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        }
        self.document
    }
}

/// A prefix, or an address alone.
fn read_subnet(text: &str) -> Result<Prefix, String> {
    let address = text.parse().ok().map(Prefix::host);
    address.map_or_else(|| text.parse(), Ok).map_err(|error| format!("ecs: \"{text}\": {error}"))
}

fn read_role(text: Option<&str>, roles: &[Role]) -> Result<Role, String> {
    let names = || roles.iter().map(|role| name_of(*role)).collect::<Vec<_>>().join(" or ");
    let found = roles.iter().find(|role| text.is_none_or(|text| text == name_of(**role)));
    found.copied().ok_or_else(|| format!("role: no address of this daemon is asked as that, but as {}", names()))
}

fn name_of(role: Role) -> &'static str {
    match role {
        Role::Referral => "referral",
        Role::Fallback => "fallback",
        Role::DnsLb => "dns-lb",
    }
}

fn answer_document(rcode: u16, answer: &Message) -> Value {
    let edns = answer.edns.as_ref();
    let scope = edns.and_then(|edns| match edns.option(EdnsCode::Subnet)? {
        EdnsOption::Subnet(subnet) => Some(subnet.scope_prefix()),
        _ => None,
    });
    let error = edns.and_then(|edns| Vec::<u8>::try_from(edns.option(EdnsCode::Unknown(15))?).ok());
    let error = error.and_then(|octets| Some(u16::from_be_bytes([*octets.first()?, *octets.get(1)?])));
    let lines = |records: &[Record]| records.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "rcode": rcode_name(rcode),
        "authoritative": answer.metadata.authoritative,
        "ttl": answer.answers.iter().map(|record| record.ttl).min(),
        "scope": scope,
        "extended_error": error,
        "answers": lines(&answer.answers),
        "authorities": lines(&answer.authorities),
        "additionals": lines(&answer.additionals),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_DNS_B: [Role; 2] = [Role::Referral, Role::Fallback];

    fn read(pairs: &[(&str, &str)]) -> Result<Question, String> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Question::read(&pairs.collect(), &AT_DNS_B)
    }

    #[test]
    fn what_is_asked_is_read_or_found_wrong_with_a_word_on_what_to_do() {
        let least = read(&[("name", "www.glb.test"), ("from", "::ffff:192.0.2.1")]).unwrap();
        let expected = Question {
            name: "www.glb.test".parse().unwrap(),
            rtype: RecordType::A,
            from: "192.0.2.1".parse().unwrap(),
            subnet: None,
            role: Role::Referral,
        };
        assert_eq!(least, expected);
        let all = [("name", "www.glb.test."), ("from", "192.0.2.1"), ("type", "https"), ("role", "fallback")];
        let all = read(&[&all[..], &[("ecs", "203.0.113.9")]].concat()).unwrap();
        let subnet = Some("203.0.113.9/32".parse().unwrap());
        assert_eq!(all, Question { rtype: RecordType::HTTPS, role: Role::Fallback, subnet, ..expected });
        let name = ("name", "www.glb.test");
        let from = ("from", "192.0.2.1");
        for (pairs, says) in [
            (&[from][..], "say which name"),
            (&[name], "say who asks"),
            (&[("name", "a..b"), from], "name: \"a..b\""),
            (&[name, ("from", "sea1")], "no address, such as 192.0.2.1"),
            (&[name, from, ("type", "AX")], "such as A, AAAA, HTTPS"),
            (&[name, from, ("ecs", "203.0.113.0/33")], "ecs: \"203.0.113.0/33\""),
            (&[name, from, ("role", "dns-lb")], "but as referral or fallback"),
            (&[name, from, ("subnet", "x")], "no parameter \"subnet\" here"),
        ] {
            let wrong = read(pairs).unwrap_err();
            assert!(wrong.contains(says), "{pairs:?}: {wrong}");
        }
    }
}
