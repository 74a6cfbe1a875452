//! Amounts of memory as Redis writes them.

/// Parses an amount of memory, in bytes: a number, or one with `k`, `m`, `g` (powers of ten) or `kb`, `mb`, `gb` (powers of two), in any case.
/// Source: the comments at the top of redis.conf. `None` for other text, and for an amount that 64 bits cannot hold.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return None,
    };
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit());
    digits.parse::<u64>().ok().filter(|_| is_number)?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_redis_reads_them() {
        for (text, bytes) in [("0", Some(0)), ("1gb", Some(1 << 30)), ("2K", Some(2000)), ("3Mb", Some(3 << 20)), ("7b", Some(7))]
        {
            assert_eq!(parse_size(text), bytes, "{text}");
        }
        for text in ["", "gb", "1tb", "-1", "+1", "1.5gb", "1 gb", "99999999999gb"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }
}
