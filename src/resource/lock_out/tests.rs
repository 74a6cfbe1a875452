//! Tests of what is refused by the answers alone, through the resources that a role declares.

mod tree;

use serde_json::{Value, json};

use crate::{
    question::{
        Answers, Questions,
        account::{AccountName, Group, GroupEntry, User, UserEntry},
        home::{Home, HomeKey, HomeState},
        own_account::{LoggedIn, OwnAccount},
        package::Package,
        path::{Attributes, Entry, File, Link, PathInfo},
        unit::Unit,
    },
    resource::{
        NodeState, Resource, Verdict,
        content::tests::{resource, shown},
        trial,
    },
    secret::SecretValues,
    values::{Mode, RemotePath},
};

fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn root() -> LoggedIn {
    let ops = trial::ops();
    let entry = UserEntry { uid: 0, gid: 0, group: Some("root".into()), home: "/root".into(), groups: vec![], ..ops.entry };
    LoggedIn { name: "root".into(), entry, named_groups: vec![] }
}

fn owned(uid: u32, group: &str, mode: u32) -> Attributes {
    Attributes { mode: Mode(mode), owner: String::new(), group: group.into(), uid, gid: uid, changed: 0 }
}

fn directory(mode: u32) -> Entry {
    Entry::Directory(owned(1000, "ops", mode))
}

fn keys(content: &str) -> Entry {
    let content = content.as_bytes().to_vec();
    Entry::File(File { attributes: owned(1000, "ops", 0o600), size: content.len() as u64, content: Some(content), sha256: None })
}

const KEYS: &str = "# mine\nssh-ed25519 AAAA me\n\nno-pty,command=\"x\" ecdsa-sha2-nistp256 BBBB you\n";

/// Returns the verdict about a path for a run that has logged in with this account.
fn verdict_as(own: LoggedIn, kind: &str, parameters: Value, entry: Entry) -> Verdict {
    let path = parameters["path"].as_str().or(parameters["dest"].as_str()).unwrap().to_owned();
    let mut answers = Answers::default();
    trial::logged_in_as(&mut answers, own);
    trial::answer_about(&mut answers, &path, &PathInfo { entry, parent_exists: true });
    answers.set::<User>(name("ops"), Ok(Some(trial::ops().entry)));
    answers.set::<User>(name("redis"), Ok(Some(UserEntry { uid: 101, ..trial::ops().entry })));
    for (group, gid) in [("ops", 1000), ("redis", 102)] {
        answers.set::<Group>(name(group), Ok(Some(GroupEntry { gid, members: vec![] })));
    }
    answers.set::<crate::question::tree::Tree>(
        crate::question::tree::TreeKey {
            path: crate::values::RemotePath::new(&path).unwrap(),
            owner: parameters["owner"].as_str().map(name),
            group: parameters["group"].as_str().map(name),
            mode: parameters["mode"].as_str().map(|mode| Mode(u32::from_str_radix(mode, 8).unwrap())),
        },
        Ok(1),
    );
    let resource = resource(kind, parameters).unwrap();
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn verdict(kind: &str, parameters: Value, entry: Entry) -> String {
    let text = shown(&verdict_as(trial::ops(), kind, parameters, entry));
    text.lines().next().unwrap().to_owned()
}

fn assert_refused(kind: &str, parameters: &Value, entry: Entry, would: &str) {
    let expected = format!(
        "refused: this would {would}, and `ops` is the account with which this run logs in; to do it on purpose, log in as another user (`ansible_user`)"
    );
    assert_eq!(verdict(kind, parameters.clone(), entry), expected, "{parameters}");
}

fn assert_changes(kind: &str, parameters: &Value, entry: Entry) {
    let text = verdict(kind, parameters.clone(), entry);
    assert!(text.starts_with("change"), "{parameters}: {text}");
}

#[test]
fn our_account_is_asked_for_only_where_a_task_could_concern_it() {
    let asked = |kind: &str, parameters: Value| {
        let ask = || {
            let mut questions = Questions::default();
            resource(kind, parameters.clone()).unwrap().questions(&mut questions);
            questions
        };
        ask().count() > ask().except::<OwnAccount>().count()
    };
    let keys = "/srv/ops/.ssh/authorized_keys";
    for (kind, parameters) in [
        ("user", json!({"name": "redis"})),
        ("group", json!({"name": "adm", "state": "absent"})),
        ("apt", json!({"name": "sudo", "state": "absent"})),
        ("file", json!({"path": "/etc/x", "state": "absent"})),
        ("file", json!({"path": "/var/lib/x", "state": "directory"})),
        ("file", json!({"path": "/home/x", "mode": "0700"})),
        ("copy", json!({"dest": keys, "content": ""})),
        ("get_url", json!({"dest": keys, "url": "https://x/"})),
        ("lineinfile", json!({"path": keys, "line": "x"})),
        ("blockinfile", json!({"path": keys, "block": "x"})),
    ] {
        assert!(asked(kind, parameters.clone()), "{kind} {parameters}");
    }
    for (kind, parameters) in [
        ("group", json!({"name": "adm"})),
        ("apt", json!({"name": "sudo"})),
        ("apt", json!({"name": "nano", "state": "absent"})),
        ("file", json!({"path": "/etc/x", "state": "directory"})),
        ("file", json!({"path": "/usr/local/bin/x", "mode": "0755"})),
        ("copy", json!({"dest": "/home/ops/x", "content": ""})),
        ("lineinfile", json!({"path": "/etc/ssh/sshd_config", "line": "x"})),
        ("systemd", json!({"name": "ssh", "state": "stopped"})),
    ] {
        assert!(!asked(kind, parameters.clone()), "{kind} {parameters}");
    }
}

#[test]
fn home_and_keys_of_our_account_are_not_removed() {
    for path in ["/home/ops", "/home/ops/.ssh", "/home/ops/.ssh/authorized_keys"] {
        let parameters = json!({"path": path, "state": "absent"});
        assert_refused("file", &parameters, directory(0o700), &format!("remove `{path}`"));
        assert_eq!(verdict("file", parameters, Entry::Absent), "converged");
    }
    // A link, such as one of an encrypted home, is ours as well.
    let link = Entry::Link(Link { target: "/srv/ops".into(), leads_to: None });
    assert_refused("file", &json!({"path": "/home/ops", "state": "absent"}), link.clone(), "remove `/home/ops`");
    let parameters = json!({"path": "/home/ops/.ssh/authorized_keys", "state": "link", "src": "/x", "force": true});
    assert_refused("file", &parameters, keys(KEYS), "remove `/home/ops/.ssh/authorized_keys`");
    assert_refused("file", &json!({"path": "/bin/bash", "state": "absent"}), keys(""), "remove `/bin/bash`");
    for path in ["/home/ops/x", "/home/op", "/home/ops2", "/home/ops/.ssh/known_hosts", "/home/ops/.ssh/authorized_keys.old"] {
        assert_changes("file", &json!({"path": path, "state": "absent"}), directory(0o700));
    }
    // What is above goes with it.
    let mut own = trial::ops();
    own.entry.home = "/srv/people/ops".into();
    let above = verdict_as(own, "file", json!({"path": "/srv/people", "state": "absent"}), directory(0o755));
    assert!(
        shown(&above).starts_with("refused: this would remove `/srv/people`, with `/srv/people/ops`, and `ops` is"),
        "{above:?}"
    );
}

#[test]
fn nothing_of_ours_gets_an_access_with_which_sshd_takes_no_key() {
    let at = |path: &str, more: Value| {
        let mut parameters = json!({"path": path, "state": "directory"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parameters
    };
    let no_key = |what: &str, path: &str| format!("{what} `{path}`, where sshd then takes no key");
    for path in ["/home/ops", "/home/ops/.ssh"] {
        for (more, what) in [
            (json!({"mode": "0777"}), "let every user write to"),
            (json!({"mode": "0775", "group": "redis"}), "let a group write to"),
            (json!({"owner": "redis"}), "give another user"),
            (json!({"mode": "0600"}), "keep it out of"),
            (json!({"owner": "root", "group": "root", "mode": "0700"}), "keep it out of"),
        ] {
            assert_refused("file", &at(path, more), directory(0o700), &no_key(what, path));
        }
        for more in [
            json!({"mode": "0755"}),
            // Debian's sshd admits the group of the account's own name.
            json!({"mode": "0770"}),
            json!({"owner": "root", "mode": "0710"}),
        ] {
            assert_changes("file", &at(path, more), directory(0o700));
        }
        // Where sshd lets us in as it is, it does not mind.
        assert_changes("file", &at(path, json!({"mode": "0777", "group": "redis"})), directory(0o777));
    }
    // Directories above the home only have to be open to us; others may write there.
    assert_refused(
        "file",
        &at("/home", json!({"mode": "0700"})),
        Entry::Directory(owned(0, "root", 0o755)),
        &no_key("keep it out of", "/home"),
    );
    assert_changes("file", &at("/home", json!({"mode": "0777"})), Entry::Directory(owned(0, "root", 0o755)));
    assert_changes("file", &at("/home/other", json!({"mode": "0777"})), directory(0o700));
    // All below a directory.
    let all = |own: LoggedIn, mut more: Value| {
        more["recurse"] = json!(true);
        let verdict = verdict_as(own, "file", at("/srv/people", more), Entry::Directory(owned(0, "root", 0o755)));
        shown(&verdict).lines().next().unwrap().to_owned()
    };
    let own = || {
        let ops = trial::ops();
        LoggedIn { entry: UserEntry { home: "/srv/people/ops/".into(), ..ops.entry }, ..ops }
    };
    for (more, what) in [
        (json!({"owner": "redis"}), "give another user"),
        (json!({"owner": "root"}), "give another user"),
        (json!({"mode": "0777"}), "let every user write to"),
        (json!({"owner": "root", "group": "root", "mode": "0700"}), "keep it out of"),
    ] {
        let lost = format!(
            "refused: this would {what} all that is in `/srv/people`, and sshd then takes no key from `/srv/people/ops`, and"
        );
        let text = all(own(), more.clone());
        assert!(text.starts_with(&lost), "{text}");
        assert!(all(trial::ops(), more).starts_with("change"), "where our home is not");
    }
    assert!(all(own(), json!({"mode": "0755"})).starts_with("change"));
}

#[test]
fn a_file_of_keys_keeps_a_key_and_an_access_that_sshd_takes() {
    let path = "/home/ops/.ssh/authorized_keys";
    let copy = |content: &str, more: Value| {
        let mut parameters = json!({"dest": path, "content": content, "owner": "ops", "mode": "0600"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parameters
    };
    let none = format!("leave no key in `{path}`");
    for content in ["", "# ssh-ed25519 AAAA me\n", "nothing\n"] {
        assert_refused("copy", &copy(content, json!({})), keys(KEYS), &none);
        // There is none to lose.
        assert_changes("copy", &copy(content, json!({})), keys("other\n"));
    }
    for content in ["ssh-rsa CCCC other\n", "from=\"10.0.0.0/8\" sk-ssh-ed25519@openssh.com DDDD\n"] {
        assert_changes("copy", &copy(content, json!({})), keys(KEYS));
    }
    let no_key = |what: &str| format!("{what} `{path}`, where sshd then takes no key");
    for (more, what) in [
        (json!({"mode": "0666"}), "let every user write to"),
        (json!({"mode": "0660", "group": "redis"}), "let a group write to"),
        (json!({"owner": "redis"}), "give another user"),
        (json!({"owner": "root", "group": "root"}), "keep it out of"),
        (json!({"mode": "0200"}), "keep it out of"),
    ] {
        assert_refused("copy", &copy(KEYS, more), keys(KEYS), &no_key(what));
    }
    assert_changes("copy", &copy(KEYS, json!({"owner": "root", "mode": "0644"})), keys(KEYS));
    assert_refused("file", &json!({"path": path, "mode": "0000"}), keys(KEYS), &no_key("keep it out of"));
    assert_refused("copy", &json!({"dest": path, "content": KEYS, "mode": "0600"}), Entry::Absent, &no_key("keep it out of"));
    // Lines that go.
    let only = "ssh-ed25519 AAAA me\n";
    let gone = |regexp: &str| json!({"path": path, "regexp": regexp, "state": "absent"});
    assert_refused("lineinfile", &gone("AAAA"), keys(only), &none);
    assert_changes("lineinfile", &gone("AAAA"), keys(KEYS));
    let block = format!("# BEGIN ANSIBLE MANAGED BLOCK\n{only}# END ANSIBLE MANAGED BLOCK\n");
    assert_refused("blockinfile", &json!({"path": path, "state": "absent", "block": ""}), keys(&block), &none);
    // Keys of others.
    let others = json!({"dest": "/home/other/.ssh/authorized_keys", "content": ""});
    assert_changes("copy", &others, keys(KEYS));
    // root reads everything.
    let parameters = json!({"dest": "/root/.ssh/authorized_keys", "content": KEYS, "mode": "0000"});
    let entry = Entry::File(File { attributes: owned(0, "root", 0o600), size: 0, content: Some(vec![]), sha256: None });
    assert!(shown(&verdict_as(root(), "copy", parameters, entry)).starts_with("change"));
}

#[test]
fn our_account_stays_with_its_shell_home_and_groups() {
    let verdict = |own: LoggedIn, kind: &str, parameters: Value| {
        let mut answers = Answers::default();
        trial::logged_in_as(&mut answers, own);
        answers.set::<User>(name("ops"), Ok(Some(trial::ops().entry)));
        for declared in [None, Some("/srv/ops"), Some("/home/ops")] {
            let declared = declared.map(|home| RemotePath::new(home).unwrap());
            answers.set::<Home>(HomeKey { user: name("ops"), declared }, Ok(HomeState::There));
        }
        for (group, gid) in [("ops", 1000), ("sudo", 27), ("adm", 4), ("users", 100)] {
            answers.set::<Group>(name(group), Ok(Some(GroupEntry { gid, members: vec![] })));
        }
        let resource = resource(kind, parameters).unwrap();
        let text = shown(&resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap());
        text.lines().next().unwrap().to_owned()
    };
    let refused = |kind: &str, parameters: Value, would: &str| {
        let text = verdict(trial::ops(), kind, parameters.clone());
        assert!(text.starts_with(&format!("refused: this would {would}")), "{parameters}: {text}");
        assert!(text.ends_with(
            ", and `ops` is the account with which this run logs in; to do it on purpose, log in as another user (`ansible_user`)"
        ));
        // Of another account it is a change like any other.
        let other = LoggedIn {
            name: "other".into(),
            named_groups: vec![],
            entry: UserEntry { groups: vec![], group: None, ..trial::ops().entry },
        };
        assert!(verdict(other, kind, parameters).starts_with("change"));
    };
    refused("user", json!({"name": "ops", "state": "absent"}), "remove an account");
    refused("user", json!({"name": "ops", "shell": "/usr/sbin/nologin"}), "make `/usr/sbin/nologin` the shell of an account");
    refused("user", json!({"name": "ops", "home": "/srv/ops"}), "make `/srv/ops`, where its keys are not, the home");
    refused("user", json!({"name": "ops", "groups": ["adm"]}), "take an account out of the group `sudo`");
    refused("user", json!({"name": "ops", "groups": []}), "take an account out of the group `sudo`");
    refused("group", json!({"name": "sudo", "state": "absent"}), "remove the group `sudo`");
    refused("group", json!({"name": "ops", "state": "absent"}), "remove the group `ops`");
    for parameters in [
        json!({"name": "ops", "groups": ["sudo"]}),
        json!({"name": "ops", "groups": ["users"], "append": true}),
        json!({"name": "ops", "groups": [], "group": "sudo"}),
        json!({"name": "ops", "comment": "Operators", "shell": "/bin/bash", "home": "/home/ops"}),
        json!({"name": "ops", "group": "users"}),
    ] {
        let text = verdict(trial::ops(), "user", parameters.clone());
        assert!(text.starts_with("change"), "{parameters}: {text}");
    }
    assert!(verdict(trial::ops(), "group", json!({"name": "adm", "state": "absent"})).starts_with("change"));
}

#[test]
fn what_this_run_comes_in_by_is_not_uninstalled() {
    let removal = |own: Option<LoggedIn>, package: &str, state: &str| {
        let mut answers = Answers::default();
        match own {
            Some(own) => trial::logged_in_as(&mut answers, own),
            None => trial::on_the_node_itself(&mut answers),
        }
        answers.set::<Package>(package.into(), Ok(Package::Installed { version: "1".into(), held: false }));
        let resource = resource("apt", json!({"name": package, "state": state, "purge": state == "absent"})).unwrap();
        shown(&resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap())
    };
    let server = "refused: this would remove `openssh-server`, the ssh server through which this run has come in";
    for package in ["openssh-server", "openssh-server:amd64"] {
        assert!(removal(Some(trial::ops()), package, "absent").starts_with(server));
        assert!(removal(Some(root()), package, "absent").starts_with(server));
        assert!(removal(None, package, "absent").starts_with("change"));
        assert_eq!(removal(Some(root()), package, "present"), "converged");
    }
    assert!(removal(Some(trial::ops()), "sudo", "absent").starts_with("refused: this would remove `sudo`, by which"));
    assert!(removal(Some(root()), "sudo", "absent").starts_with("change"));
    assert!(removal(Some(trial::ops()), "sudoku", "absent").starts_with("change"));
}

#[test]
fn sudo_is_given_no_file_that_it_would_not_take() {
    let file = |uid: u32, mode: u32| {
        Entry::File(File { attributes: owned(uid, "root", mode), size: 1, content: Some(b"x".to_vec()), sha256: None })
    };
    let refused = |kind: &str, parameters: Value, entry: Entry, why: &str| {
        let path = parameters["path"].as_str().or(parameters["dest"].as_str()).unwrap().to_owned();
        let expected = format!("refused: sudo would not take `{path}`, because {why}: ");
        let text = verdict(kind, parameters, entry);
        assert!(text.starts_with(&expected), "{text}");
    };
    let copy = |more: Value| {
        let mut parameters = json!({"dest": "/etc/sudoers.d/x", "content": "# y\n"});
        parameters.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        parameters
    };
    for entry in [Entry::Absent, file(0, 0o440)] {
        refused("copy", copy(json!({"owner": "ops"})), entry.clone(), "another user would own it");
        refused("copy", copy(json!({"mode": "0666"})), entry.clone(), "every user could write to it");
        refused("copy", copy(json!({"mode": "0660", "group": "ops"})), entry.clone(), "a group could write to it");
        for more in [json!({}), json!({"mode": "0440"}), json!({"mode": "0660"}), json!({"group": "ops"})] {
            assert_changes("copy", &copy(more), entry.clone());
        }
    }
    // It has not taken it before.
    assert_changes("copy", &copy(json!({})), file(7, 0o440));
    // It takes no such names.
    assert_changes("copy", &json!({"dest": "/etc/sudoers.d/x.y", "content": "", "mode": "0666"}), Entry::Absent);
    refused("file", json!({"path": "/etc/sudoers", "mode": "0666"}), file(0, 0o440), "every user could write to it");
    refused(
        "file",
        json!({"path": "/etc/sudoers.d/x", "state": "touch", "owner": "ops"}),
        Entry::Absent,
        "another user would own it",
    );
    let whole = json!({"path": "/etc/sudoers.d", "state": "directory", "mode": "0777"});
    refused("file", whole.clone(), Entry::Directory(owned(0, "root", 0o755)), "every user could write to it");
    refused("file", whole, Entry::Absent, "every user could write to it");
}

#[test]
fn the_ssh_server_is_not_ended() {
    let unit = |active: &str, file_state: &str| Unit {
        load: "loaded".into(),
        active: active.into(),
        file_state: file_state.into(),
        ..Unit::default()
    };
    let refusal = |parameters: Value, service: (&str, &str), socket: (&str, &str), earlier: &[Value], over_ssh: bool| {
        let mut answers = Answers::default();
        if over_ssh {
            trial::logged_in_as(&mut answers, trial::ops());
        } else {
            trial::on_the_node_itself(&mut answers);
        }
        answers.set::<Unit>("ssh.service".into(), Ok(unit(service.0, service.1)));
        answers.set::<Unit>("ssh.socket".into(), Ok(unit(socket.0, socket.1)));
        for other in ["sshd.service", "sshd.socket"] {
            answers.set::<Unit>(other.into(), Ok(Unit { load: "not-found".into(), ..unit("inactive", "") }));
        }
        let earlier: Vec<Box<dyn Resource>> =
            earlier.iter().map(|parameters| resource("systemd", parameters.clone()).unwrap()).collect();
        let earlier: Vec<&dyn Resource> = earlier.iter().map(AsRef::as_ref).collect();
        let resource = resource("systemd", parameters).unwrap();
        resource.refuse(&NodeState { answers: &answers, secrets: &SecretValues::default() }, &earlier)
    };
    let (up, down) = (("active", "enabled"), ("inactive", "disabled"));
    for (parameters, does) in [
        (json!({"name": "ssh", "state": "stopped"}), "stop"),
        (json!({"name": "ssh", "enabled": false}), "disable"),
        (json!({"name": "ssh", "masked": true}), "mask"),
        (json!({"name": "ssh.service", "state": "stopped", "enabled": false}), "stop"),
    ] {
        let words = refusal(parameters.clone(), up, down, &[], true).unwrap();
        assert!(words.starts_with(&format!("this would {does} `ssh.service`, the ssh server")), "{words}");
        assert!(words.ends_with("do it on the node's console"), "{words}");
        assert_eq!(refusal(parameters, up, down, &[], false), None, "without ssh");
    }
    for good in [
        json!({"name": "ssh", "state": "started"}),
        json!({"name": "ssh", "enabled": true, "masked": false}),
        json!({"name": "cron", "state": "stopped"}),
    ] {
        assert_eq!(refusal(good, up, down, &[], true), None);
    }
    // A socket starts the service again, unless it is masked.
    let stopped = || json!({"name": "ssh", "state": "stopped", "enabled": false});
    assert_eq!(refusal(stopped(), up, up, &[], true), None);
    assert_eq!(refusal(stopped(), down, up, &[], true), None);
    assert!(refusal(json!({"name": "ssh", "masked": true}), up, up, &[], true).is_some());
    assert!(refusal(json!({"name": "ssh", "masked": true}), down, up, &[], true).is_some());
    // The socket is needed where the service does not start at boot.
    let socket = || json!({"name": "ssh.socket", "state": "stopped", "enabled": false});
    assert!(refusal(socket(), down, up, &[], true).unwrap().contains("would stop `ssh.socket`"));
    assert!(refusal(socket(), ("active", "disabled"), up, &[], true).is_some());
    assert_eq!(refusal(socket(), up, up, &[], true), None);
    assert_eq!(refusal(socket(), up, ("inactive", "enabled"), &[], true), None);
    let service = json!({"name": "ssh", "state": "started", "enabled": true});
    assert_eq!(refusal(socket(), down, up, &[service], true), None);
    assert!(refusal(socket(), down, up, &[json!({"name": "ssh", "enabled": true})], true).is_some());
}
