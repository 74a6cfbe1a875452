//! Tests of `user` with answers, and of the shell that makes a home.

use std::{fs, os::unix::fs::MetadataExt as _, process::Command};

use serde_json::json;

use super::*;
use crate::{
    question::{Answers, account::GroupEntry},
    resource::{
        content::tests::{NoFiles, rendered, shown},
        trial,
    },
    secret::SecretValues,
};

fn name(name: &str) -> AccountName {
    AccountName::new(name).unwrap()
}

fn redis() -> UserEntry {
    UserEntry {
        uid: 101,
        gid: 102,
        group: Some("redis".into()),
        comment: "Redis".into(),
        home: "/var/lib/redis".into(),
        shell: "/usr/sbin/nologin".into(),
        groups: vec!["adm".into(), "ssl-cert".into()],
    }
}

fn compare(parameters: serde_json::Value, user: Option<UserEntry>, groups: &[(&str, u32)]) -> Verdict {
    compare_with_home(parameters, user, groups, HomeState::There)
}

fn compare_with_home(parameters: serde_json::Value, user: Option<UserEntry>, groups: &[(&str, u32)], home: HomeState) -> Verdict {
    let declared = parameters["home"].as_str().map(|home| RemotePath::new(home).unwrap());
    let resource = from_parameters(parameters, &mut NoFiles).unwrap();
    let mut answers = Answers::default();
    answers.set::<Home>(HomeKey { user: name("redis"), declared }, Ok(home));
    trial::on_the_node_itself(&mut answers);
    answers.set::<User>(name("redis"), Ok(user));
    for group in ["redis", "adm", "ssl-cert", "mail"] {
        let known = groups.iter().find(|(known, _)| *known == group);
        answers.set::<Group>(name(group), Ok(known.map(|(_, gid)| GroupEntry { gid: *gid, members: Vec::new() })));
    }
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

const ALL: &[(&str, u32)] = &[("redis", 102), ("adm", 4), ("ssl-cert", 103), ("mail", 8)];

#[test]
fn an_account_as_declared_is_converged() {
    for parameters in [
        json!({"name": "redis"}),
        json!({"user": "redis", "uid": 101, "group": "redis", "home": "/var/lib/redis", "shell": "/usr/sbin/nologin"}),
        json!({"name": "redis", "groups": "ssl-cert, adm", "comment": "Redis", "system": true}),
        json!({"name": "redis", "groups": ["adm"], "append": true}),
    ] {
        assert_eq!(shown(&compare(parameters, Some(redis()), ALL)), "converged");
    }
    assert_eq!(shown(&compare(json!({"name": "redis", "state": "absent"}), None, ALL)), "converged");
}

#[test]
fn a_new_account_is_made_as_declared() {
    let parameters = json!({
        "name": "redis", "group": "mail", "groups": ["adm", "ssl-cert"], "home": "/opt/a b", "shell": "/bin/false",
        "comment": "it's $(reboot)", "system": true, "create_home": false, "uid": 999,
    });
    let verdict = compare(parameters, None, ALL);
    insta::assert_snapshot!(shown(&verdict), @r"
    change: create
    + user redis
    + uid 999
    + group mail
    + groups adm,ssl-cert
    + home /opt/a b
    + shell /bin/false
    + comment it's $(reboot)
    ");
    insta::assert_snapshot!(rendered(&verdict).lines().next().unwrap(), @r"set -- redis --uid 999 --gid mail --groups adm,ssl-cert --home-dir '/opt/a b' --shell /bin/false --comment 'it'\''s $(reboot)' --system --no-create-home");
}

#[test]
fn a_group_of_the_same_name_becomes_the_group_of_a_new_account() {
    assert!(rendered(&compare(json!({"name": "redis"}), None, ALL)).starts_with("set -- redis --gid redis --create-home\n"));
    assert!(rendered(&compare(json!({"name": "redis"}), None, &[])).starts_with("set -- redis --create-home\n"));
}

#[test]
fn each_drift_is_named_and_corrected() {
    let cases = [
        (json!({"name": "redis", "group": "mail"}), "--gid mail"),
        (json!({"name": "redis", "groups": "adm"}), "--groups adm"),
        (json!({"name": "redis", "groups": []}), "--groups ''"),
        (json!({"name": "redis", "groups": ["mail"], "append": "yes"}), "--groups adm,mail,ssl-cert"),
        (json!({"name": "redis", "home": "/srv"}), "--home /srv"),
        (json!({"name": "redis", "shell": "/bin/sh"}), "--shell /bin/sh"),
        (json!({"name": "redis", "comment": ""}), "--comment ''"),
    ];
    for (parameters, options) in cases {
        let verdict = compare(parameters, Some(redis()), ALL);
        assert!(shown(&verdict).starts_with("change (replaces): "), "{verdict:?}");
        assert!(rendered(&verdict).starts_with(&format!("set -- {options} -- redis\n")), "{}", rendered(&verdict));
    }
}

#[test]
fn missing_groups_block() {
    let text = shown(&compare(json!({"name": "redis", "group": "mail", "groups": "adm"}), Some(redis()), &[]));
    assert!(text.starts_with("blocked by group `mail`, group `adm` (replaces): group, groups\n"), "{text}");
    assert!(
        shown(&compare(json!({"name": "redis", "groups": "mail"}), None, &[])).starts_with("blocked by group `mail`: create\n")
    );
}

#[test]
fn another_number_is_refused() {
    assert!(
        shown(&compare(json!({"name": "redis", "uid": 1}), Some(redis()), ALL)).starts_with("refused: user `redis` has uid 101")
    );
}

#[test]
fn removal_keeps_the_home_directory() {
    let verdict = compare(json!({"name": "redis", "state": "absent"}), Some(redis()), ALL);
    assert_eq!(shown(&verdict), "change (replaces): remove\n- user redis\n");
    assert!(rendered(&verdict).contains("userdel -- \"$1\""));
}

#[test]
fn values_that_passwd_cannot_hold_are_refused() {
    for wrong in [
        json!({"name": "redis", "comment": "a:b"}),
        json!({"name": "redis", "comment": "a\nb"}),
        json!({"name": "redis", "home": "/a:b"}),
        json!({"name": "redis", "groups": "a b"}),
        json!({"name": "redis", "append": true}),
        json!({"name": "redis", "password": "x"}),
    ] {
        assert!(from_parameters(wrong, &mut NoFiles).is_err());
    }
}

#[test]
fn a_home_that_is_not_there_is_made() {
    let missing = |parameters| compare_with_home(parameters, Some(redis()), ALL, HomeState::Missing);
    let made = missing(json!({"name": "redis"}));
    assert_eq!(shown(&made), "change: home directory\n= user redis\n+ the directory /var/lib/redis\n");
    assert!(rendered(&made).starts_with("set -- /var/lib/redis redis\n"), "{}", rendered(&made));
    let moved = missing(json!({"name": "redis", "home": "/opt/h2"}));
    assert!(shown(&moved).starts_with("change (replaces): home, home directory\n"), "{}", shown(&moved));
    assert!(rendered(&moved).starts_with("set -- /opt/h2 redis --home /opt/h2 -- redis\n"), "{}", rendered(&moved));
    assert_eq!(shown(&missing(json!({"name": "redis", "create_home": false}))), "converged");
    let nowhere = |parameters| {
        let user = UserEntry { home: "/nonexistent".into(), ..redis() };
        shown(&compare_with_home(parameters, Some(user), ALL, HomeState::Missing))
    };
    assert_eq!(nowhere(json!({"name": "redis"})), "converged");
    assert!(nowhere(json!({"name": "redis", "home": "/nonexistent"})).starts_with("change: home directory\n"));
}

#[test]
fn the_home_is_made_whole_and_belongs_to_its_user() {
    let scratch = tempfile::tempdir().unwrap();
    let home = scratch.path().join("a/b c");
    let make = |user: &str| {
        let script = Script::new(WITH_HOME).using(WAY).using(MAKE_HOME).arg(home.to_str().unwrap()).arg(user);
        let done = trial::run(&script, scratch.path());
        (done.status, done.stderr)
    };
    assert_ne!(make("no-such-one").0, 0);
    assert!(!home.exists());
    assert_eq!(make("daemon"), (0, String::new()));
    let metadata = fs::metadata(&home).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (1, 1));
    let wanted = Command::new("sh")
        .args(["-c", "sed -n 's/^HOME_MODE[[:space:]]*//p' /etc/login.defs"])
        .output()
        .map(|done| String::from_utf8(done.stdout).unwrap())
        .unwrap();
    let mode = format!("{:04o}", metadata.mode() & 0o7777);
    assert_eq!(mode, if wanted.trim().is_empty() { "0755" } else { wanted.trim() });
    assert_eq!(fs::metadata(home.parent().unwrap()).unwrap().uid(), 0);
    for entry in fs::read_dir("/etc/skel").unwrap() {
        let copy = fs::symlink_metadata(home.join(entry.unwrap().file_name())).unwrap();
        assert_eq!((copy.uid(), copy.gid()), (1, 1));
    }
    // What is there stays, and nothing is left beside it.
    fs::write(home.join("kept"), "").unwrap();
    assert_eq!(make("daemon"), (0, String::new()));
    assert!(home.join("kept").exists());
    assert_eq!(fs::read_dir(home.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn a_taken_number_is_foreseen() {
    let refusal = |holders: &[&str], earlier: &[&dyn Resource]| {
        let user = from_parameters(json!({"name": "redis", "uid": 4322}), &mut NoFiles).unwrap();
        let mut answers = Answers::default();
        answers.set::<Holder>(Held::Uid(4322), Ok(holders.iter().map(ToString::to_string).collect()));
        user.refuse(&NodeState { answers: &answers, secrets: &SecretValues::default() }, earlier)
    };
    assert_eq!(refusal(&[], &[]), None);
    assert_eq!(refusal(&["redis"], &[]), None);
    insta::assert_snapshot!(refusal(&["gu2"], &[]).unwrap(), @"the uid 4322 of the new user `redis` is taken by the user `gu2`: choose another `uid`, or leave it out");
    let other = |name: &str| from_parameters(json!({"name": name, "state": "absent"}), &mut NoFiles).unwrap();
    assert_eq!(refusal(&["gu2"], &[other("gu2").as_ref()]), None);
    assert!(refusal(&["gu2"], &[other("gu3").as_ref()]).is_some());
    let group = crate::resource::content::tests::resource("group", json!({"name": "redis"})).unwrap();
    assert!(refusal(&["gu2"], &[group.as_ref()]).is_some(), "a new group frees no number");
}
