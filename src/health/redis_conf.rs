//! Compares a redis.conf with the output of CONFIG GET, in which the same value may be written in another way.

use std::collections::{BTreeMap, HashMap};

use crate::values::parse_size;

/// Directives that take effect when the server starts and that CONFIG GET does not know.
const NOT_SETTINGS: [&str; 4] = ["include", "loadmodule", "rename-command", "module"];

/// Returns the differences between the lines of the file and the running values, one sentence each.
pub(super) fn differences(lines: &[String], running: &HashMap<String, String>) -> Vec<String> {
    let mut wanted: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for line in lines {
        let mut words = words(line).into_iter();
        let Some(name) = words.next() else { continue };
        let name = name.to_ascii_lowercase();
        let arguments: Vec<String> = words.collect();
        let all = wanted.entry(name.clone()).or_default();
        // Of repeated directives the last one counts, except that these accumulate. `save ""` discards the earlier ones.
        let accumulates = matches!(name.as_str(), "save" | "client-output-buffer-limit")
            && arguments.first().is_some_and(|first| !first.is_empty());
        if !accumulates {
            all.clear();
        }
        all.push(arguments);
    }
    let setting = |(name, values): (String, Vec<Vec<String>>)| {
        if NOT_SETTINGS.contains(&name.as_str()) {
            return None;
        }
        let Some(is) = running.get(&name) else { return Some(format!("the file sets `{name}`, which the server does not know")) };
        (!same(&name, &values, is)).then(|| format!("`{name}` is `{is}`, the file says `{}`", flat(&values).join(" ")))
    };
    wanted.into_iter().filter_map(setting).collect()
}

fn same(name: &str, values: &[Vec<String>], is: &str) -> bool {
    match name {
        "client-output-buffer-limit" => {
            let is: Vec<String> = is.split_whitespace().map(normalize).collect();
            values.iter().all(|wanted| {
                let wanted: Vec<String> = wanted.iter().map(|word| normalize(&word.replace("replica", "slave"))).collect();
                is.chunks(4).any(|limits| limits == wanted)
            })
        }
        "notify-keyspace-events" => sorted(&flat(values).concat()) == sorted(is),
        "dir" => flat(values).concat().trim_end_matches('/') == is.trim_end_matches('/'),
        _ => {
            let wanted: Vec<String> = flat(values).iter().flat_map(|value| value.split_whitespace()).map(normalize).collect();
            let is: Vec<String> = is.split_whitespace().map(normalize).collect();
            wanted == is
        }
    }
}

fn flat(values: &[Vec<String>]) -> Vec<String> {
    values.concat()
}

fn sorted(text: &str) -> Vec<char> {
    // The server prints the letters in its own order.
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters
}

/// Returns a word in lower case, and a size such as `1gb` in bytes (redis.conf: k, m, g are powers of ten; kb, mb, gb are powers of two).
fn normalize(word: &str) -> String {
    parse_size(word).map_or_else(|| word.to_ascii_lowercase(), |bytes| bytes.to_string())
}

/// Splits a line into words as Redis does (`sdssplitargs`): double quotes with backslashes, and single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = line.chars().peekable();
    while let Some(first) = characters.find(|character| !character.is_whitespace()) {
        let mut word = String::new();
        if first == '"' || first == '\'' {
            while let Some(character) = characters.next().filter(|character| *character != first) {
                word.push(if character == '\\' { characters.next().unwrap_or(character) } else { character });
            }
        } else {
            word.push(first);
            while let Some(character) = characters.next_if(|character| !character.is_whitespace()) {
                word.push(character);
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
    fn a_value_may_be_written_in_several_ways() {
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
    fn a_difference_shows_both_values() {
        assert_eq!(compare("maxmemory 1g", &[("maxmemory", "1073741824")]), ["`maxmemory` is `1073741824`, the file says `1g`"]);
        assert_eq!(compare("save 900 1", &[("save", "900 1 300 10")]), ["`save` is `900 1 300 10`, the file says `900 1`"]);
        assert_eq!(compare("appendonlyy yes", &[]), ["the file sets `appendonlyy`, which the server does not know"]);
        let limits = [("client-output-buffer-limit", "normal 0 0 0 slave 1 1 1 pubsub 0 0 0")];
        assert_eq!(compare("client-output-buffer-limit normal 1 0 0", &limits).len(), 1);
    }

    #[test]
    fn huge_numbers_and_unclosed_quotes_are_handled() {
        assert_eq!(
            compare("maxmemory 99999999999999999999gb\nlogfile \"open", &[("maxmemory", "0"), ("logfile", "open")]).len(),
            1
        );
    }
}
