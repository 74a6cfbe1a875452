//! The result of an operation, for people and for programs: pairs and tables, and a JSON value.

use serde_json::Value;

/// The result of an operation.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The result for programs.
    pub json: Value,
    /// Warnings about the Redis.
    pub marks: Vec<String>,
    /// Whether `--detailed-exitcode` reports this result with exit code 2.
    pub counts_as_change: bool,
    /// The result for people, in order.
    pub(crate) blocks: Vec<Block>,
}

/// A part of the result for people.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// Names and values.
    Pairs(Vec<(String, String)>),
    /// A table.
    Table(Table),
    /// A line.
    Line(String),
}

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Aligned to the left.
    Left,
    /// Aligned to the right.
    Right,
    /// Aligned to the left, and truncated if the line is too long.
    Flexible,
}

/// A table. Its first row is the header.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Creates a table with these columns and their titles.
    pub(crate) fn new<const N: usize>(columns: [(Column, &str); N]) -> Self {
        let head = columns.iter().map(|(_, title)| (*title).to_owned()).collect();
        Self { columns: columns.iter().map(|(column, _)| *column).collect(), rows: vec![head] }
    }
}

/// Formats a number of bytes.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| number >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", number / unit, number % unit * 10 / unit),
        None => format!("{number} B"),
    }
}

/// Formats a duration in seconds.
pub(super) fn seconds(number: u64) -> String {
    let (days, hours, minutes) = (number / 86_400, number / 3600 % 24, number / 60 % 60);
    match number {
        0..60 => format!("{number}s"),
        60..3600 => format!("{minutes}m"),
        3600..86_400 => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Formats a count with its noun: `1 key`, `2 keys`.
pub(super) fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_formatted_for_people() {
        assert_eq!([0, 1023, 1024, 1_500_000, 3 << 30].map(bytes), ["0 B", "1023 B", "1.0 KiB", "1.4 MiB", "3.0 GiB"]);
        assert_eq!([0, 59, 60, 3700, 90_000].map(seconds), ["0s", "59s", "1m", "1h 1m", "1d 1h"]);
    }
}
