//! The house rules of `docs/ARCHITECTURE.md` that a test can hold.

#![allow(clippy::unwrap_used, reason = "clippy knows tests by their attribute; these helpers are theirs")]

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/surroundings.rs"]
mod surroundings;

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A source file: its path from the project's root, and its text up to its tests.
struct Source {
    path: String,
    code: String,
    lines: usize,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// All sources: each file, and its path from the project's root.
fn shown_sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    found.sort();
    let shown = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    found.into_iter().map(|path| (path.clone(), shown(&path))).collect()
}

/// Whether a file is a test, or a tool of tests, from end to end.
fn is_only_for_tests(shown: &str) -> bool {
    shown.contains("tests") || shown.ends_with("trial.rs") || shown.ends_with("toys.rs")
}

/// The text up to its module of tests, which stands last.
fn until_tests(text: &str) -> &str {
    let begins_tests = |at: usize| text[at..].lines().nth(1).is_some_and(|line| line.contains("mod ") && line.ends_with('{'));
    text.match_indices("#[cfg(test)]\n").map(|(at, _)| at).find(|at| begins_tests(*at)).map_or(text, |at| &text[..at])
}

/// All sources but those that are tests from end to end.
fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    files(&root().join("src"), &mut found);
    found.sort();
    let shown = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let code = until_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"));
        Source { path: shown(&path), code: code.collect::<Vec<_>>().join("\n"), lines: text.lines().count() }
    };
    let sources: Vec<Source> = found.into_iter().map(source).collect();
    assert!(sources.len() > 50, "the sources were not found");
    sources
        .into_iter()
        .filter(|source| {
            !source.path.contains("tests") && !source.path.ends_with("trial.rs") && !source.path.ends_with("toys.rs")
        })
        .collect()
}

/// Fails with every line outside `allowed` that names one of `words`.
fn only_in(what: &str, allowed: impl Fn(&str) -> bool, words: &[&str]) {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !allowed(&source.path)) {
        for line in source.code.lines() {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{}: `{word}` in: {}", source.path, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[test]
fn the_heart_does_no_input_or_output() {
    let heart = [
        "src/resource/",
        "src/question/",
        "src/secret/",
        "src/script.rs",
        "src/firewall/",
        "src/pg/",
        "src/template/",
        "src/shell/",
    ];
    let words = [
        "tokio",
        "openssh::",
        "sqlx",
        "std::fs",
        "std::process",
        "std::env",
        "TcpStream",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
    ];
    // It starts the process that renders, and is that process.
    let worker = "src/template/bounded";
    only_in("I/O in the pure part", |path| path.starts_with(worker) || !heart.iter().any(|part| path.starts_with(part)), &words);
    only_in("I/O in a prediction", |path| path != "src/engine/prediction.rs", &words);
}

#[test]
fn each_crate_that_may_be_replaced_lives_in_one_place() {
    only_in("the YAML crate", |path| path.starts_with("src/source/yaml"), &["serde_yaml"]);
    only_in("the SSH crate", |path| path.starts_with("src/transport/"), &["openssh::"]);
    only_in("sqlx", |path| path.starts_with("src/health/"), &["sqlx::"]);
}

#[test]
fn nodes_are_reached_through_the_transport_alone() {
    // The lab talks to its own nodes, the inventory runs dynamic inventories, secrets come from programs of this machine, and templates are
    // rendered by this program in another process.
    let allowed = |path: &str| {
        ["src/transport/", "src/lab/", "src/inventory/", "src/app/", "src/cli/", "src/controller.rs", "src/template/bounded.rs"]
            .iter()
            .any(|part| path.starts_with(part))
    };
    only_in("processes", allowed, &["Command::new", "controller.command"]);
}

#[test]
fn every_resource_is_registered() {
    let list = fs::read_to_string(root().join("src/resource/mod.rs")).unwrap();
    let list = list.split("kinds! {\n").nth(1).unwrap().split('}').next().unwrap();
    let mut registered: Vec<&str> =
        list.lines().map(|line| line.trim().trim_end_matches(',')).filter(|line| !line.is_empty()).collect();
    registered.sort_unstable();
    let named = |source: &Source| {
        let name = source.path.strip_prefix("src/resource/")?.strip_suffix(".rs")?.to_owned();
        (source.code.contains("const KIND: Kind") && !name.contains('/')).then_some(name)
    };
    let files: Vec<String> = sources().iter().filter_map(named).collect();
    assert_eq!(files, registered);
}

#[test]
fn every_file_can_be_read_in_one_sitting() {
    let long: Vec<String> =
        sources().iter().filter(|source| source.lines > 500).map(|source| format!("{} {}", source.lines, source.path)).collect();
    assert!(long.is_empty(), "over 500 lines: {}", long.join(", "));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let reasons = fs::read_to_string(root().join("docs/DEPENDENCIES.md")).unwrap();
    let names = manifest.split("dependencies]\n").skip(1).flat_map(|part| part.split("\n[").next().unwrap().lines());
    let names: Vec<&str> =
        names.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = ")).map(|(name, _)| name).collect();
    assert!(names.len() > 20, "the dependencies were not found");
    let missing: Vec<&&str> = names.iter().filter(|name| !reasons.contains(&format!("| {name} |"))).collect();
    assert!(missing.is_empty(), "without a line in docs/DEPENDENCIES.md: {missing:?}");
}

/// README.md and docs/*.md: paths from the project's root, and texts.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect();
    paths.push(root().join("README.md"));
    paths.sort();
    assert!(paths.len() > 3, "the documents were not found");
    paths.into_iter().map(|path| (path.strip_prefix(root()).unwrap().to_owned(), fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn no_link_of_the_documents_is_dead() {
    let mut dead = Vec::new();
    for (path, text) in documents() {
        let links = text.split("](").skip(1).filter_map(|after| after.split([')', ' ']).next());
        let files = links.filter(|link| !link.contains("://")).map(|link| link.split('#').next().unwrap());
        // A link to a heading of the same file has no path.
        for link in files.filter(|link| !link.is_empty()) {
            if !root().join(&path).parent().unwrap().join(link).exists() {
                dead.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links: {}", dead.join(", "));
}

#[test]
fn nothing_waits_to_be_filled_in() {
    for (path, text) in documents() {
        assert!(!text.lines().any(|line| line.trim() == "SCREEN"), "{} waits for what the program prints", path.display());
    }
}

#[test]
fn every_test_is_run() {
    let script = fs::read_to_string(root().join("tests/run")).unwrap();
    let function = |name: &str| script.split(&format!("\n{name}() {{\n")).nth(1).unwrap().split("\n}\n").next().unwrap();
    let run = format!("{} {} {} ", function("fast"), function("parity"), function("end_to_end")).replace('\n', " ");
    let targets = fs::read_dir(root().join("tests")).unwrap().map(|entry| entry.unwrap().path());
    let targets: Vec<String> = targets
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists())
        .map(|path| format!("--test {} ", path.file_stem().unwrap().to_str().unwrap()))
        .collect();
    assert!(targets.len() > 3, "the tests were not found");
    for target in targets.iter().map(String::as_str).chain(["--lib ", "--bins "]) {
        assert!(run.contains(target), "`tests/run` does not run `{target}`");
    }
}

#[test]
fn redis_in_a_container_is_configured_as_the_one_without() {
    let lines = |role: &str| {
        let text = fs::read_to_string(root().join(format!("templates/{role}/redis.conf.tera"))).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned);
        lines.collect::<std::collections::BTreeSet<String>>()
    };
    let (own, container) = (lines("redis"), lines("redis_container"));
    // Another port is the compose file's affair.
    assert_eq!(container.difference(&own).collect::<Vec<_>>(), ["port 6379"]);
    // What the image or Docker sees to.
    let theirs =
        ["bind", "daemonize", "dir", "loadmodule", "port", "protected-mode", "supervised", "unixsocket", "unixsocketperm", "{%"];
    for line in own.difference(&container) {
        assert!(theirs.contains(&line.split(' ').next().unwrap()), "only role redis has `{line}`");
    }
}

#[test]
fn shell_programs_quote_every_value() {
    let mut programs = Vec::new();
    let mut waiting = vec![root().join("templates")];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if fs::read_to_string(&path).unwrap().starts_with("#!") {
                programs.push(path);
            }
        }
    }
    assert!(programs.len() >= 4, "the programs were not found");
    for path in programs {
        let text = fs::read_to_string(&path).unwrap();
        for problem in autobot_provision::template::program(&text) {
            let line = &text[text[..problem.range.start].rfind('\n').map_or(0, |at| at + 1)..];
            // A comment ends with its line: there only a line break would be code.
            let in_comment = line.starts_with('#') && text[problem.range.clone()].ends_with(r#"| replace(from="\n", to=" ") }}"#);
            assert!(in_comment, "{}: {}: {}", path.display(), &text[problem.range.clone()], problem.message);
        }
    }
}

/// Words that make a reader read a sentence twice, with the better way to say it.
const WORDS: &[(&str, &str)] = &[
    ("whoever", "name the person or program: `the user who`, `a run that`"),
    ("somebody", "`another user`, `another process`"),
    ("anybody", "`every user`, `any client`"),
    ("everybody", "`all users`, `every role`"),
    ("nobody", "`no user`, `no host`; the Unix user stands in backticks or in code"),
    ("thus", "`so that`, `therefore`"),
    ("shall", "`must`, or the present tense"),
    ("for want of", "`for lack of`, `because … is missing`"),
];

#[test]
fn texts_are_in_plain_words() {
    let mut hits = Vec::new();
    // Comments of templates are part of deployed files: a change there would restart services.
    for path in project_files(&["src", "roles", "docs"], &["rs", "md", "yml", "sh"]) {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let lower = line.to_lowercase();
            let is_word = |word: &str| {
                let letter = |character: char| character.is_ascii_alphanumeric() || "_-/\"`=".contains(character);
                lower
                    .match_indices(word)
                    .any(|(at, _)| !lower[..at].ends_with(letter) && !lower[at + word.len()..].starts_with(letter))
            };
            let is_unix_user = |word: &str| {
                word == "nobody"
                    && (line.contains("\"nobody /usr")
                        || line.contains("let nobody")
                        || line.contains(", nobody)")
                        || line.contains("from nobody"))
            };
            for (word, better) in WORDS.iter().filter(|(word, _)| is_word(word) && !is_unix_user(word)) {
                hits.push(format!("{}:{}: `{word}`: {better}", path.display(), number + 1));
            }
        }
    }
    assert!(hits.is_empty(), "say it in plain words:\n{}", hits.join("\n"));
}

/// The files below these directories with these extensions, and README.md.
fn project_files(directories: &[&str], extensions: &[&str]) -> Vec<PathBuf> {
    fn walk(directory: &Path, extensions: &[&str], found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, extensions, found);
            } else if path
                .extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| extensions.contains(&extension))
            {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md")];
    for directory in directories {
        walk(&root().join(directory), extensions, &mut found);
    }
    assert!(found.len() > 100, "the files were not found");
    found
}
