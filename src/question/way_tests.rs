//! Tests of [`super`]: a real shell runs the question and the writing as root in scratch directories that belong to others. `daemon` is mallory.

use std::process::Command;

use super::*;
use crate::{
    question::{
        Kind as _, Output,
        path::{Entry, PathInfo, PathQuery, PathState},
    },
    resource::{
        access::Access,
        put::{Backup, Put, set_access},
        trial::{Done, fake, run},
    },
    script::Script,
    secret::SecretValues,
    values::RemotePath,
};

/// What another user must neither read nor change.
const SECRET: &str = "root:$y$hash:1::::::";

/// A scratch root with `etc/shadow`, and `home/m`, which belongs to mallory.
struct Node(tempfile::TempDir);

impl Node {
    fn new(setup: &str) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        node.sh(&format!("mkdir -p etc home/m; echo '{SECRET}' >etc/shadow; chmod 640 etc/shadow; chown daemon home/m\n{setup}"));
        node
    }

    fn sh(&self, text: &str) -> String {
        let output = Command::new("sh").args(["-euc", text]).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{text}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, path: &str) -> RemotePath {
        RemotePath::new(self.0.path().join(path).to_str().unwrap()).unwrap()
    }

    /// Everything that root owns or guards, except its own temporary names.
    fn state(&self) -> String {
        self.sh("find . -printf '%p %y %m %U:%G %l\\n' | sort; cat etc/shadow")
    }

    fn run(&self, script: &Script) -> Done {
        run(script, self.0.path())
    }

    fn ask(&self, query: &PathQuery) -> Result<PathInfo, String> {
        let done = self.run(&PathState::script(&[query]));
        assert_eq!(done.stderr, "");
        let answers = PathState::read(&[query], &Output { status: done.status, stdout: done.stdout });
        answers.into_iter().next().unwrap().map_err(|error| error.0.replace(self.0.path().to_str().unwrap(), ""))
    }
}

fn owner(name: &str) -> Option<AccountName> {
    (!name.is_empty()).then(|| AccountName::new(name).unwrap())
}

fn access(name: &str) -> Access {
    Access { owner: owner(name), ..Access::default() }
}

/// Asks about a path and then writes to it; returns what was read, or why it was refused. The question and the writing must agree.
fn attempt(setup: &str, path: &str, owned_by: &str, follow: bool) -> String {
    let node = Node::new(setup);
    let path = node.path(path);
    let before = node.state();
    let asked = node.ask(&PathQuery::content(&path).following(follow).owned_by(owner(owned_by).as_ref()));
    let sum = node.ask(&PathQuery::checksum(&path).following(follow).owned_by(owner(owned_by).as_ref()));
    assert_eq!(asked.is_ok(), sum.is_ok(), "the depth does not matter");
    let put = Put { path: &path, access: access(owned_by), follow, backup: Backup::None, validate: None };
    let written = node.run(&put.script("new".into(), &SecretValues::default()));
    let said = written.stderr.replace(node.0.path().to_str().unwrap(), "");
    assert_eq!(node.sh("cat etc/shadow").trim(), SECRET);
    match asked {
        Ok(found) => {
            assert_eq!((written.status, said.as_str()), (0, ""), "{path}");
            let content = match found.seen(follow) {
                Some(Entry::File(file)) => String::from_utf8(file.content.clone().unwrap()).unwrap(),
                seen => seen.map_or("dangling".to_owned(), Entry::describe),
            };
            content.trim().to_owned()
        }
        Err(words) => {
            assert_eq!((written.status, said.trim()), (1, words.as_str()));
            assert_eq!(node.state(), before, "a refusal changes nothing");
            assert!(!words.contains("$y$"), "{words}");
            words.split_once(": nothing at").unwrap().0.to_owned()
        }
    }
}

#[test]
fn a_way_that_another_user_could_bend_is_refused_when_asked_and_when_written() {
    let rows = [
        ("ln -s $PWD/etc/shadow home/m/.bashrc", "home/m/.bashrc", "daemon", true),
        ("ln -s $PWD/etc/shadow home/m/.bashrc; chown -h daemon home/m/.bashrc", "home/m/.bashrc", "daemon", true),
        ("ln -s $PWD/etc home/m/app", "home/m/app/ssh", "daemon", false),
        ("ln -s ../../etc home/m/app", "home/m/app/shadow", "", false),
        ("echo mine >home/m/x", "home/m/x", "", false),
        ("echo mine >home/m/x", "home/m/x", "bin", false),
        ("mkdir home/m/bin; chown bin home/m/bin", "home/m/bin/x", "daemon", false),
        ("", "home/m/new/x", "", false),
        ("mkdir -m 1777 tmp; ln -s ../etc/shadow tmp/x; chown -h daemon tmp/x", "tmp/x", "daemon", true),
        ("mkdir -m 1777 tmp; ln -s ../etc tmp/x; chown -h daemon tmp/x", "tmp/x/shadow", "", false),
        ("mkdir -m 1777 tmp; ln -s ../etc/shadow tmp/x", "tmp/x", "", true),
        ("mkdir -m 1777 tmp; echo mine >tmp/x; chown daemon tmp/x", "tmp/x", "", false),
        ("mkdir -m 0777 open", "open/x", "", false),
        ("mkdir -m 0777 open; mkdir open/d; ln -s ../../etc open/d/e", "open/d/e/shadow", "", false),
        ("mkdir -m 0775 shared; chgrp daemon shared", "shared/x", "daemon", false),
        ("chmod 0775 home/m; chgrp mail home/m", "home/m/x", "daemon", false),
        ("ln -s $PWD/home/m/b a; ln -s $PWD/etc home/m/b", "a/shadow", "daemon", false),
        ("ln -s home/m/x a; ln -s ../../etc/shadow home/m/x", "a", "daemon", true),
        ("ln -s a b; ln -s b a", "a/x", "", false),
        ("ln etc/shadow home/m/hard", "home/m/hard", "daemon", false),
        ("mkdir home/m/d; ln etc/shadow home/m/d/hard", "home/m/d/hard", "daemon", true),
    ];
    let words: Vec<String> = rows.iter().map(|(setup, path, owner, follow)| attempt(setup, path, owner, *follow)).collect();
    insta::assert_snapshot!(words.join("\n"), @r"
    `/home/m/.bashrc` is a link, and `/home/m` belongs to daemon
    `/home/m/.bashrc` is a link, and `/home/m` belongs to daemon
    `/home/m/app` is a link, and `/home/m` belongs to daemon
    `/home/m/app` is a link, and `/home/m` belongs to daemon
    `/home/m` belongs to daemon
    `/home/m` belongs to daemon
    `/home/m/bin` belongs to bin
    `/home/m` belongs to daemon
    `/tmp/x` is a link that belongs to daemon
    `/tmp/x` is a link that belongs to daemon
    `/tmp/x` is a link in a directory that every user may write to
    `/tmp/x` belongs to daemon
    every user may write to `/open`, which belongs to root (`chmod o-w` ends that)
    `/open/d/e` is a link, and every user may write to `/open`, which belongs to root (`chmod o-w` ends that)
    the group daemon may write to `/shared`, which belongs to root (`chmod g-w` ends that)
    the group mail may write to `/home/m`, which belongs to daemon (`chmod g-w` ends that)
    `/home/m/b` is a link, and `/home/m` belongs to daemon
    `/home/m/x` is a link, and `/home/m` belongs to daemon
    `/a` leads through too many links
    `/home/m/hard`, which belongs to root, has another name elsewhere
    `/home/m/d/hard`, which belongs to root, has another name elsewhere
    ");
}

#[test]
fn a_way_that_no_other_user_can_bend_is_gone() {
    let rows = [
        ("echo mine >home/m/.bashrc; chown daemon home/m/.bashrc", "home/m/.bashrc", "daemon", true),
        ("echo root >home/m/.bashrc", "home/m/.bashrc", "daemon", false),
        ("mkdir home/m/root; echo below >home/m/root/x", "home/m/root/x", "daemon", false),
        ("", "home/m/new", "daemon", false),
        ("echo conf >etc/x; ln -s etc conf", "conf/x", "", false),
        ("echo conf >etc/x; ln -s $PWD/conf2 conf; ln -s ./conf3/. conf2; ln -s home/../etc conf3", "conf/x", "", false),
        ("echo conf >etc/x; ln -s etc/x conf", "conf", "", true),
        ("ln -s etc/shadow conf", "conf", "", false),
        ("ln -s home/m a; echo mine >home/m/x; chown daemon home/m/x", "a/x", "daemon", false),
        ("mkdir -m 1777 tmp; echo root >tmp/x", "tmp/x", "", false),
        ("mkdir -m 1777 tmp; ln -s ../etc/shadow tmp/x; chown -h daemon tmp/x", "tmp/x", "", false),
        ("mkdir -m 0775 shared; echo group >shared/x", "shared/x", "", false),
        ("mkdir 'a b:c -> d'; echo odd >'a b:c -> d/x'; ln -s 'a b:c -> d' l", "l/x", "", false),
    ];
    let found: Vec<String> = rows.iter().map(|(setup, path, owner, follow)| attempt(setup, path, owner, *follow)).collect();
    insta::assert_snapshot!(found.join("\n"), @r"
    mine
    root
    below
    nothing
    conf
    conf
    conf
    a link to `etc/shadow`
    mine
    root
    a link to `../etc/shadow`
    group
    odd
    ");
}

#[test]
fn what_another_user_made_in_a_sticky_directory_may_be_removed() {
    let node = Node::new("mkdir -m 1777 tmp; echo mine >tmp/x; chown daemon tmp/x");
    assert!(node.ask(&PathQuery::attributes(&node.path("tmp/x"))).is_err());
    assert!(matches!(node.ask(&PathQuery::removal(&node.path("tmp/x"))).unwrap().entry, Entry::File(_)));
    assert!(node.ask(&PathQuery::removal(&node.path("home/m/x"))).is_err());
}

#[test]
fn whether_something_exists_is_asked_through_no_link_of_another_user() {
    for (setup, path, expected) in [
        ("echo mine >home/m/x; chown daemon home/m/x", "home/m/x", "there"),
        ("", "home/m/x", "gone"),
        ("", "home/m/no/x", "gone"),
        ("ln -s nothing home/m/x; chown -h daemon home/m/x", "home/m/x", "there"),
        ("mkdir -m 2775 shared; chgrp daemon shared; echo x >shared/x", "shared/x", "there"),
        ("mkdir -m 1777 tmp; echo mine >tmp/x; chown daemon tmp/x", "tmp/x", "there"),
        ("ln -s etc roots; chmod 755 .", "roots/shadow", "there"),
        ("ln -s ../../etc home/m/app; chown -h daemon home/m/app", "home/m/app/shadow", "`/home/m/app` is a link"),
        ("ln -s ../../etc home/m/app", "home/m/app/shadow", "`/home/m/app` is a link"),
        ("mkdir -m 1777 tmp; ln -s ../etc tmp/x; chown -h daemon tmp/x", "tmp/x/shadow", "`/tmp/x` is a link"),
    ] {
        let node = Node::new(setup);
        let answer = node.ask(&PathQuery::existence(&node.path(path)));
        let said = answer.map_or_else(|error| error, |info| if info.entry == Entry::Absent { "gone" } else { "there" }.into());
        assert!(said.starts_with(expected), "{path}: {said}");
    }
}

#[test]
fn whom_the_host_trusts_may_own_a_way_and_put_links_on_it() {
    let node = Node::new("echo mine >home/m/x; chown daemon home/m/x; ln -s x home/m/l; chown -h daemon home/m/l");
    let script = PathState::script(&[&PathQuery::content(&node.path("home/m/l")).following(true)]).render().unwrap();
    let stdout = |names: &[&str]| {
        let trusted = TrustedOwners::new(names.iter().map(|name| AccountName::new(name).unwrap()).collect());
        let text = trusted.told_to(script.clone()).unwrap();
        String::from_utf8(Command::new("sh").args(["-c", &text]).output().unwrap().stdout).unwrap()
    };
    assert!(stdout(&["bin", "daemon"]).contains("mine\n"));
    assert!(stdout(&["bin"]).contains("belongs to daemon") && !stdout(&["bin"]).contains("mine\n"));
    // The account of this run.
    let own = Command::new("sh").args(["-c", &script]).env("SUDO_UID", "1").output().unwrap();
    assert!(String::from_utf8_lossy(&own.stdout).contains("mine\n"));
}

#[test]
fn what_is_swapped_after_the_question_is_found_where_it_is_written() {
    let swaps = [
        "mv home/m/app home/m/old; ln -s ../../etc home/m/app",
        "mv home/m home/old; ln -s ../etc home/m; chown -h daemon home/m; mkdir etc/app",
    ];
    for swap in swaps {
        let node = Node::new("mkdir home/m/app; echo old >home/m/app/shadow; chown -R daemon home/m");
        let path = node.path("home/m/app/shadow");
        assert!(node.ask(&PathQuery::content(&path).owned_by(owner("daemon").as_ref())).is_ok());
        node.sh(swap);
        let before = node.state();
        let put = Put { path: &path, access: access("daemon"), follow: false, backup: Backup::Private, validate: None };
        for script in [put.script("new".into(), &SecretValues::default()), set_access(&path, &access("daemon"), false)] {
            let done = node.run(&script);
            assert!(done.status == 1 && done.stderr.contains("is a link"), "{done:?}");
            assert_eq!(node.state(), before);
        }
    }
}

#[test]
fn what_is_swapped_while_it_is_written_stays_as_it_is() {
    // The directory is entered and checked when a program is called that swaps it for a link.
    let node = Node::new("mkdir home/m/app; chown daemon home/m/app");
    let swap = "[ -L home/m/app ] || { mv home/m/app home/m/old; ln -s ../../etc home/m/app; }";
    fake(node.0.path(), "mktemp", &format!("(cd {} && {swap}); PATH=/usr/bin:/bin exec mktemp \"$@\"", node.0.path().display()));
    let path = node.path("home/m/app/shadow");
    let put = Put { path: &path, access: access("daemon"), follow: false, backup: Backup::None, validate: None };
    assert_eq!(node.run(&put.script("new".into(), &SecretValues::default())).status, 0);
    assert_eq!(node.sh("cat etc/shadow home/m/old/shadow"), format!("{SECRET}\nnew"));
    assert_eq!(node.sh("stat -c %u etc/shadow"), "0\n");

    // An entry that becomes a link while its access is set.
    let node = Node::new("echo mine >home/m/x; chown daemon home/m/x");
    let real = "PATH=/usr/bin:/bin stat \"$@\"";
    let swap = format!("cd {}/home/m && ln -sfn ../../etc/shadow x", node.0.path().display());
    fake(node.0.path(), "stat", &format!("case $* in *' - '*) {real}; ({swap});; *) {real};; esac"));
    let before = node.sh("stat -c '%u %a' etc/shadow");
    let done = node.run(&set_access(&node.path("home/m/x"), &access("daemon"), false));
    assert_eq!((done.status, node.sh("stat -c '%u %a' etc/shadow")), (0, before));
    // And one that was a link for the moment in which it was opened.
    let node = Node::new("ln -s ../../etc/shadow home/m/x");
    let swap = format!("cd {}/home/m && ln -sfn ../../etc/shadow x", node.0.path().display());
    fake(
        node.0.path(),
        "stat",
        &format!("case $* in *' - '*) rm -f {0}; echo >{0}; chown daemon {0}; {real};; *) {real};; esac", node.path("home/m/x")),
    );
    node.sh("rm home/m/x; echo mine >home/m/x; chown daemon home/m/x");
    let text = format!("{swap}\nreach daemon {0} '' && exec 3<./x && sound daemon || echo \"$why\"", node.path("home/m/x"));
    let script = Script::new("eval \"$1\"").using(WAY).arg(text);
    assert!(String::from_utf8_lossy(&node.run(&script).stdout).contains("was replaced at this very moment"));
}

#[test]
fn a_working_directory_is_not_the_one_that_was_named_where_it_was_a_link_for_a_moment() {
    // What `cd` sees is a link; when the names are compared, the directory is back.
    let node = Node::new("mkdir home/m/app; chown daemon home/m/app; mv home/m/app home/m/real; ln -s ../../etc home/m/app");
    let text = format!(
        "way={0}/home/m/app; cd -P \"$way\"; rm \"$way\"; mv {0}/home/m/real \"$way\"; loose=; arrive daemon || echo \"$why\"",
        node.0.path().display()
    );
    let done = node.run(&Script::new("eval \"$1\"").using(WAY).arg(text));
    assert!(String::from_utf8_lossy(&done.stdout).contains("was replaced at this very moment"), "{done:?}");
}

#[test]
fn missing_directories_are_made_on_a_safe_way_only() {
    let node = Node::new("ln -s ../../etc home/m/app; chown -h daemon home/m/app");
    let make = |path: &str| Script::new("go daemon \"$1\" '' parents && pwd").using(WAY).arg(node.path(path).as_str());
    let before = node.state();
    assert_eq!(node.run(&make("home/m/app/a/b/x")).status, 1);
    assert_eq!(node.state(), before);
    let done = node.run(&make("home/m/c/d/x"));
    assert_eq!(String::from_utf8(done.stdout).unwrap().trim(), node.path("home/m/c/d").as_str());
    assert_eq!(node.sh("stat -c '%n %a %u' home/m/c home/m/c/d"), "home/m/c 755 0\nhome/m/c/d 755 0\n");
}
