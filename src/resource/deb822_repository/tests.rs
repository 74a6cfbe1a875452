//! Tests with the real apt, in a separate root, and a local repository that the key `one` signed.

use super::*;
use crate::{
    question::{Answers, Kind as _, Output, apt_sources::AptSource},
    resource::trial::{Done, NoFiles, fake, run, shown},
    secret::SecretValues,
};
use serde_json::json;
use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

const ONE: &str = include_str!("fixture/one.asc");
const TWO: &str = include_str!("fixture/two.asc");
const ONE_BINARY: &[u8] = include_bytes!("fixture/one.gpg");
const INDEX: &str = include_str!("fixture/InRelease");

struct Node {
    root: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let at = root.path().to_owned();
        let dirs = [
            "repo/dists/s/main/binary-amd64",
            "apt/lists/partial",
            "apt/cache/archives/partial",
            "etc/sources.list.d",
            "etc/apt.conf.d",
            "etc/preferences.d",
        ];
        for dir in dirs {
            fs::create_dir_all(at.join(dir)).unwrap();
        }
        fs::write(at.join("repo/dists/s/InRelease"), INDEX).unwrap();
        fs::write(at.join("repo/dists/s/main/binary-amd64/Packages"), "").unwrap();
        fs::write(at.join("status"), "").unwrap();
        let config = |text: &str| text.replace("ROOT", at.to_str().unwrap());
        fs::write(
            at.join("apt.conf"),
            config("Dir::State \"ROOT/apt\"; Dir::State::status \"ROOT/status\"; Dir::Cache \"ROOT/apt/cache\"; Dir::Etc \"ROOT/etc\";\n"),
        )
        .unwrap();
        fake(&at, "apt-get", "APT_CONFIG=$TOOLS/apt.conf exec /usr/bin/apt-get \"$@\"");
        fs::set_permissions(&at, fs::Permissions::from_mode(0o755)).unwrap();
        Self { root }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>, mode: u32) -> String {
        fs::write(self.at(path), content).unwrap();
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).unwrap();
        self.at(path).to_str().unwrap().to_owned()
    }

    fn repository(&self, signed_by: &str) -> Repository {
        let uri = format!("file:{}", self.at("repo").display());
        let parameters = json!({"name": "redis", "uris": uri, "suites": "s", "components": ["main"], "architectures": "amd64", "signed_by": signed_by});
        self.read(parameters)
    }

    fn read(&self, parameters: Value) -> Repository {
        let read = repository(decode(parameters).unwrap(), self.at("etc").to_str().unwrap()).unwrap();
        Repository { run_directory: self.at("run").to_str().unwrap().to_owned(), ..read }
    }

    fn compare(&self, repository: &Repository) -> Verdict {
        let mut paths = vec![&repository.sources, &repository.armoured, &repository.binary];
        if let Some(Wanted { key: Key::Path(path), .. }) = &repository.wanted {
            paths.push(path);
        }
        let looks: Vec<PathQuery> = paths.into_iter().map(|path| PathQuery::content(path).following(true)).collect();
        let keys: Vec<&PathQuery> = looks.iter().collect();
        let done = run(&PathState::script(&keys), self.root.path());
        let results = PathState::read(&keys, &Output { status: done.status, stdout: done.stdout });
        let mut answers = Answers::default();
        for (look, result) in looks.iter().zip(results) {
            answers.set::<PathState>(look.clone(), result);
        }
        repository.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    /// Applies the change, even if it is blocked by something missing.
    fn apply(&self, repository: &Repository) -> Done {
        let (Verdict::Change(change) | Verdict::Blocked { change, .. }) = self.compare(repository) else {
            panic!("nothing to apply")
        };
        run(&change.script, self.root.path())
    }

    /// Returns the last line of the errors of an apply, which must leave no file behind.
    fn failure(&self, signed_by: &str) -> String {
        let done = self.apply(&self.repository(signed_by));
        assert_eq!(done.status, 1, "{done:?}");
        assert!(!self.at("etc/sources.list.d/redis.sources").exists() && !self.at("etc/keyrings/redis.asc").exists());
        done.stderr.lines().last().unwrap().replace(self.root.path().to_str().unwrap(), "ROOT")
    }

    fn converges(&self, signed_by: &str, key: &str) {
        let repository = self.repository(signed_by);
        let done = self.apply(&repository);
        assert_eq!(done.status, 0, "{done:?}");
        assert!(matches!(self.compare(&repository), Verdict::Converged { .. }));
        let sources = fs::read_to_string(self.at("etc/sources.list.d/redis.sources")).unwrap();
        assert!(sources.ends_with(&format!("Signed-By: {}\n", self.at(key).display())), "{sources}");
        assert_eq!(fs::metadata(self.at(key)).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(
            fs::read_dir(self.at("apt/lists")).unwrap().any(|entry| entry
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .ends_with("InRelease"))
        );
    }
}

#[test]
fn an_inline_key_that_signed_the_repository_makes_it() {
    let node = Node::new();
    let Verdict::Change(change) = node.compare(&node.repository(ONE)) else { panic!() };
    assert_eq!((change.summary.as_str(), change.replaces), ("create", false));
    let diff = shown(&change.diff).replace(node.root.path().to_str().unwrap(), "ROOT");
    insta::assert_snapshot!(diff, @r"
    = ROOT/etc/sources.list.d/redis.sources
    + X-Repolib-Name: redis
    + Types: deb
    + URIs: file:ROOT/repo
    + Suites: s
    + Components: main
    + Architectures: amd64
    + Signed-By: ROOT/etc/keyrings/redis.asc
    + key ROOT/etc/keyrings/redis.asc
    ");
    node.converges(ONE, "etc/keyrings/redis.asc");
}

#[test]
fn a_fetched_key_is_named_after_its_form() {
    let node = Node::new();
    let url = format!("file:{}", node.file("key", ONE, 0o644));
    node.converges(&url, "etc/keyrings/redis.asc");
    let node = Node::new();
    let url = format!("file:{}", node.file("key", ONE_BINARY, 0o644));
    node.converges(&url, "etc/keyrings/redis.gpg");
    assert!(!node.at("etc/keyrings/redis.asc").exists());
}

#[test]
fn a_key_on_the_node_is_used_where_it_is() {
    let node = Node::new();
    let path = node.file("vendor.asc", ONE, 0o644);
    node.converges(&path, "vendor.asc");
    assert!(!node.at("etc/keyrings").exists());
}

#[test]
fn a_missing_key_is_reported() {
    let node = Node::new();
    insta::assert_snapshot!(node.failure("file:/no/such/key"), @"repository `redis`: its key could not be fetched from file:/no/such/key, see above: check the URL in signed_by, or give the key itself");
    insta::assert_snapshot!(node.failure("/no/such/key.asc"), @"repository `redis`: there is no key file /no/such/key.asc on this node: check signed_by, or put the file there first");
    let Verdict::Blocked { missing, .. } = node.compare(&node.repository("/no/such/key.asc")) else { panic!() };
    assert_eq!(crate::resource::do_not_exist(&missing), "key file `/no/such/key.asc` does not exist");
}

#[test]
fn a_wrong_key_is_reported() {
    let node = Node::new();
    insta::assert_snapshot!(node.failure(TWO), @"repository `redis`: the key from signed_by did not sign it: it is the wrong key, or the repository was tampered with");
    let page = format!("file:{}", node.file("page", "<!DOCTYPE html>\n", 0o644));
    assert!(node.failure(&page).contains("is not an OpenPGP key"));
}

#[test]
fn an_unreadable_key_is_reported() {
    let node = Node::new();
    let path = node.file("vendor.asc", ONE, 0o600);
    insta::assert_snapshot!(node.failure(&path), @"repository `redis`: the user _apt, as which apt verifies signatures, cannot read the key ROOT/vendor.asc: give the file mode 0644, and its directories 0755");
    let Verdict::Blocked { missing, .. } = node.compare(&node.repository(&path)) else { panic!() };
    assert!(crate::resource::do_not_exist(&missing).contains("has mode 0600; give it 0644)"));
}

#[test]
fn a_misnamed_key_is_reported() {
    let node = Node::new();
    let armoured = node.file("vendor.gpg", ONE, 0o644);
    insta::assert_snapshot!(node.failure(&armoured), @"repository `redis`: the key ROOT/vendor.gpg is armoured, but apt reads armoured keys only from names that end in .asc: rename it");
    let binary = node.file("vendor.asc", ONE_BINARY, 0o644);
    insta::assert_snapshot!(node.failure(&binary), @"repository `redis`: the key ROOT/vendor.asc is binary, but apt reads binary keys only from names that do not end in .asc: rename it to .gpg");
    for path in [armoured, binary] {
        assert!(
            matches!(node.compare(&node.repository(&path)), Verdict::Blocked { missing, .. } if crate::resource::do_not_exist(&missing).contains("that apt reads"))
        );
    }
}

#[test]
fn a_repository_that_does_not_exist_or_was_tampered_with_is_reported() {
    let node = Node::new();
    fs::write(node.at("repo/dists/s/InRelease"), INDEX.replace("Suite: s", "Suite: t")).unwrap();
    assert!(node.failure(ONE).contains("did not sign it"));
    fs::remove_dir_all(node.at("repo/dists")).unwrap();
    assert!(node.failure(ONE).contains("check uris, suites and components"));
}

#[test]
fn a_failed_change_leaves_the_old_repository() {
    let node = Node::new();
    node.converges(ONE, "etc/keyrings/redis.asc");
    let before = fs::read(node.at("etc/keyrings/redis.asc")).unwrap();
    assert_eq!(node.apply(&node.repository(TWO)).status, 1);
    assert_eq!(fs::read(node.at("etc/keyrings/redis.asc")).unwrap(), before);
    assert!(matches!(node.compare(&node.repository(ONE)), Verdict::Converged { .. }));
}

#[test]
fn leftovers_of_a_killed_run_are_removed() {
    let node = Node::new();
    fs::create_dir_all(node.at("run/work/apt/fetch")).unwrap();
    fs::write(node.at("run/work/apt/fetch/key"), TWO).unwrap();
    fs::write(node.at("etc/sources.list.d/.autobot-provision-0123456789"), "half").unwrap();
    node.converges(ONE, "etc/keyrings/redis.asc");
    let names = |path: &str| fs::read_dir(node.at(path)).unwrap().map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>();
    assert_eq!(names("etc/sources.list.d"), ["redis.sources"]);
    assert!(names("run/work").is_empty());
}

#[test]
fn drift_is_a_change() {
    let node = Node::new();
    node.converges(ONE, "etc/keyrings/redis.asc");
    let drifts: [fn(&Path); 4] = [
        |etc| fs::write(etc.join("sources.list.d/redis.sources"), "").unwrap(),
        |etc| fs::write(etc.join("keyrings/redis.asc"), TWO).unwrap(),
        |etc| fs::set_permissions(etc.join("keyrings/redis.asc"), fs::Permissions::from_mode(0o600)).unwrap(),
        |etc| fs::remove_file(etc.join("keyrings/redis.asc")).unwrap(),
    ];
    for drift in drifts {
        drift(&node.at("etc"));
        assert!(matches!(node.compare(&node.repository(ONE)), Verdict::Change(change) if change.replaces));
        node.converges(ONE, "etc/keyrings/redis.asc");
    }
}

#[test]
fn absent_removes_the_repository_and_its_key() {
    let node = Node::new();
    node.converges(ONE, "etc/keyrings/redis.asc");
    let absent = || node.read(json!({"name": "redis", "state": "absent"}));
    assert_eq!(node.apply(&absent()).status, 0);
    assert!(!node.at("etc/keyrings/redis.asc").exists() && !node.at("etc/sources.list.d/redis.sources").exists());
    assert!(matches!(node.compare(&absent()), Verdict::Converged { .. }));
}

#[test]
fn a_disabled_repository_is_not_fetched() {
    let node = Node::new();
    let parameters = json!({"name": "redis", "uris": "https://198.18.0.1/", "suites": "./", "signed_by": ONE, "enabled": false});
    assert_eq!(node.apply(&node.read(parameters)).status, 0);
    assert!(fs::read_to_string(node.at("etc/sources.list.d/redis.sources")).unwrap().contains("Enabled: no\n"));
}

#[test]
fn a_key_directory_that_cannot_be_made_leaves_no_repository() {
    let node = Node::new();
    symlink("/nowhere/at/all", node.at("etc/keyrings")).unwrap();
    assert_ne!(node.apply(&node.repository(ONE)).status, 0);
    assert!(!node.at("etc/sources.list.d/redis.sources").exists());
}

#[test]
fn wrong_parameters_are_errors() {
    let fine = json!({"name": "redis", "uris": "https://h/", "suites": "s", "components": "main", "signed_by": "https://h/key"});
    assert!(from_parameters(fine.clone(), &mut NoFiles).is_ok());
    for (parameter, value) in [
        ("name", json!("../x")),
        ("name", json!("a b")),
        ("uris", json!([])),
        ("uris", json!("https://h/\nTrusted: yes")),
        ("suites", json!("s t")),
        ("components", json!([])),
        ("types", json!("rpm")),
        ("signed_by", json!("redis.gpg")),
        ("signed_by", json!("-----BEGIN PGP PRIVATE KEY BLOCK-----")),
        ("signed_by", json!("-----BEGIN PGP PUBLIC KEY BLOCK-----\ncut off")),
        ("signed_by", json!("https://h/a b")),
        ("signed_by", Value::Null),
        ("trusted", json!(true)),
    ] {
        let mut parameters = fine.clone();
        parameters[parameter] = value.clone();
        assert!(from_parameters(parameters, &mut NoFiles).is_err(), "{parameter} {value}");
    }
}

#[test]
fn a_second_source_of_the_same_repository_is_named() {
    let node = Node::new();
    let contradicted = |repository: &Repository, file: &str, signed_by: Option<&str>| {
        let uri = node.at("repo").display().to_string();
        let source = AptSource {
            file: file.into(),
            line: 3,
            uri: format!("file:{uri}"),
            suite: "s".into(),
            signed_by: signed_by.map(str::to_owned),
        };
        let mut answers = Answers::default();
        answers.set::<AptSources>((), Ok(vec![AptSource { suite: "t".into(), ..source.clone() }, source]));
        let found = repository.contradicted(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap();
        found.map(|found| (found.file, found.reason.replace(node.root.path().to_str().unwrap(), "ROOT")))
    };
    let ours = node.repository(ONE);
    let vendor = "/etc/apt/sources.list.d/vendor.list";
    let (file, reason) = contradicted(&ours, vendor, Some("/usr/share/keyrings/vendor.gpg")).unwrap();
    assert_eq!(file, vendor);
    insta::assert_snapshot!(reason, @"the repository file:ROOT/repo (suite s) is a source in `/etc/apt/sources.list.d/vendor.list:3`, too, with the key `/usr/share/keyrings/vendor.gpg`: apt reads no source at all while two of one repository have different keys; remove that one, by hand or with a task before this one (`file: {path: /etc/apt/sources.list.d/vendor.list, state: absent}`)");
    assert!(contradicted(&ours, vendor, None).unwrap().1.contains("without `Signed-By`"));
    assert_eq!(contradicted(&ours, ours.sources.as_str(), None), None, "the task's own file");
    assert_eq!(contradicted(&ours, vendor, Some(ours.armoured.as_str())), None, "apt takes the same key twice");
    let uri = format!("file:{}", node.at("repo").display());
    let disabled =
        node.read(json!({"name": "redis", "uris": uri, "suites": "s", "components": "main", "signed_by": ONE, "enabled": false}));
    assert_eq!(contradicted(&disabled, vendor, None), None);
}

#[test]
fn a_source_with_which_apt_reads_none_is_taken_back() {
    let node = Node::new();
    let uri = format!("file:{}", node.at("repo").display());
    let key = node.file("vendor.asc", ONE, 0o644);
    node.file("etc/sources.list.d/vendor.list", format!("deb [arch=amd64 signed-by={key}] {uri} s main\n"), 0o644);
    let failure = node.failure(ONE);
    assert!(
        failure.contains("it was taken back") && failure.contains("Conflicting values set for option Signed-By"),
        "{failure}"
    );
    assert_eq!(fs::read_dir(node.at("etc/sources.list.d")).unwrap().count(), 1);

    // What was there before comes back.
    fs::remove_file(node.at("etc/sources.list.d/vendor.list")).unwrap();
    node.converges(ONE, "etc/keyrings/redis.asc");
    let before = fs::read_to_string(node.at("etc/sources.list.d/redis.sources")).unwrap();
    node.file("etc/sources.list.d/vendor.list", format!("deb [signed-by={key}] {uri} s main\n"), 0o644);
    let done = node.apply(&node.read(json!({"name": "redis", "uris": [uri, "http://127.0.0.1:9/"], "suites": "s", "components": "main", "signed_by": ONE, "enabled": true, "architectures": ["amd64"]})));
    assert_eq!(done.status, 1);
    assert_eq!(fs::read_to_string(node.at("etc/sources.list.d/redis.sources")).unwrap(), before);
    assert!(node.at("etc/keyrings/redis.asc").exists());
}
