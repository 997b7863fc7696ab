//! Questions as resolvers ask them: from an address of their own, over UDP or TCP, with or without
//! a client's subnet; read back by an independent implementation.

use std::net::{IpAddr, SocketAddr};

use dglb_core::net::Prefix;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        Name, RData, RecordType,
        rdata::opt::{ClientSubnet, EdnsCode, EdnsOption},
    },
};

use crate::raw;

/// One question.
#[derive(Clone, Debug)]
pub struct Question {
    from: IpAddr,
    name: String,
    rtype: RecordType,
    subnet: Option<Prefix>,
    tcp: bool,
}

/// What was answered.
#[derive(Clone, Debug)]
pub struct Reply(
    /// As it was read.
    pub Message,
);

impl Question {
    /// For a name, with or without final dot, from an address of this host, over UDP with EDNS.
    pub fn new(from: IpAddr, name: &str, rtype: RecordType) -> Self {
        Self { from, name: format!("{}.", name.trim_end_matches('.')), rtype, subnet: None, tcp: false }
    }

    /// On behalf of a client in this network (RFC 7871).
    ///
    /// # Panics
    /// When `subnet` is no prefix.
    #[must_use]
    pub fn for_client(mut self, subnet: &str) -> Self {
        self.subnet = Some(subnet.parse().expect("a prefix"));
        self
    }

    /// Over TCP.
    #[must_use]
    pub fn over_tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// The message.
    ///
    /// # Panics
    /// When the name is none.
    pub fn message(&self) -> Message {
        let mut message = Message::new(raw::id(), MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(&self.name).expect("a name"), self.rtype));
        let mut edns = Edns::new();
        edns.set_max_payload(1_232);
        if let Some(subnet) = self.subnet {
            edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(subnet.address(), subnet.bits(), 0)));
        }
        message.edns = Some(edns);
        message
    }

    /// Asks, and expects an answer.
    ///
    /// # Panics
    /// When none comes, or none that fits.
    pub async fn ask(&self, server: SocketAddr) -> Reply {
        self.try_ask(server).await.unwrap_or_else(|| panic!("{server} did not answer {self:?}"))
    }

    /// Asks; `None` if nothing comes.
    ///
    /// # Panics
    /// When something comes that does not fit.
    pub async fn try_ask(&self, server: SocketAddr) -> Option<Reply> {
        let question = self.message();
        let octets = question.to_vec().expect("a message of ours");
        let reply = if self.tcp {
            raw::over_tcp(self.from, server, &raw::framed(&octets)).await.into_iter().next()
        } else {
            raw::over_udp(self.from, server, &octets).await
        };
        let reply = Message::from_vec(&reply?).expect("a readable answer");
        assert_eq!((reply.metadata.id, &reply.queries), (question.metadata.id, &question.queries), "{self:?}");
        assert_eq!(reply.metadata.message_type, MessageType::Response);
        Some(Reply(reply))
    }
}

impl Reply {
    /// The response code.
    pub fn code(&self) -> ResponseCode {
        self.0.metadata.response_code
    }

    /// Whether it was said with authority.
    pub fn is_authoritative(&self) -> bool {
        self.0.metadata.authoritative
    }

    /// Where the first alias leads, and for how many seconds.
    pub fn alias(&self) -> Option<(String, u32)> {
        self.0.answers.iter().find_map(|r| match &r.data {
            RData::CNAME(target) => Some((target.0.to_ascii(), r.ttl)),
            _ => None,
        })
    }

    /// The addresses in the answer section.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.0.answers.iter().filter_map(|r| r.data.ip_addr()).collect()
    }

    /// The TTL of the first record in the answer section.
    ///
    /// # Panics
    /// When it is empty.
    pub fn ttl(&self) -> u32 {
        self.0.answers.first().unwrap_or_else(|| panic!("no answer in {}", self.0)).ttl
    }

    /// `owner type data` of every record of the authority section, sorted.
    pub fn authorities(&self) -> Vec<String> {
        text(&self.0.authorities)
    }

    /// `owner type data` of every record of the additional section, sorted.
    pub fn additionals(&self) -> Vec<String> {
        text(&self.0.additionals)
    }

    /// `owner type data` of every record of the answer section, sorted.
    pub fn answers(&self) -> Vec<String> {
        text(&self.0.answers)
    }

    /// INFO-CODE of the extended error (RFC 8914), if there is one.
    pub fn extended_error(&self) -> Option<u16> {
        let option = self.0.edns.as_ref()?.option(EdnsCode::Unknown(15))?.clone();
        let octets = Vec::<u8>::try_from(&option).ok()?;
        Some(u16::from_be_bytes([*octets.first()?, *octets.get(1)?]))
    }

    /// SCOPE PREFIX-LENGTH of the client subnet option, if it was echoed.
    pub fn scope(&self) -> Option<u8> {
        match self.0.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(subnet.scope_prefix()),
            _ => None,
        }
    }
}

fn text(records: &[hickory_proto::rr::Record]) -> Vec<String> {
    let mut lines: Vec<_> =
        records.iter().map(|r| format!("{} {} {}", r.name.to_ascii(), r.record_type(), r.data)).collect();
    lines.sort();
    lines
}
