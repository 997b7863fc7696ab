//! The certificates of a world that lasts no longer than the process that made it: a lab, a test.

use std::{
    io,
    path::Path,
    time::{Duration, SystemTime},
};

use dglb_core::peer_name::PeerName;

use crate::{Authority, AuthorityError, Issued, Lifetime, Request};

/// How long they are valid, in days; longer than any lab.
const DAYS: u32 = 30;

/// An authority that is kept nowhere.
#[derive(Debug)]
pub struct Ephemeral {
    authority: Authority,
    list: String,
    lifetime: Lifetime,
}

impl Ephemeral {
    /// `tls` of `[map]` where [`Ephemeral::files`] lie beside the configuration file.
    pub const CONFIG: &str =
        "tls = { certificate = 'certificate.pem', key = 'key.pem', ca = 'ca.pem', crl = 'crl.pem' }";

    /// A new one, with an empty list of what is revoked.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn new() -> Result<Self, AuthorityError> {
        let now = SystemTime::now();
        let lifetime = Lifetime::days(now, DAYS);
        let authority = Authority::new("DGLB, of one run", lifetime)?;
        let list = authority.revocation_list(&[], 1, now, now + Duration::from_secs(86_400))?;
        Ok(Self { authority, list, lifetime })
    }

    /// What the host of this name needs: names of files and what they hold.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn files(&self, name: &PeerName) -> Result<[(&'static str, String); 4], AuthorityError> {
        let Issued { certificate, key, .. } = self.issue(name)?;
        let ca = self.authority.certificate().to_owned();
        Ok([("certificate.pem", certificate), ("key.pem", key), ("ca.pem", ca), ("crl.pem", self.list.clone())])
    }

    /// The same, written into a directory that is there; the key is its owner's alone.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn write(&self, name: &PeerName, directory: &Path) -> io::Result<()> {
        let issued = self.issue(name).map_err(io::Error::other)?;
        issued.write(directory, self.authority.certificate(), &self.list)
    }

    /// Who signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    fn issue(&self, name: &PeerName) -> Result<Issued, AuthorityError> {
        self.authority.issue(&Request::new(name.clone(), self.lifetime))
    }
}
