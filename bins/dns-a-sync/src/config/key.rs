//! Reads the TSIG key. Its secret stays in a file of its own.

use std::{
    fs::File,
    io::{Read, Take},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use data_encoding::BASE64;
use dglb_core::name::Name;
use dglb_node::config::{Section, choice, text};
use hickory_proto::rr::rdata::tsig::TsigAlgorithm;

use crate::dns_a::{Key, algorithm};

/// The shortest secret that is worth having, in octets (RFC 8945 section 8).
const LEAST: usize = 16;
/// Octets beyond which a file holds no secret.
const MOST: u64 = 64 << 10;

/// Reads `key = { name, algorithm, secret-file }`.
pub(super) fn read(section: &Section<'_>) -> Option<Key> {
    let name: Option<Name> = section.required("name", text);
    let names = ["hmac-sha256", "hmac-sha384", "hmac-sha512"];
    let known = names.map(|name| (name, algorithm(name).unwrap_or(TsigAlgorithm::HmacSha256)));
    let algorithm = section.or("algorithm", choice(&known), TsigAlgorithm::HmacSha256);
    if !section.has("secret-file") {
        section.problem(
            "secret-file",
            "this key is missing: a file with the secret in base64, or what tsig-keygen prints",
        );
    }
    let path = section.path("secret-file")?;
    let secret = match secret(&path) {
        Ok(secret) => secret,
        Err(error) => {
            section.problem("secret-file", format!("{}: {error}", path.display()));
            return None;
        }
    };
    if secret.len() < LEAST {
        section.warning(
            "secret-file",
            format!("a secret of {} octets is short; {LEAST} or more are wanted", secret.len()),
        );
    }
    if others_may_read(&path) {
        section.warning("secret-file", format!("{} can be read by everybody on this host", path.display()));
    }
    Key::new(&name?, algorithm, secret).map_err(|error| section.problem("algorithm", error)).ok()
}

fn secret(path: &Path) -> Result<Vec<u8>, String> {
    let mut content = String::new();
    let mut file: Take<File> = File::open(path).map_err(|e| e.to_string())?.take(MOST);
    file.read_to_string(&mut content).map_err(|e| e.to_string())?;
    let encoded = in_key_statement(&content).unwrap_or(content.trim());
    match BASE64.decode(encoded.as_bytes()) {
        Ok(secret) if !secret.is_empty() => Ok(secret),
        // The content is a secret, also when it is a broken one.
        _ => Err("this is neither a secret in base64 nor a key statement of BIND".to_owned()),
    }
}

/// The secret in `key "name" { algorithm …; secret "…"; };`, which is what tsig-keygen prints.
fn in_key_statement(content: &str) -> Option<&str> {
    let (_, after) = content.split_once('{')?;
    let (_, after) = after.split_once("secret")?;
    let value = after.split(';').next()?.trim();
    Some(value.trim_matches('"'))
}

fn others_may_read(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_come_bare_or_as_bind_writes_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let statement = "key \"sync\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n";
        for good in ["c2VjcmV0", " c2VjcmV0\n", statement, "key sync { algorithm hmac-sha256; secret c2VjcmV0; };"] {
            std::fs::write(&path, good).unwrap();
            assert_eq!(secret(&path).unwrap(), b"secret", "{good}");
        }
        for bad in ["", "c2VjcmV", "key sync { };", "not base64 at all!"] {
            std::fs::write(&path, bad).unwrap();
            let error = secret(&path).unwrap_err();
            assert!(bad.is_empty() || !error.contains(bad), "the error shows the content: {error}");
        }
        assert!(secret(&directory.path().join("missing")).is_err());
    }
}
