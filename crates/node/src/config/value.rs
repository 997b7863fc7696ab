//! Kinds of values: each takes a TOML value and says what it is, or what was wanted instead.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use super::suggest;

/// A TOML value as it stands in the file.
pub type Value<'i> = toml::de::DeValue<'i>;

/// A text that is parsed: addresses, prefixes, identities, names, or plain `String`.
///
/// # Errors
/// Not a text, or what `T`'s parser says.
pub fn text<T: FromStr<Err: Display>>(value: &Value<'_>) -> Result<T, String> {
    let text = value.as_str().ok_or_else(|| instead("a text in quotes", value))?;
    text.parse().map_err(|error: T::Err| {
        let error = error.to_string();
        // Parsers of the standard library do not say what they were given.
        if error.contains(text) { error } else { format!("\"{text}\": {error}") }
    })
}

/// `true` or `false`.
///
/// # Errors
/// Anything else.
pub fn boolean(value: &Value<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| instead("true or false", value))
}

/// An integer in `range`.
pub fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Value<'_>) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    move |value| {
        let wanted = || format!("an integer from {} to {}", range.start(), range.end());
        let number = as_i128(value).ok_or_else(|| instead(&wanted(), value))?;
        let number = T::try_from(number).ok().filter(|n| range.contains(n));
        number.ok_or_else(|| instead(&wanted(), value))
    }
}

/// A number, whole or not, in `range`.
pub fn number(range: RangeInclusive<f64>) -> impl Fn(&Value<'_>) -> Result<f64, String> {
    move |value| {
        let number = match value {
            Value::Float(float) => float.as_str().parse().ok(),
            _ => as_i128(value).map(|n| n as f64),
        };
        let wanted = || format!("a number from {} to {}", range.start(), range.end());
        number.filter(|n| range.contains(n)).ok_or_else(|| instead(&wanted(), value))
    }
}

/// A text with a unit, such as `"300ms"` or `"1m 30s"`, from `least` to `most`, which are written
/// the same way.
///
/// # Panics
/// When `least` or `most` is no duration: they are the program's own.
pub fn duration(least: &'static str, most: &'static str) -> impl Fn(&Value<'_>) -> Result<Duration, String> {
    let bound = |text: &str| humantime::parse_duration(text).expect("the bounds of a key are the program's own");
    let range = bound(least)..=bound(most);
    move |value| {
        let wanted = || format!("a duration such as \"10s\" or \"300ms\", from {least} to {most}");
        let duration = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
        duration.filter(|d| range.contains(d)).ok_or_else(|| instead(&wanted(), value))
    }
}

/// A time to live or SOA timer in whole seconds: `3600` or `"1h"`.
pub fn seconds(range: RangeInclusive<u32>) -> impl Fn(&Value<'_>) -> Result<u32, String> {
    move |value| {
        let wanted = || format!("whole seconds such as 3600 or \"1h\", from {} to {}", range.start(), range.end());
        let seconds = match value.as_str().map(humantime::parse_duration) {
            Some(Ok(duration)) if duration.subsec_nanos() == 0 => Some(i128::from(duration.as_secs())),
            Some(_) => None,
            None => as_i128(value),
        };
        let seconds = seconds.and_then(|s| u32::try_from(s).ok()).filter(|s| range.contains(s));
        seconds.ok_or_else(|| instead(&wanted(), value))
    }
}

/// A moment in UTC, such as `2026-12-01T06:00:00Z`, with or without quotes: seconds since 1970.
///
/// # Errors
/// Anything else, and what lies before 1970.
pub fn moment(value: &Value<'_>) -> Result<u64, String> {
    let text = match value {
        Value::Datetime(date) => Some(date.to_string()),
        _ => value.as_str().map(str::to_owned),
    };
    let time = text.and_then(|text| humantime::parse_rfc3339_weak(&text).ok());
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map(|since| since.as_secs()).ok_or_else(|| instead("a moment in UTC such as 2026-12-01T06:00:00Z", value))
}

/// A size in octets in `range`: `4096`, `"64KiB"`, `"10MB"`.
pub fn size(range: RangeInclusive<u64>) -> impl Fn(&Value<'_>) -> Result<u64, String> {
    move |value| {
        let wanted = || format!("a size such as 4096 or \"64KiB\", from {} to {} octets", range.start(), range.end());
        let octets = match value.as_str() {
            Some(text) => parse_size(text),
            None => as_i128(value).and_then(|n| u64::try_from(n).ok()),
        };
        octets.filter(|n| range.contains(n)).ok_or_else(|| instead(&wanted(), value))
    }
}

/// One of the words in `choices`, and what it stands for.
pub fn choice<T: Clone>(choices: &[(&'static str, T)]) -> impl Fn(&Value<'_>) -> Result<T, String> {
    move |value| {
        let found = value.as_str().and_then(|text| choices.iter().find(|(word, _)| *word == text));
        if let Some((_, meaning)) = found {
            return Ok(meaning.clone());
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let mut message = instead(&format!("one of {}", words.join(", ")), value);
        let near = value.as_str().and_then(|text| suggest::nearest(text, choices.iter().map(|(word, _)| *word)));
        if let Some(near) = near {
            message += &format!("; did you mean \"{near}\"?");
        }
        Err(message)
    }
}

/// "wanted A, found B".
pub(super) fn instead(wanted: &str, found: &Value<'_>) -> String {
    let found = match found {
        Value::String(text) => format!("\"{text}\""),
        Value::Integer(integer) => integer.to_string(),
        Value::Float(float) => float.to_string(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Datetime(date) => date.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    };
    format!("wanted {wanted}, found {found}")
}

fn as_i128(value: &Value<'_>) -> Option<i128> {
    let integer = value.as_integer()?;
    i128::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse<T>(toml: &str, kind: impl Fn(&Value<'_>) -> Result<T, String>) -> Result<T, String> {
        kind(Value::parse(toml).unwrap().get_ref())
    }

    #[test]
    fn integers_keep_to_their_range() {
        assert_eq!(parse("0x35", integer(1..=65535u16)), Ok(53));
        assert_eq!(parse("1_000", integer(0..=u64::MAX)), Ok(1000));
        assert_eq!(parse("-3", integer(-5..=5i32)), Ok(-3));
        for wrong in ["0", "65536", "1.0", "'53'", "-1", "[1]", "99999999999999999999"] {
            let message = parse(wrong, integer(1..=65535u16)).unwrap_err();
            assert!(message.starts_with("wanted an integer from 1 to 65535, found "), "{message}");
        }
    }

    #[test]
    fn durations_and_sizes_have_units() {
        assert_eq!(parse("'1m 30s'", duration("1s", "1h")), Ok(Duration::from_secs(90)));
        for wrong in ["90", "'90'", "'2h'", "'1ms'", "'soon'"] {
            assert!(parse(wrong, duration("1s", "1h")).is_err(), "{wrong}");
        }
        assert_eq!(parse("'1d'", seconds(0..=86_400)), Ok(86_400));
        assert_eq!(parse("30", seconds(0..=86_400)), Ok(30));
        for wrong in ["'1500ms'", "86401", "-1", "1.5", "true"] {
            assert!(parse(wrong, seconds(0..=86_400)).is_err(), "{wrong}");
        }
        assert_eq!(parse("'64KiB'", size(0..=1 << 20)), Ok(65_536));
        assert_eq!(parse("'2 MB'", size(0..=u64::MAX)), Ok(2_000_000));
        for wrong in ["'2MiB'", "'KiB'", "'1 kg'", "'99999999999999999GiB'", "-1"] {
            assert!(parse(wrong, size(0..=1 << 20)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_in_utc() {
        for moment_of in ["2026-12-01T06:00:00Z", "'2026-12-01T06:00:00Z'", "'2026-12-01 06:00:00'"] {
            assert_eq!(parse(moment_of, moment), Ok(1_796_104_800), "{moment_of}");
        }
        for wrong in ["2026-12-01T06:00:00+01:00", "2026-12-01", "'tomorrow'", "1796104800", "1969-01-01T00:00:00Z"] {
            let message = parse(wrong, moment).unwrap_err();
            assert!(message.starts_with("wanted a moment in UTC such as 2026-12-01T06:00:00Z, found "), "{message}");
        }
    }

    #[test]
    fn numbers_texts_and_choices() {
        assert_eq!(parse("1", number(0.0..=1.0)), Ok(1.0));
        assert_eq!(parse("0.25", number(0.0..=1.0)), Ok(0.25));
        assert!(parse("nan", number(0.0..=1.0)).is_err());
        assert!(parse("1.5", number(0.0..=1.0)).is_err());
        assert_eq!(parse("'plain'", text::<String>), Ok("plain".to_owned()));
        let message = parse("'10.0.0.300'", text::<std::net::IpAddr>).unwrap_err();
        assert_eq!(message, "\"10.0.0.300\": invalid IP address syntax");
        let modes = [("site", 1), ("cache", 2)];
        assert_eq!(parse("'cache'", choice(&modes)), Ok(2));
        let message = parse("'sites'", choice(&modes)).unwrap_err();
        assert_eq!(message, "wanted one of \"site\", \"cache\", found \"sites\"; did you mean \"site\"?");
    }
}
