//! Scans of a server that is made up, whose commands are counted.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream};

use super::*;
use crate::redis_ops::schema::tests::schema;

/// Keys in their order, each with its TTL in milliseconds, -1 for none. One with -2 has gone when it is asked for.
type Keys = Vec<(String, i64)>;

async fn command(from: &mut BufReader<DuplexStream>) -> Option<Vec<String>> {
    let mut line = String::new();
    from.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let mut words = Vec::new();
    for _ in 0..line.trim_end().strip_prefix('*').unwrap().parse::<usize>().unwrap() {
        line.clear();
        from.read_line(&mut line).await.unwrap();
        let mut word = vec![0; line.trim_end().strip_prefix('$').unwrap().parse::<usize>().unwrap() + 2];
        from.read_exact(&mut word).await.unwrap();
        words.push(String::from_utf8(word).unwrap().trim_end().to_owned());
    }
    Some(words)
}

/// Answers until the other end is closed, and returns the names of the commands that it got.
async fn serve(stream: DuplexStream, keys: Keys) -> Vec<String> {
    let mut stream = BufReader::new(stream);
    let mut names = Vec::new();
    while let Some(words) = command(&mut stream).await {
        let reply = match words[0].as_str() {
            "AUTH" => "+OK\r\n".to_owned(),
            "SCAN" => {
                let (from, count): (usize, usize) = (words[1].parse().unwrap(), words[3].parse().unwrap());
                let found = &keys[from..keys.len().min(from + count)];
                let next = if from + count < keys.len() { from + count } else { 0 }.to_string();
                let listed: Vec<String> = found.iter().map(|(key, _)| format!("${}\r\n{key}\r\n", key.len())).collect();
                format!("*2\r\n${}\r\n{next}\r\n*{}\r\n{}", next.len(), found.len(), listed.concat())
            }
            "PTTL" => format!(":{}\r\n", keys.iter().find(|(key, _)| *key == words[1]).unwrap().1),
            "TYPE" => "+hash\r\n".to_owned(),
            "MEMORY" => ":100\r\n".to_owned(),
            other => panic!("{other}"),
        };
        names.push(words[0].clone());
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    names
}

/// Scans database 0 and returns what was found, and the names of the commands after the log-in.
async fn scanned(keys: Keys, most: u64, expire: bool) -> (DatabaseScan, Vec<String>) {
    let (ours, theirs) = tokio::io::duplex(1 << 22);
    let server = tokio::spawn(serve(theirs, keys));
    let mut session = RedisSession::login(ours, "p", session::LONGEST_KEY).await.unwrap().unwrap();
    let limits = ScanLimits { keys: most, until: Instant::now() + Duration::from_mins(1), expire };
    let found = database(&mut session, &schema(), 0, limits, &ScanProgress::default()).await.unwrap();
    drop(session);
    (found, server.await.unwrap().split_off(1))
}

fn count(names: &[String], name: &str) -> usize {
    names.iter().filter(|known| *known == name).count()
}

#[tokio::test]
async fn the_next_keys_are_asked_for_before_the_last_ones() {
    let key = |number: usize| match number % 4 {
        0 => (format!("queue:{number}"), -1),
        1 => (format!("session:{number}"), 60_000),
        2 => (format!("stray:{number}"), -1),
        _ => (format!("session:{number}"), -2),
    };
    let (found, names) = scanned((0..3500).map(key).collect(), 0, true).await;
    assert!(found.complete);
    let counts: Vec<(u64, u64)> = found.kinds.iter().map(|tally| (tally.keys, tally.expiring)).collect();
    assert_eq!(counts, [(875, 875), (875, 0), (0, 0)]);
    assert_eq!((found.unknown.keys, found.families["stray:…"].keys, found.scanned), (875, 875, 2625));
    assert_eq!((count(&names, "SCAN"), count(&names, "PTTL")), (4, 3500));
    // The first 64 of each kind and every 64th: also of 1750 sessions, half of which have gone.
    assert_eq!(count(&names, "MEMORY"), 2 * (64 + 13) + 64 + 27);
    assert_eq!((found.unknown.sampled, found.unknown.memory, found.unknown.estimate()), (77, 7700, 87_500));
    let places: Vec<usize> = (0..names.len()).filter(|at| names[*at] == "SCAN").collect();
    assert_eq!(places[..2], [0, 1]);
    assert_eq!(names[places[2] + 1..].iter().filter(|name| *name == "PTTL").count(), 2500, "in the batch after the third SCAN");
}

#[tokio::test]
async fn without_a_ttl_in_the_database_only_samples_are_asked_for() {
    let (found, names) = scanned((0..2500).map(|number| (format!("queue:{number}"), -1)).collect(), 0, false).await;
    assert_eq!((found.kinds[1].keys, found.kinds[1].expiring, found.scanned), (2500, 0, 2500));
    let sampled = 64 + 2500 / 64;
    assert_eq!((count(&names, "SCAN"), count(&names, "PTTL"), count(&names, "TYPE")), (3, sampled, sampled));
    assert_eq!(found.kinds[1].sampled, sampled as u64);
}

#[tokio::test]
async fn a_scan_ends_at_its_limit_and_an_empty_database_is_complete() {
    let keys: Keys = (0..5000).map(|number| (format!("queue:{number}"), -1)).collect();
    let (found, names) = scanned(keys, 1500, true).await;
    assert_eq!((found.complete, found.scanned, count(&names, "SCAN")), (false, 2000, 2));
    let (found, names) = scanned(Vec::new(), 1500, true).await;
    assert_eq!((found.complete, found.scanned, names.len()), (true, 0, 1));
}
