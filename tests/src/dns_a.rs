//! An enterprise's authoritative server, as far as dns-a-sync asks it: one zone whose addresses a
//! scenario changes at will.

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
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

use crate::configs::ENTERPRISE;

#[derive(Debug)]
struct Zone {
    serial: u32,
    addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// A running DNS-A; it ends with the value.
#[derive(Debug)]
pub struct DnsA {
    zone: Arc<Mutex<Zone>>,
    serving: [JoinHandle<()>; 2],
}

impl DnsA {
    /// A DNS-A without sites.
    ///
    /// # Panics
    /// When the address is taken.
    pub async fn start(address: SocketAddr) -> Self {
        let zone = Arc::new(Mutex::new(Zone { serial: 1, addresses: BTreeMap::new() }));
        let tcp = TcpListener::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let udp = UdpSocket::bind(address).await.unwrap_or_else(|error| panic!("{address}: {error}"));
        let serving = [tokio::spawn(over_udp(udp, Arc::clone(&zone))), tokio::spawn(over_tcp(tcp, Arc::clone(&zone)))];
        Self { zone, serving }
    }

    /// From now on these are the addresses of a site.
    ///
    /// # Panics
    /// When its own task has.
    pub fn set(&self, site: &str, addresses: &[IpAddr]) {
        let mut zone = self.zone.lock().expect("its tasks do not panic");
        zone.serial += 1;
        zone.addresses.insert(format!("{site}.sites.{ENTERPRISE}."), addresses.to_vec());
    }
}

impl Drop for DnsA {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn over_udp(udp: UdpSocket, zone: Arc<Mutex<Zone>>) {
    let mut octets = [0; 1_500];
    while let Ok((length, peer)) = udp.recv_from(&mut octets).await {
        let answer = answer(&zone, &octets[..length]);
        // Whoever has gone away does not want it.
        let _ = udp.send_to(&answer.unwrap_or_default(), peer).await;
    }
}

async fn over_tcp(tcp: TcpListener, zone: Arc<Mutex<Zone>>) {
    while let Ok((stream, _)) = tcp.accept().await {
        tokio::spawn(connection(stream, Arc::clone(&zone)));
    }
}

async fn connection(mut stream: TcpStream, zone: Arc<Mutex<Zone>>) -> Option<()> {
    let mut octets = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut octets).await.ok()?;
    let answer = answer(&zone, &octets)?;
    stream.write_u16(u16::try_from(answer.len()).ok()?).await.ok()?;
    stream.write_all(&answer).await.ok()
}

fn answer(zone: &Mutex<Zone>, octets: &[u8]) -> Option<Vec<u8>> {
    let zone = zone.lock().ok()?;
    let mut answer = Message::from_vec(octets).ok()?.into_response();
    let question = answer.queries.first()?.clone();
    answer.metadata.authoritative = true;
    let apex = Name::from_ascii(format!("{ENTERPRISE}.")).ok()?;
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
    answer.to_vec().ok()
}
