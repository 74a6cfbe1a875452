//! `redis slowlog`: which commands were slow, without their data.
//!
//! Arguments may contain passwords (AUTH), sessions and text by users. For each command, only its name, the prefix of its first key, and the number
//! and size of the other arguments are shown.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    key::escaped,
    page::{Block, Column, Page, Table, bytes},
    session::{RedisSession, Stream, number_of, text_of},
};
use crate::redis_client::Reply;

/// Commands with subcommands: their second word is part of the name.
const CONTAINERS: [&str; 16] = [
    "ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE", "OBJECT", "PUBSUB",
    "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
];

/// Lists the newest entries, at most `limit`.
pub(super) async fn run<S: Stream>(session: &mut RedisSession<S>, limit: u64) -> Result<Page, String> {
    let reply = session.call(&["SLOWLOG", "GET", &limit.to_string()]).await?;
    let Reply::Array(Some(entries)) = reply else { return Err("SLOWLOG returned no list".to_owned()) };
    let entries: Vec<Entry> = entries.iter().filter_map(entry).collect();
    let threshold = session.call(&["CONFIG", "GET", "slowlog-log-slower-than"]).await?;
    let threshold = super::session::pairs_of(&threshold).first().and_then(|(_, value)| number_of(value));
    let over = match threshold {
        Some(micros) if micros >= 0 => format!("slower than {}", format_micros(micros.unsigned_abs())),
        Some(_) | None => "in the log, which is turned off".to_owned(),
    };
    let summary = format!("  {} {over}, newest first", super::page::count(entries.len() as u64, "command"));
    let mut table =
        Table::new([(Column::Left, "when"), (Column::Right, "took"), (Column::Flexible, "command"), (Column::Left, "client")]);
    for entry in &entries {
        table.rows.push(vec![
            entry.when.strftime("%Y-%m-%d %H:%M:%SZ").to_string(),
            format_micros(entry.micros),
            entry.command.clone(),
            entry.client.clone(),
        ]);
    }
    let mut blocks = vec![Block::Line(summary)];
    if !entries.is_empty() {
        blocks.push(Block::Table(table));
    }
    let json = entries.iter().map(|entry| {
        json!({
            "id": entry.id,
            "when": entry.when.to_string(),
            "microseconds": entry.micros,
            "command": entry.command,
            "client": entry.client,
            "client_name": entry.client_name,
        })
    });
    Ok(Page { json: json!({ "slowlog": json.collect::<Vec<Value>>() }), blocks, ..Page::default() })
}

struct Entry {
    id: i64,
    when: Timestamp,
    micros: u64,
    command: String,
    client: String,
    client_name: String,
}

fn entry(reply: &Reply) -> Option<Entry> {
    let Reply::Array(Some(parts)) = reply else { return None };
    let [id, when, micros, Reply::Array(Some(words)), rest @ ..] = parts.as_slice() else { return None };
    let text = |at: usize| rest.get(at).and_then(text_of).map(|text| escaped(text.as_bytes())).unwrap_or_default();
    let words: Vec<&[u8]> = words
        .iter()
        .map(|word| match word {
            Reply::Bulk(Some(bytes)) => bytes.as_slice(),
            Reply::Simple(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Bulk(None) | Reply::TooLong(_) | Reply::Array(_) => {
                b""
            }
        })
        .collect();
    Some(Entry {
        id: number_of(id)?,
        when: Timestamp::from_second(number_of(when)?).ok()?,
        micros: u64::try_from(number_of(micros)?).ok()?,
        command: masked(&words),
        client: text(0),
        client_name: text(1),
    })
}

/// Formats a command without its data.
fn masked(words: &[&[u8]]) -> String {
    // Redis keeps at most 32 words; the last one then gives the number of those left out.
    let (mut words, cut) = match words.split_last() {
        Some((last, before)) => match omitted_arguments(last) {
            Some(cut) => (before, cut),
            None => (words, 0),
        },
        None => (words, 0),
    };
    let word = |word: &[u8]| escaped(&word[..word.len().min(24)]).to_ascii_uppercase();
    let Some((name, rest)) = words.split_first() else { return "(nothing)".to_owned() };
    let mut shown = word(name);
    words = rest;
    if CONTAINERS.contains(&shown.as_str())
        && let Some((second, rest)) = words.split_first()
        && second.iter().all(|byte| byte.is_ascii_alphabetic() || *byte == b'-')
    {
        shown = format!("{shown} {}", word(second));
        words = rest;
    }
    if let Some((key, rest)) = words.split_first()
        && let Some(key_prefix) = key_prefix(key)
    {
        shown = format!("{shown} {key_prefix}…");
        words = rest;
    }
    let length: usize = words.iter().map(|word| word.len()).sum();
    match words.len() + cut {
        0 => shown,
        1 => format!("{shown} +1 argument ({})", bytes(length as u64)),
        omitted_arguments => {
            format!("{shown} +{omitted_arguments} arguments ({}{})", bytes(length as u64), if cut > 0 { " and more" } else { "" })
        }
    }
}

/// Returns the prefix of a key if it is a plain word before `:` or `/`. The rest may be a session ID.
fn key_prefix(key: &[u8]) -> Option<String> {
    let end = key.iter().take(24).position(|byte| b":/".contains(byte))?;
    let plain = end > 0 && key[..end].iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    plain.then(|| escaped(&key[..=end]))
}

/// Parses `... (12 more arguments)`.
fn omitted_arguments(word: &[u8]) -> Option<usize> {
    let word = std::str::from_utf8(word).ok()?;
    word.strip_prefix("... (")?.strip_suffix(" more arguments)")?.parse().ok()
}

/// Formats a duration in microseconds.
fn format_micros(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> String {
        masked(&words.iter().map(|word| word.as_bytes()).collect::<Vec<_>>())
    }

    #[test]
    fn commands_are_shown_without_their_data() {
        let secret = "hunter2-hunter2";
        for (words, expected) in [
            (&["AUTH", secret][..], "AUTH +1 argument (15 B)"),
            (&["AUTH", "default", secret], "AUTH +2 arguments (22 B)"),
            (&["HELLO", "3", "AUTH", "default", secret], "HELLO +4 arguments (27 B)"),
            (&["CONFIG", "SET", "requirepass", secret], "CONFIG SET +2 arguments (26 B)"),
            (&["ACL", "SETUSER", "x", secret], "ACL SETUSER +2 arguments (16 B)"),
            (&["HSET", "session:hunter2-hunter2", "user_id", secret], "HSET session:… +2 arguments (22 B)"),
            (&["get", "hunter2-hunter2"], "GET +1 argument (15 B)"),
            (&["DEL", "llama_index/vector_store/hunter2-hunter2"], "DEL llama_index/…"),
            (&["EVAL", "return 'hunter2-hunter2:'", "0"], "EVAL +2 arguments (26 B)"),
            (
                &["MSET", "a:1", "... (hunter2-hunter2 more arguments)", "... (97 more arguments)"],
                "MSET a:… +98 arguments (36 B and more)",
            ),
            (&["KEYS", "*"], "KEYS +1 argument (1 B)"),
            (&["\n\u{1b}[2J"], "\\N\\X1B[2J"),
            (&[], "(nothing)"),
        ] {
            assert_eq!(shown(words), expected);
            assert!(!shown(words).contains("hunter2"));
        }
    }

    #[test]
    fn entries_of_every_form_are_parsed() {
        let bulk = |text: &str| Reply::Bulk(Some(text.as_bytes().to_vec()));
        let words = Reply::Array(Some(vec![bulk("PING")]));
        let parts = vec![Reply::Integer(7), Reply::Integer(1_700_000_000), Reply::Integer(12_345), words];
        let old = entry(&Reply::Array(Some(parts.clone()))).unwrap();
        assert_eq!((old.command.as_str(), old.client.as_str(), format_micros(old.micros).as_str()), ("PING", "", "12.3 ms"));
        let new = entry(&Reply::Array(Some([parts, vec![bulk("10.0.0.1:5"), bulk("a\nb")]].concat()))).unwrap();
        assert_eq!((new.client.as_str(), new.client_name.as_str()), ("10.0.0.1:5", "a\\nb"));
        assert!(entry(&Reply::Integer(1)).is_none());
    }
}
