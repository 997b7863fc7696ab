//! A DNS-A in this process: one zone whose addresses a test changes at will. It answers over UDP
//! and TCP, knows SOA, A, AAAA and "there is none", and can fall silent.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::SOA},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

/// The zone.
pub(crate) const ZONE: &str = "foobar.test.";

#[derive(Default)]
struct Zone {
    serial: u32,
    addresses: BTreeMap<String, Vec<IpAddr>>,
    lame: bool,
    questions: u64,
}

/// A running DNS-A.
#[derive(Clone)]
pub(crate) struct DnsA {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

impl DnsA {
    pub(crate) async fn start() -> Self {
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let this = Self { address: tcp.local_addr().unwrap(), zone: Arc::default() };
        this.zone.lock().unwrap().serial = 1;
        let (by_udp, by_tcp) = (this.clone(), this.clone());
        tokio::spawn(async move {
            let mut octets = [0; 1500];
            while let Ok((length, peer)) = udp.recv_from(&mut octets).await {
                let answer = by_udp.answer(&octets[..length]);
                udp.send_to(&answer, peer).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                // A client that has given up meanwhile is no reason to leave the others.
                let Ok(length) = stream.read_u16().await else { continue };
                let mut octets = vec![0; usize::from(length)];
                let Ok(_) = stream.read_exact(&mut octets).await else { continue };
                let answer = by_tcp.answer(&octets);
                let framed = [&(answer.len() as u16).to_be_bytes()[..], &answer].concat();
                let Ok(()) = stream.write_all(&framed).await else { continue };
            }
        });
        this
    }

    /// From now on these are the addresses of `site` (without the zone); the serial rises.
    pub(crate) fn set(&self, site: &str, addresses: &[&str]) {
        let mut zone = self.zone.lock().unwrap();
        zone.serial += 1;
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        zone.addresses.insert(format!("{site}.{ZONE}"), addresses);
    }

    /// From now on it answers SERVFAIL, or no longer.
    pub(crate) fn fail(&self, lame: bool) {
        self.zone.lock().unwrap().lame = lame;
    }

    /// How many questions came.
    pub(crate) fn questions(&self) -> u64 {
        self.zone.lock().unwrap().questions
    }

    fn answer(&self, octets: &[u8]) -> Vec<u8> {
        let mut zone = self.zone.lock().unwrap();
        zone.questions += 1;
        let mut answer = Message::from_vec(octets).unwrap().into_response();
        let question = answer.queries[0].clone();
        if zone.lame {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer.to_vec().unwrap();
        }
        answer.metadata.authoritative = true;
        let apex = Name::from_ascii(ZONE).unwrap();
        let soa = SOA::new(apex.clone(), apex.clone(), zone.serial, 60, 60, 60, 60);
        let soa = Record::from_rdata(apex.clone(), 60, RData::SOA(soa));
        let found = zone.addresses.get(&question.name.to_string().to_lowercase());
        let matching = found.into_iter().flatten().filter(|a| match question.query_type {
            RecordType::A => a.is_ipv4(),
            RecordType::AAAA => a.is_ipv6(),
            _ => false,
        });
        for address in matching {
            answer.add_answer(Record::from_rdata(question.name.clone(), 60, RData::from(*address)));
        }
        if question.name == apex && question.query_type == RecordType::SOA {
            answer.add_answer(soa.clone());
        }
        if answer.answers.is_empty() {
            answer.add_authority(soa);
            if found.is_none() && question.name != apex {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
        }
        answer.to_vec().unwrap()
    }
}
