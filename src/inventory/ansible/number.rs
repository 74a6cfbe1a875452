//! Numbers as Python reads and prints them.

/// Reads a Python number literal with an optional sign and returns it as Python prints it: `0x1F` is `31`, `1_000` is `1000`, `1e3` is `1000.0`.
pub(in crate::inventory) fn python(text: &str) -> Option<String> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = without_underscores(rest)?;
    let radix = match digits.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => Some(16),
        Some("0o") => Some(8),
        Some("0b") => Some(2),
        _ => None,
    };
    if let Some(radix) = radix {
        return whole(sign, &digits[2..], radix);
    }
    if digits.chars().all(|digit| digit.is_ascii_digit()) {
        // `007` is not a number in Python, but `00` is.
        let is_padded = digits.len() > 1 && digits.starts_with('0') && digits.contains(|digit| digit != '0');
        return if is_padded { None } else { whole(sign, &digits, 10) };
    }
    let is_float = digits.starts_with(|first: char| first.is_ascii_digit() || first == '.');
    let number: f64 = digits.parse().ok().filter(|_| is_float)?;
    Some(float(if sign == "-" { -number } else { number }))
}

/// Removes the underscores that Python allows between two digits.
fn without_underscores(text: &str) -> Option<String> {
    let is_between = text.split('_').enumerate().all(|(index, part)| {
        let starts = index == 0 || part.starts_with(|first: char| first.is_ascii_hexdigit());
        let ends = part.ends_with(|last: char| last.is_ascii_alphanumeric() || last == '.');
        starts && ends
    });
    is_between.then(|| text.replace('_', "")).filter(|digits| !digits.is_empty())
}

/// Returns a whole number in decimal digits. Decimal numbers may have any size; numbers in other bases must fit 128 bits.
pub(super) fn whole(sign: &str, digits: &str, radix: u32) -> Option<String> {
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let decimal = if radix == 10 {
        match digits.trim_start_matches('0') {
            "" => "0".to_owned(),
            digits => digits.to_owned(),
        }
    } else {
        u128::from_str_radix(digits, radix).ok()?.to_string()
    };
    Some(if decimal == "0" { decimal } else { format!("{sign}{decimal}") })
}

/// Formats a number as Python's `repr` does: the shortest digits, with an exponent from 1e16 and below 1e-4.
pub(super) fn float(number: f64) -> String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number < 0.0 { "-Infinity" } else { "Infinity" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if number == 0.0 || (-4..16).contains(&exponent) {
        let plain = number.to_string();
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_literals_print_as_python_prints_them() {
        for (literal, printed) in [
            ("5", "5"),
            ("-5", "-5"),
            ("+5", "5"),
            ("-0", "0"),
            ("00", "0"),
            ("1_000", "1000"),
            ("0x1F", "31"),
            ("-0X1f", "-31"),
            ("0x_f", "15"),
            ("0o17", "15"),
            ("0b101", "5"),
            ("1.10", "1.1"),
            ("1.", "1.0"),
            (".5", "0.5"),
            ("1e3", "1000.0"),
            ("1E-5", "1e-05"),
            ("0.0001", "0.0001"),
            ("1e16", "1e+16"),
            ("1.5e300", "1.5e+300"),
            ("1e15", "1000000000000000.0"),
            ("123456789.123456789", "123456789.12345679"),
            ("-0.0", "-0.0"),
            ("1e999", "Infinity"),
            ("-1e999", "-Infinity"),
            ("007.5", "7.5"),
            ("99999999999999999999999999999999999999999999", "99999999999999999999999999999999999999999999"),
        ] {
            assert_eq!(python(literal).as_deref(), Some(printed), "{literal}");
        }
    }

    #[test]
    fn text_that_python_refuses_is_not_a_number() {
        for text in [
            "", "-", "+", ".", "007", "1__0", "1_", "_1", "0x", "0xg", "1e", "inf", "nan", "1_.5", "1,5", "--5", "٣", "1.2.3",
            "0o8", "e5",
        ] {
            assert_eq!(python(text), None, "{text}");
        }
    }
}
