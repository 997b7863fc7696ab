//! What the map port says to somebody else's TLS: OpenSSL's own client, with and without what it takes.

use std::{net::SocketAddr, path::Path};

use dglb_lab::sandbox;
use dglb_node::link::PROTOCOL;
use dglb_scenarios::{Running, binaries, configs, eventually, scenario, so, tls, wait::LONG};
use dns_b::DnsB;

/// `openssl s_client`, which reads until the other side closes; whether it was content, and all that it said.
async fn s_client(server: SocketAddr, ca: &Path, arguments: &[&str]) -> (bool, String) {
    let mut command = binaries::piped("openssl");
    command.args(["s_client", "-connect", &server.to_string(), "-CAfile"]).arg(ca);
    command.args(["-alpn", std::str::from_utf8(PROTOCOL).unwrap(), "-ign_eof"]).args(arguments);
    let output = tokio::task::spawn_blocking(|| binaries::run(command, LONG)).await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn no_tls_before_1_3_and_nobody_without_a_certificate() {
    scenario("openssl::no_tls_before_1_3_and_nobody_without_a_certificate", async |ground| {
        if binaries::piped("openssl").arg("version").output().is_err() {
            return sandbox::skip("OpenSSL: apt-get install openssl");
        }
        let files = configs::dns_b(&ground, 1, 1, 1, "");
        let server = Running::<DnsB>::start(&files).await;
        let own = tempfile::tempdir().unwrap();
        tls::equip("dglb:dns-lb:lb1", own.path());
        let path = |name: &str| own.path().join(name).display().to_string();
        let (certificate, key, ca) = (path("certificate.pem"), path("key.pem"), own.path().join("ca.pem"));
        let shown = ["-cert", &certificate, "-key", &key];
        let ask = async |arguments: &[&str]| s_client(ground.map(1), &ca, arguments).await;
        let failures =
            async |reason: &str| server.counter(&format!("dglb_link_tls_failures_total{{reason=\"{reason}\"}}")).await;

        // With all that it takes, TLS is agreed on; HELLO does not come, so that is all.
        let (_, said) = ask(&[&shown[..], &["-tls1_3"]].concat()).await;
        for wanted in ["TLSv1.3", "ALPN protocol: dglb-map/1", "Verify return code: 0 (ok)"] {
            assert!(said.contains(wanted), "no {wanted} in {said}");
        }
        assert!(!said.contains("alert"), "{said}");
        let reasons = ["incompatible", "no-certificate", "protocol"];
        for reason in reasons {
            assert_eq!(failures(reason).await, 0, "{reason}");
        }

        for (arguments, alert, reason) in [
            ([&shown[..], &["-tls1_2"]].concat(), "protocol version", "incompatible"),
            (vec!["-tls1_3"], "certificate required", "no-certificate"),
        ] {
            let (content, said) = ask(&arguments).await;
            assert!(!content && said.contains(alert), "{arguments:?}: {said}");
            eventually(reason, async || {
                let count = failures(reason).await;
                so(count == 1, count)
            })
            .await;
        }
        assert_eq!(server.counter("dglb_link_established_total").await, 0);
        server.stop().await;
    });
}
