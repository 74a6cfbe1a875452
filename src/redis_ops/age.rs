//! Ages as users write them, and the age of a key by the date in its name.

use std::time::Duration;

use jiff::{Timestamp, ToSpan as _, civil, tz::TimeZone};

const UNITS: [(char, u64); 4] = [('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
/// About a hundred years in seconds, so that computations with clocks do not overflow.
const MAX_SECONDS: u64 = 100 * 366 * 86_400;

/// Parses an age: `30m`, `12h`, `7d` or `4w`. Zero is refused, because every key would be old.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let invalid = || format!("`{text}` is not an age such as 30m, 12h, 7d or 4w");
    let unit = text.chars().last().and_then(|last| UNITS.iter().find(|(unit, _)| *unit == last)).ok_or_else(invalid)?;
    let number = &text[..text.len() - 1];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(invalid());
    }
    let seconds =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit.1)).filter(|seconds| *seconds <= MAX_SECONDS);
    match seconds {
        Some(0) => Err(format!("`{text}` would match every key; the minimum is 1m")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
        None => Err(invalid()),
    }
}

/// Formats an age as users write it, in days at most.
pub(super) fn format_age(age: Duration) -> String {
    let seconds = age.as_secs();
    let unit = UNITS[..3].iter().rev().find(|(_, unit)| seconds.is_multiple_of(*unit) && seconds >= *unit);
    unit.map_or_else(|| format!("{seconds}s"), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// Returns when the period in a key's name ends, in UTC: `usage:2025-01-15:user` at the end of that day,
/// `metrics:api:response_time:2025-01-15-10` at the end of that hour. `None` without a date. If several parts are dates, the latest counts.
pub(super) fn end_of_period(key: &[u8]) -> Option<Timestamp> {
    let parts = key.split(|byte| *byte == b':').skip(1);
    parts.filter_map(|part| end_of_part(std::str::from_utf8(part).ok()?)).max()
}

/// Reads `2025-01`, `2025-01-15`, `2025-01-15-10`, `2025-01-15T10` or `2025-01-15-10-30`.
fn end_of_part(part: &str) -> Option<Timestamp> {
    if part.len() > "2025-01-15-10-30".len() {
        return None;
    }
    let part = part.replace(['T', '_'], "-");
    let fields: Vec<&str> = part.split('-').collect();
    let number = |at: usize, digits: usize| -> Option<i8> {
        let field = fields.get(at)?;
        let is_valid = field.len() == digits && field.bytes().all(|byte| byte.is_ascii_digit());
        is_valid.then(|| field.parse().ok()).flatten()
    };
    let year = fields.first().filter(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()));
    let (year, month) = (year?.parse::<i16>().ok().filter(|year| (1970..=9000).contains(year))?, number(1, 2)?);
    let day = civil::Date::new(year, month, if fields.len() > 2 { number(2, 2)? } else { 1 }).ok()?;
    let (begin, length) = match fields.len() {
        2 => (day.at(0, 0, 0, 0), 1.month()),
        3 => (day.at(0, 0, 0, 0), 1.day()),
        4 => (civil::DateTime::from_parts(day, civil::Time::new(number(3, 2)?, 0, 0, 0).ok()?), 1.hour()),
        5 => (civil::DateTime::from_parts(day, civil::Time::new(number(3, 2)?, number(4, 2)?, 0, 0).ok()?), 1.minute()),
        _ => return None,
    };
    let end = begin.checked_add(length).ok()?;
    TimeZone::UTC.to_timestamp(end).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_parsed_and_formatted() {
        for (text, seconds) in [("30m", 1800), ("12h", 43_200), ("7d", 604_800), ("4w", 2_419_200)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)));
        }
        assert_eq!(["90m", "24h", "7d", "4w"].map(|text| format_age(parse(text).unwrap())), ["90m", "1d", "7d", "28d"]);
        insta::assert_snapshot!(parse("0d").unwrap_err(), @"`0d` would match every key; the minimum is 1m");
        insta::assert_snapshot!(parse("7").unwrap_err(), @"`7` is not an age such as 30m, 12h, 7d or 4w");
        for text in ["", "d", "-1d", "+1d", "7 d", "1.5d", "7days", "7é", "99999999999999999999w", "9999999999w"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    fn end(key: &str) -> Option<String> {
        end_of_period(key.as_bytes()).map(|end| end.to_string())
    }

    #[test]
    fn a_period_ends_after_its_last_moment() {
        for (key, wanted) in [
            ("metrics:api:response_time:2025-01-15-10", "2025-01-15T11:00:00Z"),
            ("metrics:api:response_time:2024-12-31-23", "2025-01-01T00:00:00Z"),
            ("metrics:api:response_time:2025-01-15T10", "2025-01-15T11:00:00Z"),
            ("metrics:api:response_time:2025-01-15-10-59", "2025-01-15T11:00:00Z"),
            ("metrics:api:response_time:2024-02", "2024-03-01T00:00:00Z"),
            ("usage:2025-01-15:user", "2025-01-16T00:00:00Z"),
            ("errors:2024-02-29:timeout", "2024-03-01T00:00:00Z"),
            // A user name that looks like a date does not make the key older than it is.
            ("usage:2025-01-15:2001-01-01", "2025-01-16T00:00:00Z"),
        ] {
            assert_eq!(end(key).as_deref(), Some(wanted), "{key}");
        }
    }

    #[test]
    fn text_that_is_not_a_date_is_none() {
        for key in [
            "counter:requests:1hour",
            "usage:2025-02-30:user",
            "usage:2025-1-15:user",
            "usage:20250115:user",
            "usage:x2025-01-15:user",
            "metrics:a:2025-01-15-24",
            "metrics:a:2025-01-15-10-60",
            "metrics:a:1736899200",
            "2025-01-15",
            "usage:-2025-01-15",
            "usage:",
            "",
            "usage:0000-00-00",
            "usage:2025-01-15-10-30-00-00",
        ] {
            assert_eq!(end(key), None, "{key}");
        }
        assert_eq!(end_of_period(b"usage:\xff\xfe:2025\0-01-15"), None);
        assert_eq!(
            end_of_period(&[b":".repeat(1 << 20), b"2025-01-15".to_vec()].concat()).map(|end| end.to_string()).as_deref(),
            Some("2025-01-16T00:00:00Z")
        );
    }
}
