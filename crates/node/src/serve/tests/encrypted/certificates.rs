//! Certificates that change while they are in use.

use super::*;

/// What the server shows to a client that trusts what is in the file now.
fn shown(encrypted: &Encrypted) -> io::Result<Vec<u8>> {
    let mut stream = encrypted.tls();
    stream.write_all(&framed(b"hello"))?;
    stream.read_exact(&mut [0; 9])?;
    Ok(stream.conn.peer_certificates().unwrap()[0].to_vec())
}

fn scrape(encrypted: &Encrypted) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &encrypted.serving.registry).unwrap();
    text
}

fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * SOON;
    while !so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_pair_is_shown_without_a_restart_and_a_bad_one_is_not() {
    let encrypted = Encrypted::new(|_| {});
    let directory = encrypted.directory.path();
    let first = shown(&encrypted).unwrap();
    let mut open = encrypted.tls();
    open.write_all(&framed(b"before")).unwrap();
    next_message(&mut open);

    // The old one stays for as long as the new files are no good.
    std::fs::write(directory.join("key.pem"), "nothing").unwrap();
    eventually("the bad key is counted", || scrape(&encrypted).contains("outcome=\"refused\"} 1"));
    assert_eq!(shown(&encrypted).unwrap(), first);

    write_pair(directory, "dns.example");
    eventually("the new one is counted", || scrape(&encrypted).contains("outcome=\"applied\"} 1"));
    assert_ne!(shown(&encrypted).unwrap(), first);
    assert!(scrape(&encrypted).contains("outcome=\"refused\"} 1"));
    // Connections that were open stay so.
    open.write_all(&framed(b"after")).unwrap();
    assert_eq!(next_message(&mut open), b"after\0\0");
}

#[tokio::test]
async fn expiry_is_shown_in_unix_seconds() {
    let encrypted = Encrypted::new(|_| {});
    let text = scrape(&encrypted);
    let line = text.lines().find(|line| line.starts_with("dglb_dns_certificate_expiry_seconds{file=")).unwrap();
    // As written below: the second of January 2030.
    assert!(line.ends_with(" 1893542400"), "{line}");
}

#[test]
fn what_is_wrong_with_a_pair_is_said_by_file_and_without_its_content() {
    let directory = tempfile::tempdir().unwrap();
    let files = write_pair(directory.path(), "dns.example");
    files.check().unwrap();
    let other = tempfile::tempdir().unwrap();
    let other = std::fs::read(write_pair(other.path(), "dns.example").key).unwrap();
    let (good, key) = (std::fs::read(&files.certificate).unwrap(), std::fs::read(&files.key).unwrap());
    let hello = b"hello".to_vec();
    let cases = [
        (&files.certificate, "No such file", None, Some(&key)),
        (&files.certificate, "holds no certificate in PEM", Some(&hello), Some(&key)),
        (&files.certificate, "holds no certificate in PEM", Some(&key), Some(&key)),
        (&files.key, "No such file", Some(&good), None),
        (&files.key, "holds no private key in PEM", Some(&good), Some(&good)),
        (&files.key, "is not the certificate's key", Some(&good), Some(&other)),
    ];
    for (file, wanted, certificate, key) in cases {
        for (path, content) in [(&files.certificate, certificate), (&files.key, key)] {
            let _ = std::fs::remove_file(path);
            if let Some(content) = content {
                std::fs::write(path, content).unwrap();
            }
        }
        let error = files.check().unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: {wanted}", file.display())), "{error}");
    }
}
