//! The map as a table for people.

use serde_json::Value;

use crate::{
    render::render,
    table::{cell as plain, table},
};

/// The columns, as the daemon calls them.
const COLUMNS: [&str; 8] =
    ["prefix", "dns_lb", "preference", "weight", "source", "age_seconds", "lease_left_seconds", "state"];

/// A line for each entry, and how many more there are.
pub(crate) fn map_table(document: &Value) -> String {
    let entries = document["entries"].as_array().map_or(&[][..], Vec::as_slice);
    let cell = |entry: &Value, column: &str| match &entry[column] {
        // No lease runs while there is a link.
        Value::Null if column == "lease_left_seconds" => "linked".to_owned(),
        value if column.ends_with("_seconds") => plain_seconds(value),
        value => plain(value),
    };
    let title = |column: &str| column.trim_end_matches("_seconds").replace('_', " ").to_uppercase();
    let mut rows: Vec<Vec<String>> = vec![COLUMNS.iter().map(|column| title(column)).collect()];
    rows.extend(entries.iter().map(|entry| COLUMNS.iter().map(|column| cell(entry, column)).collect()));
    let text = table(&rows);
    match document["more"].as_u64() {
        Some(more) if more > 0 => text + &format!("… and {more} more; --limit shows more of them\n"),
        _ => text,
    }
}

/// Seconds as the status shows them.
fn plain_seconds(value: &Value) -> String {
    let text = render(&serde_json::json!({ "x_seconds": value }));
    text.trim_start_matches('x').trim().to_owned()
}

/// A parameter's value in a query.
pub(crate) fn encoded(value: &str) -> String {
    let safe = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~:/".contains(&octet);
    value
        .bytes()
        .map(|octet| if safe(octet) { char::from(octet).to_string() } else { format!("%{octet:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_for_each_prefix_and_dns_lb() {
        let entry = |prefix: &str, lb: &str, preference, lease: Option<u64>, state: &str| {
            json!({
                "prefix": prefix, "dns_lb": lb, "preference": preference, "weight": 1, "source": "static",
                "age_seconds": 3_725, "lease_left_seconds": lease, "state": state, "handed_out": true,
            })
        };
        let document = json!({
            "entries": [
                entry("192.0.2.1/32", "sea1", 10, None, "alive"),
                entry("192.0.2.1/32", "sea2", 20, Some(42), "suspect"),
            ],
            "more": 7,
        });
        let expected = "\
PREFIX        DNS LB  PREFERENCE  WEIGHT  SOURCE  AGE    LEASE LEFT  STATE
192.0.2.1/32  sea1    10          1       static  1h 2m  linked      alive
192.0.2.1/32  sea2    20          1       static  1h 2m  42s         suspect
… and 7 more; --limit shows more of them
";
        assert_eq!(map_table(&document), expected);
    }

    #[test]
    fn values_survive_a_query() {
        assert_eq!(encoded("2001:db8::/32"), "2001:db8::/32");
        assert_eq!(encoded("a b&c=%"), "a%20b%26c%3D%25");
    }
}
