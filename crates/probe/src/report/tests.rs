use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

fn told(state: Option<Stated>, utilization: u32, memory: u32, requests: u64) -> Told {
    Told { state, utilization: Some(utilization), memory: Some(memory), requests: Some(requests), errors: None }
}

/// The same report in all of its forms.
fn forms() -> Vec<Vec<u8>> {
    let report = Report {
        cpu_utilization: 0.3,
        mem_utilization: 0.8,
        rps_fractional: 12.5,
        named_metrics: [("draining".to_owned(), 1.0), ("queue".to_owned(), 7.0)].into(),
        ..Report::default()
    };
    let binary = BASE64.encode(&report.encode_to_vec());
    let text = "cpu_utilization=0.3, mem_utilization=0.8,rps_fractional=12.5, named_metrics.draining=1";
    vec![
        format!("TEXT {text}").into(),
        br#"JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8, "rps_fractional": 12.5, "named_metrics": {"draining": 1}}"#
            .to_vec(),
        br#"JSON {"cpuUtilization": 0.3, "memUtilization": 0.8, "rpsFractional": 12.5, "namedMetrics": {"draining": 1}}"#
            .to_vec(),
        format!("BIN {binary}").into(),
        format!("bin {}", binary.trim_end_matches('=')).into(),
    ]
}

#[test]
fn one_report_in_all_its_forms() {
    for form in forms() {
        let shown = String::from_utf8_lossy(&form).into_owned();
        assert_eq!(of_header(&form), Some(told(Some(Stated::Draining), 300, 800, 12_500)), "{shown}");
    }
    let forms = forms();
    let binary = forms[3].strip_prefix(b"BIN ").unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(BINARY, HeaderValue::from_bytes(binary).unwrap());
    assert_eq!(of_headers(&headers), told(Some(Stated::Draining), 300, 800, 12_500));
    assert_eq!(of_headers(&HeaderMap::new()), Told::default());
}

#[test]
fn the_applications_own_figure_counts_before_the_processors() {
    let of = |text: &str| of_header(text.as_bytes()).unwrap();
    assert_eq!(of("TEXT application_utilization=0.5,cpu_utilization=0.9").utilization, Some(500));
    assert_eq!(of("TEXT cpu_utilization=0.9,application_utilization=0.5").utilization, Some(500));
    assert_eq!(of("TEXT rps=7").requests, Some(7_000));
    assert_eq!(of("JSON {\"rps\": \"7\", \"eps\": 0.5}").errors, Some(500));
    assert_eq!(of("TEXT cpu_utilization=-1, mem_utilization=NaN, x, =, y=2"), Told::default());
}

#[test]
fn documents() {
    let stated = |text: &str| of_document(text.as_bytes()).unwrap();
    assert_eq!(stated("state: draining\ncpu: 0.25\n"), Told { utilization: Some(250), ..stated("state = draining") });
    assert_eq!(stated("{\"state\": \"down\"}").state, Some(Stated::Down));
    assert_eq!(stated("{\"state\": \"up\", \"named_metrics\": {\"down\": 0}}"), Told::default(), "never up");
    assert_eq!(stated("ok\n"), Told::default());
    assert_eq!(stated("state=draining\nstate=down\nstate=draining").state, Some(Stated::Down), "the worse word counts");
    for unread in [&b"{"[..], b"\xff", &[b' '; MAX_DOCUMENT + 1]] {
        assert_eq!(of_document(unread), None);
    }
}

#[test]
fn headers_that_say_nothing() {
    let long = format!("TEXT {}cpu_utilization=1", "x=1,".repeat(MAX_HEADER));
    for unread in ["", "TEXT", "XML <a/>", "JSON [1]", "BIN !", "BIN ////", &long] {
        assert_eq!(of_header(unread.as_bytes()), None, "{unread:.20}");
    }
}

proptest! {
    #[test]
    fn anything_is_read_without_harm(octets in prop::collection::vec(any::<u8>(), 0..600), form in 0..4_usize) {
        let mut header = [&b""[..], b"TEXT ", b"JSON ", b"BIN "][form].to_vec();
        header.extend_from_slice(&octets);
        let _ = (of_header(&header), of_document(&octets));
    }

    /// A nested value as deep as the bound allows.
    #[test]
    fn depth_is_bounded(depth in 0..MAX_DOCUMENT / 2) {
        let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        let _ = of_document(text.as_bytes());
    }

    #[test]
    fn what_is_said_is_read(cpu in 0.0..3.0_f64, mem in 0.0..1.0_f64, rps in 0.0..1e9_f64) {
        let text = format!("TEXT cpu_utilization={cpu},mem_utilization={mem},rps_fractional={rps}");
        let read = of_header(text.as_bytes()).unwrap();
        prop_assert_eq!(read, Told {
            utilization: Told::thousandths(cpu),
            memory: Told::thousandths(mem),
            requests: Told::whole_thousandths(rps),
            ..Told::default()
        });
        let binary = Report { cpu_utilization: cpu, mem_utilization: mem, rps_fractional: rps, ..Report::default() };
        let header = format!("BIN {}", BASE64.encode(&binary.encode_to_vec()));
        let nothing = |figure: f64| figure == 0.0;
        if !nothing(cpu) && !nothing(mem) && !nothing(rps) {
            prop_assert_eq!(of_header(header.as_bytes()).unwrap(), read);
        }
    }
}
