//! Plain scalars as YAML 1.1 and `PyYAML` resolve them: <https://yaml.org/type/>.

use super::AnsibleValue;
use super::number::{float, whole};

/// Returns the value of a plain scalar that is not text: `yes`, `0644`, `1_000`, `12:30:45`, `2020-01-01`. Dates are returned as text in the
/// form that Ansible prints.
pub(super) fn value(text: &str) -> Option<AnsibleValue> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some(AnsibleValue::Null),
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Some(AnsibleValue::Bool(true)),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Some(AnsibleValue::Bool(false)),
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || "+-.".contains(first)) {
        return None;
    }
    number(text).map(AnsibleValue::Number).or_else(|| time(text).map(AnsibleValue::Text))
}

fn number(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let negated = |number: f64| float(if sign == "-" { -number } else { number });
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(negated(f64::INFINITY)),
        ".nan" | ".NaN" | ".NAN" if rest == text => return Some(negated(f64::NAN)),
        _ => {}
    }
    let digits = rest.replace('_', "");
    let is = |radix: u32| move |character: char| character.is_digit(radix) || character == '_';
    if let Some(binary) = rest.strip_prefix("0b") {
        return binary.chars().all(is(2)).then(|| whole(sign, &digits[2..], 2))?;
    }
    if let Some(hex) = rest.strip_prefix("0x") {
        return hex.chars().all(is(16)).then(|| whole(sign, &digits[2..], 16))?;
    }
    if !rest.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    if rest.chars().all(is(10)) {
        let is_octal = rest.len() > 1 && rest.starts_with('0');
        return whole(sign, &digits, if is_octal { 8 } else { 10 });
    }
    if rest.contains(':') {
        // Whole numbers of this form are far below 2^53.
        return sexagesimal(rest).map(|(number, is_whole)| if is_whole { format!("{sign}{number}") } else { negated(number) });
    }
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (rest, None),
    };
    // An exponent needs a sign and a mantissa needs a point; a number that starts with the point has no sign.
    let has_sign = |exponent: &str| {
        exponent
            .strip_prefix(['-', '+'])
            .is_some_and(|digits| !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit()))
    };
    let (before, after) = mantissa.split_once('.')?;
    let is_float = before.chars().chain(after.chars()).all(is(10))
        && exponent.is_none_or(has_sign)
        && (!before.is_empty() || (rest == text && after.starts_with(|first: char| first.is_ascii_digit())));
    digits.parse().ok().filter(|_| is_float).map(negated)
}

/// Reads a number to the base of 60 (`12:30:45`, `1:30.5`); also returns whether it is whole.
fn sexagesimal(text: &str) -> Option<(f64, bool)> {
    let is_digits = |part: &str| !part.is_empty() && part.chars().all(|digit| digit.is_ascii_digit() || digit == '_');
    let (parts, fraction) = match text.split_once('.') {
        Some((parts, fraction)) => (parts, Some(fraction)),
        None => (text, None),
    };
    let mut parts = parts.split(':');
    let first = parts.next()?;
    if !is_digits(first) || first.starts_with('_') || (fraction.is_none() && first.starts_with('0')) {
        return None;
    }
    let mut number: f64 = first.replace('_', "").parse().ok()?;
    for part in parts {
        if part.is_empty() || part.len() > 2 || !part.chars().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        number = number * 60.0 + part.parse::<f64>().ok().filter(|part| *part < 60.0)?;
    }
    match fraction {
        None => Some((number, true)),
        Some(fraction) if fraction.is_empty() || is_digits(fraction) => {
            Some((number + format!("0.{}", fraction.replace('_', "")).parse::<f64>().unwrap_or_default(), false))
        }
        Some(_) => None,
    }
}

/// Reads a date, or a date and time; returns it in ISO 8601 as Python writes it.
fn time(text: &str) -> Option<String> {
    let (date, rest) = match text.find(['T', 't', ' ', '\t']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (digits(parts.next()?, 4..=4)?, digits(parts.next()?, 1..=2)?, digits(parts.next()?, 1..=2)?);
    if parts.next().is_some() || (rest.is_none() && date.len() != 10) {
        return None;
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let Some(rest) = rest else { return Some(date) };
    let clock = rest.strip_prefix(['T', 't']).unwrap_or_else(|| rest.trim_start_matches([' ', '\t']));
    let end = clock.find(|character: char| !character.is_ascii_digit() && character != ':').unwrap_or(clock.len());
    let mut parts = clock[..end].split(':');
    let (hour, minute, second) = (digits(parts.next()?, 1..=2)?, digits(parts.next()?, 2..=2)?, digits(parts.next()?, 2..=2)?);
    if parts.next().is_some() {
        return None;
    }
    let mut rest = &clock[end..];
    let mut micros = String::new();
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|character: char| !character.is_ascii_digit()).unwrap_or(fraction.len());
        micros = format!("{:0<6.6}", &fraction[..end]);
        rest = &fraction[end..];
    }
    let fraction = if micros.chars().all(|digit| digit == '0') { String::new() } else { format!(".{micros}") };
    let zone = match rest.trim_start_matches([' ', '\t']) {
        "" if rest.is_empty() => String::new(),
        "Z" => "+00:00".to_owned(),
        zone => {
            let sign = zone.chars().next().filter(|sign| "+-".contains(*sign))?;
            let (hours, minutes) = zone[1..].split_once(':').unwrap_or((&zone[1..], "00"));
            format!("{sign}{:02}:{:02}", digits(hours, 1..=2)?, digits(minutes, 2..=2)?)
        }
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

fn digits(text: &str, count: std::ops::RangeInclusive<usize>) -> Option<u32> {
    (count.contains(&text.len()) && text.chars().all(|digit| digit.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_pyyaml_reads_them() {
        for (text, printed) in [
            ("0644", "420"),
            ("0x1F", "31"),
            ("-0x1F", "-31"),
            ("0b101", "5"),
            ("1_000", "1000"),
            ("0_7", "7"),
            ("+5", "5"),
            ("-0", "0"),
            ("00", "0"),
            ("12:30:45", "45045"),
            ("-1:30", "-90"),
            ("190:20:30.15", "685230.15"),
            ("1.10", "1.1"),
            ("1.0e+3", "1000.0"),
            ("1.e+3", "1000.0"),
            (".5", "0.5"),
            ("5.", "5.0"),
            (".inf", "Infinity"),
            ("-.INF", "-Infinity"),
            (".nan", "NaN"),
            ("1_0.5", "10.5"),
            ("0.00001", "1e-05"),
            ("99999999999999999999999", "99999999999999999999999"),
        ] {
            assert_eq!(value(text), Some(AnsibleValue::Number(printed.to_owned())), "{text}");
        }
    }

    #[test]
    fn dates_are_printed_as_python_prints_them() {
        for (text, printed) in [
            ("2020-01-01", "2020-01-01"),
            ("2020-01-01 12:30:45", "2020-01-01T12:30:45"),
            ("2020-1-2 1:02:03 -5:30", "2020-01-02T01:02:03-05:30"),
            ("2020-01-01T12:30:45Z", "2020-01-01T12:30:45+00:00"),
            ("2020-01-01T12:30:45.5+02:00", "2020-01-01T12:30:45.500000+02:00"),
            ("2020-01-01t12:30:45.123456789", "2020-01-01T12:30:45.123456"),
        ] {
            assert_eq!(value(text), Some(AnsibleValue::Text(printed.to_owned())), "{text}");
        }
    }

    #[test]
    fn everything_else_is_text() {
        for text in [
            "y",
            "n",
            "nULL",
            "0o17",
            "08",
            "0x",
            "1e3",
            "1.5e16",
            "-.5",
            "+.nan",
            "1:60",
            "10.0.0.1",
            "1.2.3",
            "a",
            "-",
            "+",
            ".",
            "-x",
            "2020-1-1",
            "2020-01",
            "172.16.168.0/24",
            "1:2:x",
            "1 2",
            "é",
            "0b12",
            "2020-01-01 12:30",
            "01:30",
            "1:",
            "+",
            "1:2.x",
        ] {
            assert_eq!(value(text), None, "{text}");
        }
    }
}
