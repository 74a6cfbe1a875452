//! Tests of `file`: comparisons, and its scripts run by a real shell in scratch directories, until the comparison is converged.

use std::{
    fs,
    os::unix::{self, fs::PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use super::*;
use crate::question::account::AccountName;
use crate::{
    question::{Answers, account::User},
    resource::{
        content::tests::{NoFiles, resource, roots, shown},
        trial,
    },
    secret::SecretValues,
};

fn compared(parameters: Value, entry: Entry, parent_exists: bool) -> String {
    let resource = resource("file", parameters).unwrap();
    let mut answers = Answers::default();
    trial::answer_about(&mut answers, "/opt/x", &PathInfo { entry, parent_exists });
    for (path, entry) in [("/opt/z", file()), ("/z", file()), ("/gone", Entry::Absent), ("/opt/dangling", link(None))] {
        let query = PathQuery::existence(&RemotePath::new(path).unwrap());
        answers.set::<PathState>(query, Ok(PathInfo { entry, parent_exists: true }));
    }
    answers.set::<User>(AccountName::new("redis").unwrap(), Ok(None));
    trial::on_the_node_itself(&mut answers);
    shown(&resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap())
}

fn directory() -> Entry {
    Entry::Directory(roots(0o755))
}

fn file() -> Entry {
    Entry::File(crate::question::path::File { attributes: roots(0o644), size: 3, content: None, sha256: None })
}

fn link(leads_to: Option<Entry>) -> Entry {
    Entry::Link(crate::question::path::Link { target: "y".into(), leads_to: leads_to.map(Box::new) })
}

#[test]
fn an_entry_as_declared_is_converged() {
    for (parameters, entry) in [
        (json!({"path": "/opt/x", "state": "directory"}), directory()),
        (json!({"dest": "/opt/x", "state": "directory", "mode": "0755", "owner": "root"}), directory()),
        (json!({"name": "/opt/x", "state": "absent"}), Entry::Absent),
        (json!({"path": "/opt/x", "mode": "0644"}), file()),
        (json!({"path": "/opt/x", "state": "touch"}), file()),
        (json!({"path": "/opt/x", "state": "link", "src": "y"}), link(None)),
        (json!({"path": "/opt/x", "state": "directory", "follow": true}), link(Some(directory()))),
    ] {
        assert_eq!(compared(parameters, entry, true), "converged");
    }
}

#[test]
fn each_difference_shows() {
    let all = [
        compared(json!({"path": "/opt/x", "state": "directory", "mode": "0750"}), Entry::Absent, false),
        compared(json!({"path": "/opt/x", "state": "directory", "mode": "0750"}), directory(), true),
        compared(json!({"path": "/opt/x", "state": "absent"}), directory(), true),
        compared(json!({"path": "/opt/x", "state": "absent"}), file(), true),
        compared(json!({"path": "/opt/x", "state": "absent"}), link(None), true),
        compared(json!({"path": "/opt/x", "state": "link", "src": "z"}), link(None), true),
        compared(json!({"path": "/opt/x", "state": "link", "src": "z", "force": true}), file(), true),
        compared(json!({"path": "/opt/x", "state": "touch", "mode": "0600"}), Entry::Absent, true),
        compared(json!({"path": "/opt/x", "mode": "0600"}), file(), true),
    ];
    insta::assert_snapshot!(all.join(""), @r"
    change: create
    = /opt/x
    + a directory
    + mode 0750
    change (replaces): mode 0755 → 0750
    = /opt/x
    - mode 0755
    + mode 0750
    change (replaces): remove
    = /opt/x
    - a directory and all that is in it
    change (replaces): remove
    = /opt/x
    - a file, 3 bytes
    change (replaces): remove
    = /opt/x
    - a link to `y`
    change (replaces): replace
    = /opt/x
    - a link to `y`
    + a link to `z`
    change (replaces): replace
    = /opt/x
    - a file, 3 bytes
    + a link to `z`
    change: create
    = /opt/x
    + an empty file
    + mode 0600
    change (replaces): mode 0644 → 0600
    = /opt/x
    - mode 0644
    + mode 0600
    ");
}

#[test]
fn missing_accounts_files_and_parents_block() {
    let all = [
        compared(json!({"path": "/opt/x", "state": "directory", "owner": "redis"}), Entry::Absent, false),
        compared(json!({"path": "/opt/x", "mode": "0600"}), Entry::Absent, true),
        compared(json!({"path": "/opt/x", "state": "touch"}), Entry::Absent, false),
        compared(json!({"path": "/opt/x", "state": "link", "src": "z"}), Entry::Absent, false),
    ];
    insta::assert_snapshot!(all.join(""), @r"
    blocked by user `redis`: create
    = /opt/x
    + a directory
    + owner redis
    blocked by file `/opt/x`: mode 0600
    = /opt/x
    + mode 0600
    blocked by directory `/opt`: create
    = /opt/x
    + an empty file
    blocked by directory `/opt`: create
    = /opt/x
    + a link to `z`
    ");
}

#[test]
fn a_link_to_nothing_is_made_only_if_force_says_so() {
    let made = |src: &str, force: bool, entry| {
        let verdict = compared(json!({"path": "/opt/x", "state": "link", "src": src, "force": force}), entry, true);
        verdict.lines().next().unwrap().to_owned()
    };
    for src in ["/gone", "../gone", "dangling", "./dangling"] {
        let path = if src.ends_with("gone") { "/gone" } else { "/opt/dangling" };
        let why = format!("blocked by `{path}`, to which the link leads (`force: true` makes the link without it),");
        assert_eq!(made(src, false, Entry::Absent), format!("{why}: create"));
        assert_eq!(made(src, false, link(Some(file()))), format!("{why} (replaces): replace"));
        assert_eq!(made(src, true, Entry::Absent), "change: create");
    }
    for src in ["z", "/opt//z", "../opt/./z", "../../z"] {
        assert_eq!(made(src, false, Entry::Absent), "change: create", "{src}");
    }
    assert_eq!(made("y", false, link(None)), "converged");
}

#[test]
fn an_entry_in_the_way_is_refused_with_advice() {
    let all = [
        compared(json!({"path": "/opt/x", "state": "directory"}), file(), true),
        compared(json!({"path": "/opt/x", "state": "directory"}), link(Some(directory())), true),
        compared(json!({"path": "/opt/x", "state": "directory", "follow": true}), link(None), true),
        compared(json!({"path": "/opt/x"}), directory(), true),
        compared(json!({"path": "/opt/x", "state": "link", "src": "z"}), file(), true),
        compared(json!({"path": "/opt/x", "state": "link", "src": "z", "force": true}), directory(), true),
        compared(json!({"path": "/opt/x", "state": "touch"}), Entry::Other(roots(0o600)), true),
    ];
    insta::assert_snapshot!(all.join("\n"), @r"
    refused: `/opt/x` is a file, where a directory is wanted; remove it first
    refused: `/opt/x` is a link to `y`; say `follow: true` to mean what it leads to, or remove it
    refused: `/opt/x` is a link that leads nowhere; remove it or make what it leads to
    refused: `/opt/x` is a directory; say `state: directory`
    refused: `/opt/x` is a file, where a link is wanted; remove it first or say `force: true`
    refused: `/opt/x` is a directory, where a link is wanted, and `force` replaces files only; remove it first
    refused: `/opt/x` is a device, socket or pipe, whose access is set by the unit or program that makes it; remove it first, if a file is wanted
    ");
}

#[test]
fn wrong_parameters_say_what_to_do() {
    let error = |parameters| match from_parameters(parameters, &mut NoFiles) {
        Err(ParamError::Parameter { path, message }) => format!("{path:?}: {message}"),
        Err(ParamError::Word { path, word }) => format!("{path:?}: {word}"),
        other => panic!("{other:?}"),
    };
    let all = [
        error(json!({"path": "/etc", "state": "absent"})),
        error(json!({"path": "/", "state": "absent"})),
        error(json!({"path": "/a/b", "state": "absent", "mode": "0644"})),
        error(json!({"path": "/a/b", "state": "link"})),
        error(json!({"path": "/a/b", "state": "link", "src": ""})),
        error(json!({"path": "/a/b", "state": "link", "src": "x", "owner": "root"})),
        error(json!({"path": "/a/b", "src": "x"})),
        error(json!({"path": "/a/b", "state": "directory", "force": true})),
        error(json!({"path": "/a/b", "state": "hard"})),
        error(json!({"path": "/a/b", "recurse": true})),
    ];
    insta::assert_snapshot!(all.join("\n"), @r#"
    [Key("path")]: `/etc` is no path to remove with all that is in it; name something in it
    [Key("path")]: `/` is no path to remove with all that is in it; name something in it
    [Key("mode")]: an absent path has none; leave it out
    []: say with `src` what the link leads to
    [Key("src")]: is no path
    [Key("owner")]: a link has no access of its own; leave it out
    [Key("src")]: goes with `state: link` only; to write a file use `copy` or `template`
    [Key("force")]: goes with `state: link` only
    [Key("state")]: `hard` is not one of `absent`, `directory`, `file`, `link`, `touch`
    [Key("recurse")]: goes with `state: directory` only
    "#);
}

fn ask(resource: &dyn Resource) -> Verdict {
    let mut questions = Questions::default();
    resource.questions(&mut questions);
    let composed = questions.compose("f00dfeed").unwrap();
    let output = Command::new("sh").env("LC_ALL", "C").arg("-c").arg(composed.script()).output().unwrap();
    let mut answers = composed.read(&output.stdout);
    trial::on_the_node_itself(&mut answers);
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn run(verdict: &Verdict) -> Output {
    let script = crate::resource::content::tests::rendered(verdict);
    Command::new("sh").env("LC_ALL", "C").arg("-c").arg(format!("umask 077\n{script}")).output().unwrap()
}

/// Asks, applies, applies again, asks again.
fn apply(parameters: Value) {
    let resource = resource("file", parameters).unwrap();
    let verdict = ask(resource.as_ref());
    for _ in 0..2 {
        let output = run(&verdict);
        assert!(output.status.success() && output.stderr.is_empty(), "{verdict:?}: {output:?}");
    }
    assert_eq!(shown(&ask(resource.as_ref())), "converged");
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn directories_are_made_with_parents_that_others_may_pass() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a $(b)/c/d");
    apply(json!({"path": path, "state": "directory", "mode": "2750", "owner": "daemon", "group": "mail"}));
    assert_eq!((mode(&path), mode(path.parent().unwrap()), mode(&dir.path().join("a $(b)"))), (0o2750, 0o755, 0o755));
    apply(json!({"path": path, "state": "directory", "mode": "0700"}));
    assert_eq!(mode(&path), 0o700);
    let plain = dir.path().join("plain");
    apply(json!({"path": plain, "state": "directory"}));
    assert_eq!(mode(&plain), 0o755);
}

#[test]
fn links_files_and_nothing_are_made() {
    let dir = tempfile::tempdir().unwrap();
    let (link, file, tree) = (dir.path().join("link"), dir.path().join("file"), dir.path().join("tree"));
    let nowhere = resource("file", json!({"path": link, "state": "link", "src": "-nowhere 'x'"})).unwrap();
    assert!(shown(&ask(nowhere.as_ref())).starts_with("blocked by `"), "{}", shown(&ask(nowhere.as_ref())));
    apply(json!({"path": link, "state": "link", "src": "-nowhere 'x'", "force": true}));
    fs::create_dir(&tree).unwrap();
    apply(json!({"path": link, "state": "link", "src": "tree"}));
    assert_eq!(fs::read_link(&link).unwrap(), Path::new("tree"));
    apply(json!({"path": file, "state": "touch", "mode": "0640"}));
    apply(json!({"path": file, "mode": "0600"}));
    assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o600, Vec::new()));
    apply(json!({"path": file, "state": "link", "src": "tree", "force": true}));
    fs::create_dir_all(tree.join("below")).unwrap();
    unix::fs::symlink(dir.path(), tree.join("below/up")).unwrap();
    apply(json!({"path": link, "state": "absent"}));
    assert!(tree.exists());
    apply(json!({"path": tree, "state": "absent"}));
    assert!(dir.path().exists() && !tree.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let resource = resource("file", json!({"path": dir.path().join("file/below/x"), "state": "directory"})).unwrap();
    let output = run(&ask(resource.as_ref()));
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("there is no directory"), "{output:?}");
}

/// Compares with a tree on this machine, with the real `find`.
fn tree_compared(parameters: Value, path: &Path) -> Verdict {
    let resource = resource("file", parameters).unwrap();
    let mut questions = Questions::default();
    resource.questions(&mut questions);
    let composed = questions.compose("f00d").unwrap();
    let done = trial::run(&Script::new("eval \"$1\"").arg(composed.script()), path);
    let answers = composed.read(&done.stdout);
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

#[test]
fn a_tree_is_counted_and_put_right_without_following_links() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("it's $(a) tree");
    let outside = root.path().join("outside");
    fs::create_dir_all(path.join("sub/deep")).unwrap();
    fs::write(&outside, "x").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
    for name in ["-rf *", "new\nline", "$(touch pwned)", "sub/deep/file"] {
        fs::write(path.join(name), "x").unwrap();
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }
    unix::fs::symlink(&outside, path.join("link")).unwrap();
    unix::fs::symlink(root.path(), path.join("sub/up")).unwrap();
    for directory in ["", "sub", "sub/deep"] {
        fs::set_permissions(path.join(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let wanted = json!({"path": path, "state": "directory", "recurse": true, "mode": "0755"});
    let Verdict::Change(change) = tree_compared(wanted.clone(), root.path()) else { panic!() };
    assert_eq!(change.summary, "4 entries below → mode 0755");
    let done = trial::run(&change.script, root.path());
    assert_eq!((done.status, done.stderr.as_str()), (0, ""));
    assert!(matches!(tree_compared(wanted, root.path()), Verdict::Converged { .. }));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&outside), mode(&path.join("new\nline"))), (0o600, 0o755));

    // A link in place of the directory is not followed, neither by the question nor by the change.
    let link = root.path().join("link");
    unix::fs::symlink(&path, &link).unwrap();
    let wanted = json!({"path": link, "state": "directory", "recurse": true, "mode": "0700"});
    assert!(matches!(tree_compared(wanted, root.path()), Verdict::Refused(_)));
    let script = Script::new("set_tree \"$@\"").using(WAY).using(SET_TREE).args([link.to_str().unwrap(), "", "", "00700"]);
    let done = trial::run(&script, root.path());
    assert_eq!(done.status, 1, "{done:?}");
    assert_eq!(mode(&path), 0o755);
}

#[test]
fn a_tree_whose_owner_does_not_exist_yet_differs_as_a_whole() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "x").unwrap();
    let wanted = json!({"path": root.path(), "state": "directory", "recurse": true, "owner": "no-such-user"});
    let Verdict::Blocked { missing, change } = tree_compared(wanted, root.path()) else { panic!() };
    assert_eq!(missing, [Missing::User("no-such-user".into())]);
    assert!(change.summary.ends_with("1 entry below → owner no-such-user"), "{}", change.summary);
}

#[test]
fn recurse_refuses_other_parameters() {
    for (parameters, words) in [
        (json!({"path": "/srv/a", "state": "file", "recurse": true, "mode": "0755"}), "`state: directory` only"),
        (json!({"path": "/srv/a", "state": "directory", "recurse": true}), "say with `owner`"),
        (json!({"path": "/srv", "state": "directory", "recurse": true, "mode": "0755"}), "name something in it"),
        (json!({"path": "/srv/a", "state": "directory", "recurse": true, "mode": "0644"}), "lets no user enter"),
        (json!({"path": "/srv/a", "state": "directory", "recurse": true, "mode": "0755", "follow": true}), "follows no links"),
    ] {
        let error = format!("{:?}", resource("file", parameters).unwrap_err());
        assert!(error.contains(words), "{error}");
    }
}
