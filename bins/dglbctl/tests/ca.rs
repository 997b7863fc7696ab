//! `dglbctl ca` as an operator uses it.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

fn ca(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dglbctl"));
    command.env_remove("DGLB_ADMIN").env("DGLB_CA", directory);
    command.arg("ca").args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn fails(directory: &Path, arguments: &[&str], exit: i32, says: &str) {
    let output = ca(directory, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(exit) && error.contains(says), "{arguments:?}: {output:?}");
}

const SEA: [&str; 4] = ["--role", "dns-lb", "--identity", "sea1"];

fn with<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[command], more].concat()
}

#[test]
fn a_ca_from_its_first_day_to_a_revocation() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    fails(&path, &["list"], 66, "dglbctl ca init");
    let text = said(&ca(&path, &["init"]));
    assert!(text.contains("ca.key") && text.contains("3650 days") && text.contains("next: dglbctl ca issue"), "{text}");
    let mode = |file: &str| path.join(file).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("ca.pem")), (0o600, 0o644));
    fails(&path, &["init"], 73, "nothing of it is overwritten");

    let text = said(&ca(&path, &with("issue", &SEA)));
    assert!(text.contains("hosts/dns-lb-sea1  dglb:dns-lb:sea1, valid for 90 days"), "{text}");
    assert_eq!(mode("hosts/dns-lb-sea1/key.pem"), 0o600);
    fails(&path, &with("issue", &SEA), 73, "\"renew\" makes a newer one");
    said(&ca(&path, &["issue", "--role", "dns-b", "--identity", "b1", "--dns-name", "b1.example.net", "--days", "20"]));
    let list = said(&ca(&path, &["list"]));
    let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["dns-lb", "sea1", "expires", "in", "89", "days"]);
    assert_eq!(lines[2], ["dns-b", "b1", "expires", "in", "19", "days"]);

    // Only what expires so soon is renewed, and once renewed it does not.
    let text = said(&ca(&path, &["renew", "--within", "30"]));
    assert!(text.contains("dglb:dns-b:b1") && !text.contains("sea1"), "{text}");
    assert_eq!(said(&ca(&path, &["renew", "--within", "30"])), "nothing expires so soon\n");
    said(&ca(&path, &with("renew", &SEA)));

    let before = std::fs::read(path.join("crl.pem")).unwrap();
    let text = said(&ca(&path, &with("revoke", &SEA)));
    assert!(text.contains("2 certificates revoked") && text.contains("crl.pem"), "{text}");
    assert_ne!(std::fs::read(path.join("crl.pem")).unwrap(), before);
    assert_eq!(
        std::fs::read(path.join("crl.pem")).unwrap(),
        std::fs::read(path.join("hosts/dns-b-b1/crl.pem")).unwrap()
    );
    fails(&path, &with("revoke", &SEA), 65, "no certificate that could be");
    let list = said(&ca(&path, &["list", "--all"]));
    assert_eq!(list.lines().filter(|line| line.contains("sea1") && line.contains("revoked  ")).count(), 2, "{list}");
    said(&ca(&path, &["crl"]));
}

#[test]
fn the_command_line_is_checked_and_teaches() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    for (arguments, says) in [
        (&["issue", "--role", "dns-x", "--identity", "sea1"][..], "is no role"),
        (&["issue", "--role", "dns-lb", "--identity", "Sea1"], "a-z, 0-9"),
        (&["issue", "--role", "dns-lb"], "--identity"),
        (&["renew"], "--within"),
        (&["renew", "--within", "3", "--role", "dns-lb", "--identity", "sea1"], "cannot be used with"),
        (&["init", "--days", "0"], "1..=36500"),
        (&[], "Usage"),
    ] {
        fails(path, arguments, 64, says);
    }
    let help = said(&ca(path, &["--help"]));
    for word in
        ["init", "issue", "renew", "revoke", "list", "crl", "[map.tls]", "never copy ca.key", "/etc/dglb/ca", "66"]
    {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    said(&ca(path, &["init", "--name", "x"]));
    fails(path, &["issue", "--role", "dns-b", "--identity", "b1", "--dns-name", "no name"], 64, "cannot stand");
}
