//! RFC 8945 on the server's side: who signed a request, and the signature of the reply.

use std::time::{SystemTime, UNIX_EPOCH};

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::TSIG;
use hickory_proto::rr::rdata::tsig::{TsigError, make_tsig_record};
use hickory_proto::rr::{Record, TSigner};
use hickory_server::server::Request;

use super::dns::Sign;

/// Octets of a TSIG record beside the key's name: header, algorithm name, times, a 32 octet MAC and
/// six octets of server time.
const TSIG_FIXED: usize = 96;

/// What the signature of a request is worth, and how to sign the reply.
pub(super) enum Signature {
    /// There is none.
    Absent,
    /// It is ours and good.
    Good(Reply),
    /// It is not: the reply is NOTAUTH.
    Bad(Reply),
}

/// Signs the reply to a signed request.
pub(super) struct Reply {
    key_name: hickory_proto::rr::Name,
    record: TSIG,
    /// Absent where RFC 8945 section 5.2 wants an unsigned error.
    signer: Option<TSigner>,
    request_mac: Vec<u8>,
}

impl Signature {
    /// Checks a request against our key, by the wall clock.
    pub(super) fn of(request: &Request, key: Option<&TSigner>) -> Self {
        let Some(record) = request.signature.as_deref() else { return Self::Absent };
        let asked = &record.data;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let reply = |signer: Option<&TSigner>, error: Option<TsigError>, other: Vec<u8>| Reply {
            key_name: record.name.clone(),
            record: TSIG::new(asked.algorithm.clone(), now, asked.fudge, Vec::new(), asked.oid, error, other),
            signer: signer.cloned(),
            request_mac: asked.mac.clone(),
        };
        let ours = |key: &&TSigner| *key.signer_name() == record.name && *key.algorithm() == asked.algorithm;
        let Some(key) = key.filter(ours) else {
            return Self::Bad(reply(None, Some(TsigError::BadKey), Vec::new()));
        };
        // A time before the epoch plus fudge would underflow in hickory's arithmetic.
        let plausible = asked.time >= u64::from(asked.fudge);
        if !plausible || key.verify_message_byte(request.as_slice(), None, true).is_err() {
            return Self::Bad(reply(None, Some(TsigError::BadSig), Vec::new()));
        }
        if now.abs_diff(asked.time) > u64::from(asked.fudge) {
            let server_time = now.to_be_bytes()[2..].to_vec();
            return Self::Bad(reply(Some(key), Some(TsigError::BadTime), server_time));
        }
        Self::Good(reply(Some(key), None, Vec::new()))
    }

    /// The signer of the reply.
    pub(super) fn reply(&self) -> Option<&(dyn Sign + Sync)> {
        match self {
            Self::Absent => None,
            Self::Good(reply) | Self::Bad(reply) => Some(reply),
        }
    }

    /// What a request that changes something gets to hear: it must be signed, and well.
    pub(super) fn permission(&self) -> Result<(), ResponseCode> {
        match self {
            Self::Absent => Err(ResponseCode::Refused),
            Self::Bad(_) => Err(ResponseCode::NotAuth),
            Self::Good(_) => Ok(()),
        }
    }
}

impl Sign for Reply {
    fn room(&self) -> usize {
        self.key_name.len() + TSIG_FIXED
    }

    fn sign(&self, reply: &[u8]) -> Option<Box<Record<TSIG>>> {
        let mut record = self.record.clone();
        if let Some(signer) = &self.signer {
            let octets = signer.encode_response_tbs(&self.request_mac, reply, &record).ok()?;
            record = record.set_mac(signer.sign(&octets).ok()?);
        }
        Some(Box::new(make_tsig_record(self.key_name.clone(), record)))
    }
}
