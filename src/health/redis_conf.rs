//! Compares a redis.conf with what CONFIG GET says: the same value may be written in several ways.

use std::collections::{BTreeMap, HashMap};

/// Directives that act when the server starts and that CONFIG GET does not know.
const NOT_SETTINGS: [&str; 4] = ["include", "loadmodule", "rename-command", "module"];

/// What differs between the file's lines and the running values, one sentence each.
pub(super) fn differences(lines: &[String], running: &HashMap<String, String>) -> Vec<String> {
    let mut wanted: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in lines {
        let mut words = words(line).into_iter();
        let Some(name) = words.next() else { continue };
        let name = name.to_ascii_lowercase();
        let arguments: Vec<String> = words.collect();
        let all = wanted.entry(name.clone()).or_default();
        // Of two equal directives the last counts, but these add up. `save ""` forgets the ones before.
        let adds_up = matches!(name.as_str(), "save" | "client-output-buffer-limit")
            && arguments.first().is_some_and(|first| !first.is_empty());
        if !adds_up {
            all.clear();
        }
        all.push(arguments);
    }
    let setting = |(name, values): (String, Vec<Vec<String>>)| {
        if NOT_SETTINGS.contains(&name.as_str()) {
            return None;
        }
        let Some(is) = running.get(&name) else { return Some(format!("the server does not know `{name}`, which its file sets")) };
        (!same(&name, &values, is)).then(|| format!("`{name}` is `{is}`, the file says `{}`", flat(&values).join(" ")))
    };
    wanted.into_iter().filter_map(setting).collect()
}

fn same(name: &str, values: &[Vec<String>], is: &str) -> bool {
    match name {
        "client-output-buffer-limit" => {
            let is: Vec<String> = is.split_whitespace().map(number).collect();
            values.iter().all(|wanted| {
                let wanted: Vec<String> = wanted.iter().map(|word| number(&word.replace("replica", "slave"))).collect();
                is.chunks(4).any(|limits| limits == wanted)
            })
        }
        "notify-keyspace-events" => sorted(&flat(values).concat()) == sorted(is),
        "dir" => flat(values).concat().trim_end_matches('/') == is.trim_end_matches('/'),
        _ => {
            let wanted: Vec<String> = flat(values).iter().flat_map(|value| value.split_whitespace()).map(number).collect();
            let is: Vec<String> = is.split_whitespace().map(number).collect();
            wanted == is
        }
    }
}

fn flat(values: &[Vec<String>]) -> Vec<String> {
    values.concat()
}

fn sorted(text: &str) -> Vec<char> {
    // The server writes the letters in an order of its own.
    let mut signs: Vec<char> = text.chars().collect();
    signs.sort_unstable();
    signs
}

/// A word in lower case; a size such as `1gb` in bytes (redis.conf: k, m, g are powers of ten, kb, mb, gb of two).
fn number(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    let digits = lower.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(lower.len());
    let factor: u64 = match &lower[digits..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return lower,
    };
    match lower[..digits].parse::<u64>().ok().and_then(|count| count.checked_mul(factor)) {
        Some(bytes) => bytes.to_string(),
        None => lower,
    }
}

/// Splits a line as Redis does (`sdssplitargs`): double quotes with backslashes, single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut signs = line.chars().peekable();
    while let Some(first) = signs.find(|sign| !sign.is_whitespace()) {
        let mut word = String::new();
        if first == '"' || first == '\'' {
            while let Some(sign) = signs.next().filter(|sign| *sign != first) {
                word.push(if sign == '\\' { signs.next().unwrap_or(sign) } else { sign });
            }
        } else {
            word.push(first);
            while let Some(sign) = signs.next_if(|sign| !sign.is_whitespace()) {
                word.push(sign);
            }
        }
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(file: &str, running: &[(&str, &str)]) -> Vec<String> {
        let lines: Vec<String> = file.lines().map(str::to_owned).collect();
        differences(&lines, &running.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_same_value_in_other_words_is_the_same() {
        let file = "port 6379\nbind * -::*\nlogfile \"\"\nsave 900 1 300 10\nsave 60 10000\nmaxmemory 100mb\nAppendOnly YES\ndir /data/\n\
            client-output-buffer-limit replica 256mb 64mb 60\nnotify-keyspace-events KEA\nmaxmemory-clients 5%\nloadmodule /x.so A 1";
        let running = [
            ("port", "6379"),
            ("bind", "* -::*"),
            ("logfile", ""),
            ("save", "900 1 300 10 60 10000"),
            ("maxmemory", "104857600"),
            ("appendonly", "yes"),
            ("dir", "/data"),
            ("client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"),
            ("notify-keyspace-events", "AKE"),
            ("maxmemory-clients", "5%"),
        ];
        assert_eq!(compare(file, &running), Vec::<String>::new());
        assert_eq!(compare("save 900 1\nsave \"\"\nport 1\nport 2", &[("save", ""), ("port", "2")]), Vec::<String>::new());
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        assert_eq!(compare("maxmemory 1g", &[("maxmemory", "1073741824")]), ["`maxmemory` is `1073741824`, the file says `1g`"]);
        assert_eq!(compare("save 900 1", &[("save", "900 1 300 10")]), ["`save` is `900 1 300 10`, the file says `900 1`"]);
        assert_eq!(compare("appendonlyy yes", &[]), ["the server does not know `appendonlyy`, which its file sets"]);
        let limits = [("client-output-buffer-limit", "normal 0 0 0 slave 1 1 1 pubsub 0 0 0")];
        assert_eq!(compare("client-output-buffer-limit normal 1 0 0", &limits).len(), 1);
    }

    #[test]
    fn huge_numbers_and_open_quotes_do_no_harm() {
        assert_eq!(
            compare("maxmemory 99999999999999999999gb\nlogfile \"open", &[("maxmemory", "0"), ("logfile", "open")]).len(),
            1
        );
    }
}
