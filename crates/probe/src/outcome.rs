//! How a probe went: in which phase it ended, and why.

use std::time::Duration;

/// How one probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Good(Times),
    /// The site or the way to it failed.
    Failed(Failure),
    /// This host failed (no descriptors, no memory, no right to send): it says nothing about the site.
    Local,
}

/// Every value of [`Outcome::as_str`].
pub const OUTCOMES: [&str; 21] = [
    "ok",
    "local",
    "refused",
    "reset",
    "timeout-connect",
    "timeout-tls",
    "timeout-first-byte",
    "timeout-body",
    "tls-expired",
    "tls-not-yet-valid",
    "tls-untrusted",
    "tls-wrong-name",
    "tls-refused",
    "tls-malformed",
    "tls-other",
    "wrong-status",
    "wrong-body",
    "wrong-answer",
    "truncated",
    "malformed",
    "unreachable",
];

/// How long the phases of a good probe took, each from the start of the probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// The network round trip: until the connection stood, or the echo or answer came.
    pub connect: Duration,
    /// Until TLS stood; `None` without TLS.
    pub tls: Option<Duration>,
    /// Until the head of the response was there; `None` for what is not HTTP.
    pub first_byte: Option<Duration>,
    /// Until the end.
    pub whole: Duration,
    /// Octets of the body that were read.
    pub bytes: u64,
}

/// In what way a probe failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Nobody listens.
    Refused,
    /// The connection was reset.
    Reset,
    /// The timeout ran out in this phase.
    TimedOut(Phase),
    /// There was no TLS connection, for this reason.
    Tls(TlsFailure),
    /// A response with a status that is not among the good ones.
    WrongStatus(u16),
    /// The body does not have the text that it must have.
    WrongBody,
    /// A DNS response with this RCODE (RFC 1035 section 4.1.1), or 0 and without records.
    WrongAnswer(u8),
    /// The connection ended before the response did.
    Truncated,
    /// What came back is not of the protocol.
    Malformed,
    /// No way to the address.
    Unreachable,
}

/// Why there was no TLS connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// The certificate has expired.
    Expired,
    /// The certificate is not valid yet.
    NotYetValid,
    /// Nobody who is trusted has signed the certificate, or it was revoked.
    Untrusted,
    /// The certificate is another host's.
    WrongName,
    /// The site ended the handshake with an alert, or has no version or protocol in common with us.
    Refused,
    /// What came back is not TLS.
    Malformed,
    /// Anything else.
    Other,
}

/// The phases of a probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Until the connection stands, or the one answer is there.
    #[default]
    Connect,
    /// Until TLS stands.
    Tls,
    /// Until the head of the response is there.
    FirstByte,
    /// Until the end of the body.
    Body,
}

impl Outcome {
    /// The value of the metric's `outcome` label.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Good(_) => "ok",
            Self::Local => "local",
            Self::Failed(failure) => failure.as_str(),
        }
    }

    /// Whether the other side ended a connection that it had taken other than in order: a reset, or an
    /// end in the middle. Sites that are about to fail do so before they fail altogether.
    pub fn is_abnormal_end(&self) -> bool {
        matches!(self, Self::Failed(Failure::Reset | Failure::Truncated))
    }
}

impl Failure {
    /// See [`Outcome::as_str`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::TimedOut(Phase::Connect) => "timeout-connect",
            Self::TimedOut(Phase::Tls) => "timeout-tls",
            Self::TimedOut(Phase::FirstByte) => "timeout-first-byte",
            Self::TimedOut(Phase::Body) => "timeout-body",
            Self::Tls(TlsFailure::Expired) => "tls-expired",
            Self::Tls(TlsFailure::NotYetValid) => "tls-not-yet-valid",
            Self::Tls(TlsFailure::Untrusted) => "tls-untrusted",
            Self::Tls(TlsFailure::WrongName) => "tls-wrong-name",
            Self::Tls(TlsFailure::Refused) => "tls-refused",
            Self::Tls(TlsFailure::Malformed) => "tls-malformed",
            Self::Tls(TlsFailure::Other) => "tls-other",
            Self::WrongStatus(_) => "wrong-status",
            Self::WrongBody => "wrong-body",
            Self::WrongAnswer(_) => "wrong-answer",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::Unreachable => "unreachable",
        }
    }
}
