//! Compares the hosts that a pattern selects, and their order, with Ansible's own selection.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output},
};

use autobot_provision::inventory::{Inventory, InventorySource, PatternError};
use proptest::{
    prelude::*,
    sample::select,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::ansible::{self, Ansible, Selection};

const INVENTORIES: usize = 25;
const PATTERNS_OF_EACH: usize = 60;

/// Some names are both a host and a group, some contain dots, and one is an address.
const GROUPS: [&str; 8] = ["web", "db", "web2", "prod", "eu", "db-eu", "a.b", "x"];
const HOSTS: [&str; 11] = ["web1", "web2", "db1", "db2", "db3", "a.b", "h.lan", "10.0.0.1", "x", "2001:db8::1", "Ü"];

/// Generates an inventory in JSON: groups with hosts, and with children that are defined later.
fn inventory() -> impl Strategy<Value = String> {
    let group = (prop::collection::vec(select(&HOSTS[..]), 0..5), prop::collection::vec(any::<prop::sample::Index>(), 0..3));
    (Just(GROUPS.to_vec()).prop_shuffle(), prop::collection::vec(group, GROUPS.len()), Just(HOSTS.to_vec()).prop_shuffle())
        .prop_map(|(names, groups, hosts)| {
            let nothing = |names: Vec<&str>| names.into_iter().map(|name| (name.to_owned(), Value::Null)).collect::<Map<_, _>>();
            let mut all = Map::new();
            for (index, (hosts, children)) in groups.iter().enumerate() {
                let later = &names[index + 1..];
                let children = if later.is_empty() { vec![] } else { children.iter().map(|child| *child.get(later)).collect() };
                let group = json!({ "hosts": nothing(hosts.clone()), "children": nothing(children) });
                all.insert(names[index].to_owned(), group);
            }
            all.insert("all".to_owned(), json!({ "hosts": nothing(hosts) }));
            Value::Object(all).to_string()
        })
}

fn part() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        9 => select(&GROUPS[..]),
        9 => select(&HOSTS[..]),
        4 => select(&["all", "ungrouped", "*"][..]),
        1 => select(&["nosuch", "we", "WEB", "192.168.0.1"][..]),
    ];
    let glob = select(
        &[
            "w*", "*b*", "db?", "db[12]", "db[!1]", "[!w]*", "*.lan", "?", "*e[bu]", "*-*", "[]x]", "web[", "*[0]*", "a?b", "*",
            "d*",
        ][..],
    );
    let regex =
        select(&["~web.*2", "~(web|db)1", "~.*lan$", "~^[dw]b?", "~.b", "~", "~x$", "~a\\.b", "~[^w]", "~web", "~(", "~10"][..]);
    let subscripts =
        ["[0]", "[1]", "[2]", "[-1]", "[-2]", "[0:1]", "[1:2]", "[1:]", "[0-1]", "[5]", "[2:9]", "[0:0]", "[3:0]", "[-2:-1]"];
    let indexed = (prop_oneof![select(&GROUPS[..]), select(&["all", "w*", "*b*", "db?"][..])], select(subscripts.to_vec()));
    let part = prop_oneof![
        5 => name.prop_map(str::to_owned),
        2 => glob.prop_map(str::to_owned),
        1 => regex.prop_map(str::to_owned),
        3 => indexed.prop_map(|(name, subscript)| format!("{name}{subscript}")),
    ];
    (prop_oneof![30 => Just(""), 8 => Just("&"), 12 => Just("!"), 1 => Just("!!")], part)
        .prop_map(|(operator, part)| format!("{operator}{part}"))
}

/// Generates a pattern; also returns its parts.
fn pattern() -> impl Strategy<Value = (String, Vec<String>)> {
    let separators =
        prop_oneof![4 => Just([":"; 3]), 4 => Just([","; 3]), 1 => Just([", ", ":", ","]), 1 => Just([" ", ":", " "])];
    (prop::collection::vec(part(), 1..5), separators).prop_map(|(parts, separators)| {
        let mut pattern = parts[0].clone();
        for (part, separator) in parts[1..].iter().zip(separators) {
            pattern.extend([separator, part]);
        }
        (pattern, parts)
    })
}

fn load(path: &Path) -> Inventory {
    let source = InventorySource::Path(path.to_owned());
    Inventory::load(&[source], path.parent().unwrap()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Returns the name before a subscript: `web` for `web[-2]`, `web[0:1]`, `web[0-1]` and `web[1:]`, but `None` for `db[12]x` or `db[!1]`.
fn subscripted(part: &str) -> Option<&str> {
    let (name, inside) = part.strip_suffix(']')?.rsplit_once('[')?;
    let is_subscript = inside.bytes().all(|byte| byte.is_ascii_digit() || b"-:".contains(&byte)) && !name.starts_with('~');
    is_subscript.then_some(name)
}

/// Classifies how both selections compare: equal, equal as sets only because Ansible's own order is undefined, or different. `alone` returns
/// Ansible's selection for a part of the pattern.
fn verdict<'t>(
    ours: &Result<Vec<String>, PatternError>,
    theirs: &Selection,
    (pattern, parts): (&str, &[String]),
    alone: impl Fn(&str) -> &'t Selection,
) -> Result<&'static str, String> {
    let different = || Err(format!("`{pattern}`: ours {ours:?}, ansible {theirs:?}"));
    let sorted = |hosts: &[String]| {
        let mut hosts = hosts.to_vec();
        hosts.sort();
        hosts
    };
    let is_nothing = |theirs: &Selection| theirs.0.iter().all(|hosts| hosts.as_ref().is_none_or(Vec::is_empty));
    match (ours, theirs.unambiguous()) {
        (Err(_), _) if is_nothing(theirs) => Ok("nothing"),
        // Ansible silently selects nothing for `group[9:12]` of a small group and for every index of an empty one, and the fourth host for
        // `group[3:0]`.
        (Err(error), _) if error.reason.contains("past the end") => {
            let is_range = error.part.rsplit('[').next().is_some_and(|inside| inside[1..].contains([':', '-']));
            let is_silent = (is_range || error.reason.ends_with("has 0 hosts")) && is_nothing(alone(&error.part));
            if is_silent || error.part.ends_with("[3:0]") { Ok("past the end") } else { different() }
        }
        (Ok(ours), Some(Some(hosts))) if ours == hosts => Ok("exact"),
        (Ok(ours), None) => {
            let same = |hosts: &Option<Vec<String>>| hosts.as_ref().is_some_and(|hosts| sorted(hosts) == sorted(ours));
            // The hosts that an index selects depend on the order; their number in one group does not.
            let as_many = |hosts: &Option<Vec<String>>| hosts.as_ref().is_some_and(|hosts| hosts.len() == ours.len());
            let is_acceptable = match subscripted(pattern) {
                Some(name) if GROUPS.contains(&name) => theirs.0.iter().all(as_many),
                _ => parts.iter().any(|part| subscripted(part).is_some()),
            };
            if theirs.0.iter().all(same) || is_acceptable { Ok("uncertain order") } else { different() }
        }
        _ => different(),
    }
}

#[test]
fn patterns_select_what_ansible_selects() {
    let directory = tempfile::tempdir().unwrap();
    let mut runner = TestRunner::deterministic();
    let mut ansible = Ansible::start();
    let (mut differences, mut seen) = (Vec::new(), BTreeMap::<&str, usize>::new());
    for number in 0..INVENTORIES {
        let path = directory.path().join(format!("{number}.json"));
        let text = inventory().new_tree(&mut runner).unwrap().current();
        fs::write(&path, &text).unwrap();
        let whole: Vec<_> = (0..PATTERNS_OF_EACH).map(|_| pattern().new_tree(&mut runner).unwrap().current()).collect();
        // Each part is also compared alone, so that no difference is hidden in a pattern whose order is undefined.
        let plain = |part: &String| part.trim_start_matches(['&', '!']).to_owned();
        let alone: Vec<_> = whole.iter().flat_map(|(_, parts)| parts).map(|part| (plain(part), vec![plain(part)])).collect();
        let cases: BTreeMap<String, Vec<String>> = whole.into_iter().chain(alone).collect();
        let patterns: Vec<String> = cases.keys().cloned().collect();
        let theirs = ansible.select(&patterns, path.to_str().unwrap(), directory.path(), false);
        let theirs: BTreeMap<&str, Selection> = patterns.iter().map(String::as_str).zip(theirs).collect();
        let inventory = load(&path);
        for (pattern, parts) in &cases {
            let ours = inventory.select(pattern).map(|hosts| hosts.iter().map(|host| host.name.clone()).collect());
            match verdict(&ours, &theirs[&**pattern], (pattern, parts), |part| &theirs[part]) {
                Ok(kind) => *seen.entry(kind).or_default() += 1,
                Err(difference) => differences.push(format!("{difference}\n    in {text}")),
            }
        }
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    // Patterns that are mostly invalid would prove little.
    assert!(seen["exact"] > seen.values().sum::<usize>() / 2, "{seen:?}");
}

#[test]
fn a_file_of_patterns_selects_what_it_does_in_ansible() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write("hosts.yml", "web: {hosts: {web1: , web2: , web3: }}\ndb: {hosts: {db1: , web3: }}\n");
    let files = [
        "web1\n\ndb1",
        "web\n!web2\n",
        "!db\n",
        "&web\n&db",
        "web[0]\n  db*  \n",
        "~web[12]\r\n",
        "web1,web2\n",
        "nosuch\nweb1\n",
        "\n",
    ];
    let inventory = load(&directory.path().join("hosts.yml"));
    let mut ansible = Ansible::start();
    for (number, text) in files.iter().enumerate() {
        write(&number.to_string(), text);
        let pattern = format!("@{}", directory.path().join(number.to_string()).display());
        for pattern in [pattern.clone(), format!("{pattern},!web1"), format!("db1,{pattern}")] {
            let theirs = ansible.select(std::slice::from_ref(&pattern), "hosts.yml", directory.path(), true).remove(0);
            let mut ours = inventory.select(&pattern).map(|hosts| hosts.iter().map(|host| host.name.clone()).collect::<Vec<_>>());
            // `--limit` keeps the order of `all`.
            if let Ok(hosts) = &mut ours {
                hosts.sort_by_key(|host| inventory.hosts_in_group("all").iter().position(|known| known == host));
            }
            // In Ansible, a file without patterns sets no limit.
            if *text == "\n" && pattern.starts_with('@') && !pattern.contains(',') {
                assert!(ours.is_err());
                continue;
            }
            let alone = |part: &str| -> &Selection { panic!("`{part}` is not past the end") };
            verdict(&ours, &theirs, (&pattern, &[]), alone).unwrap_or_else(|what| panic!("{text:?}: {what}"));
        }
    }
}

#[test]
fn the_programs_list_the_same_hosts() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("inventory/hosts.yml", "web: {hosts: {web1: , web2: , web3: }}\ndb: {hosts: {db1: , web3: }}\n");
    write("roles/toy/role.yml", "tasks:\n  - {name: Say it, copy: {content: hello, dest: /etc/hello}}\n");
    for pattern in ["web:db", "db,web", "all:!web", "web[-1]", "db[0]", "web[1:2],db1", "~.*1", "*b?"] {
        // The pattern determines the order.
        let theirs = ansible::command("ansible")
            .args([pattern, "--list-hosts", "-i", "inventory/hosts.yml"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        // If this ever became a deploy, it would fail at a port on which no server listens.
        let nowhere = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"];
        let ours = Command::new(env!("CARGO_BIN_EXE_autobot-provision"))
            .args(["deploy", "--role", "toy", "--list-hosts", "--limit", pattern])
            .args(nowhere)
            .current_dir(directory.path())
            .output()
            .unwrap();
        let listed = |output: &Output| {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().skip(1).map(|line| line.trim().to_owned()).collect::<Vec<_>>()
        };
        assert!(ours.status.success() && !listed(&ours).is_empty(), "{pattern}: {ours:?}");
        assert_eq!(listed(&ours), listed(&theirs), "{pattern}");
    }
}

#[test]
fn every_generated_inventory_can_be_loaded() {
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::with_cases(50) });
    let run = runner.run(&inventory(), |text| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("hosts.json");
        fs::write(&path, text).unwrap();
        prop_assert!(!load(&path).hosts.is_empty());
        Ok(())
    });
    run.unwrap();
}
