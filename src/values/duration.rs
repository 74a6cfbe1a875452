//! Durations as text.

use std::time::Duration;

/// The longest duration: clocks can represent it, and anything longer is a typo.
const WEEK: Duration = Duration::from_hours(7 * 24);

/// Parses a duration from 0 to a week: seconds, or `10s`, `5m`, `1h`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (number, factor) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    if !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let time = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(factor)?);
    (time <= WEEK).then_some(time)
}
