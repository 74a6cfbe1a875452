use super::*;
use crate::{
    question::{Answers, redis_data::DataDirectory},
    resource::trial::NoFiles,
    secret::SecretValues,
};
use serde_json::json;

fn path(text: &str) -> RemotePath {
    RemotePath::new(text).unwrap()
}

/// The role's parameters, with these in place of or beside them.
fn parameters(more: &Value) -> Value {
    let mut parameters = json!({
        "path": "/data", "unit": "own.service", "foreign": ["/var/lib/redis", "/var/lib/redis-stack"],
        "help": "move its data to /data, or name the directory in redis_neighbour_dirs if it may stay",
    });
    for (name, value) in more.as_object().unwrap() {
        parameters[name] = value.clone();
    }
    parameters
}

/// What a node has: servers, and files with keys in directories.
#[derive(Default)]
struct Has<'a> {
    servers: Vec<Server>,
    files: Vec<(&'a str, &'a [&'a str])>,
    append_only: bool,
    volume: Option<(&'a str, &'a [&'a str])>,
}

/// Compares with a node that has only what was asked for.
fn compare(parameters: Value, has: &Has<'_>) -> Verdict {
    let resource = RedisExistingData::new(decode(parameters).unwrap()).unwrap();
    let mut asked = Questions::default();
    resource.questions(&mut asked);
    let mut answers = Answers::default();
    if resource.unit.is_some() {
        answers.set::<RedisServers>((), Ok(has.servers.clone()));
    }
    let found = |path: RemotePath, files: &[&str], append_only: bool| DataDirectory {
        path,
        append_only,
        with_keys: files.iter().map(ToString::to_string).collect(),
    };
    for place in resource.foreign.iter().cloned().map(Place::Directory).chain([resource.own.clone()]) {
        let answer = match &place {
            Place::Directory(path) => {
                let files = has.files.iter().find(|(at, _)| *at == path.as_str());
                files.map(|(_, files)| found(path.clone(), files, has.append_only))
            }
            Place::Volume(_) => has.volume.map(|(at, files)| found(path(at), files, has.append_only)),
        };
        answers.set::<RedisFiles>(place, Ok(answer));
    }
    assert_eq!(asked.count(), resource.foreign.len() + 1 + usize::from(resource.unit.is_some()));
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn server(unit: &str, directory: &str) -> Server {
    Server { pid: 412, unit: unit.into(), directory: directory.into() }
}

fn running(servers: &[Server]) -> Has<'static> {
    Has { servers: servers.to_vec(), ..Has::default() }
}

fn refusal(verdict: Verdict) -> String {
    let Verdict::Refused(why) = verdict else { panic!("not refused: {verdict:?}") };
    why
}

#[track_caller]
fn assert_converged(verdict: &Verdict) {
    assert!(matches!(verdict, Verdict::Converged { note: None }), "{verdict:?}");
}

#[test]
fn a_node_without_another_redis_is_converged() {
    assert_converged(&compare(parameters(&json!({})), &Has::default()));
    assert_converged(&compare(parameters(&json!({})), &running(&[server("own.service", "/data")])));
    let own = Has {
        files: vec![("/data", &["dump.rdb", "appendonlydir/appendonly.aof.1.base.rdb"])],
        append_only: true,
        ..Has::default()
    };
    assert_converged(&compare(parameters(&json!({})), &own));
    // Other files with keys in the own directory are not what Redis would start from.
    let own = Has { files: vec![("/data", &["old.rdb"]), ("/var/lib/redis", &[])], ..Has::default() };
    assert_converged(&compare(parameters(&json!({})), &own));
}

#[test]
fn another_server_that_runs_is_refused_wherever_its_data_is() {
    let why = refusal(compare(parameters(&json!({})), &running(&[server("redis-server.service", "/var/lib/redis")])));
    insta::assert_snapshot!(why, @"another Redis runs in /var/lib/redis (redis-server, pid 412, redis-server.service): stop it and move its data to /data, or name the directory in redis_neighbour_dirs if it may stay");
    // Also in the own directory, and without a unit; what the node says cannot control a terminal.
    let why = refusal(compare(parameters(&json!({})), &running(&[server("", "/data"), server("x.service", "/a\u{1b}\n")])));
    assert!(why.starts_with("another Redis runs in /data (redis-server, pid 412, no unit): stop it"), "{why}");
    assert!(why.contains(r"; another Redis runs in /a\u{1b}\n (redis-server"), "{why}");
}

#[test]
fn keys_of_another_redis_are_refused_by_the_first_file_of_each_directory() {
    let files: Vec<(&str, &[&str])> =
        vec![("/var/lib/redis", &["dump.rdb", "old.aof"]), ("/var/lib/redis-stack", &["appendonlydir/a.aof"])];
    let why = refusal(compare(parameters(&json!({})), &Has { files, ..Has::default() }));
    insta::assert_snapshot!(why, @"/var/lib/redis/dump.rdb holds keys of another Redis: move its data to /data, or name the directory in redis_neighbour_dirs if it may stay; /var/lib/redis-stack/appendonlydir/a.aof holds keys of another Redis: move its data to /data, or name the directory in redis_neighbour_dirs if it may stay");
}

#[test]
fn neighbours_may_stay_running_or_not() {
    let files: Vec<(&str, &[&str])> = vec![("/var/lib/redis", &["dump.rdb"])];
    let has = Has { servers: vec![server("redis-server.service", "/var/lib/redis")], files, ..Has::default() };
    for neighbours in [json!("/var/lib/redis"), json!(["/x", "/var/lib//redis/"])] {
        assert_converged(&compare(parameters(&json!({"neighbours": neighbours})), &has));
    }
    assert!(refusal(compare(parameters(&json!({"neighbours": ["/var/lib"]})), &has)).contains("; /var/lib/redis/dump.rdb"));
    // The own directory is not that of another Redis.
    let own = Has { files: vec![("/var/lib/redis", &["old.rdb"])], ..Has::default() };
    assert_converged(&compare(parameters(&json!({"path": "/var/lib/redis"})), &own));
}

#[test]
fn a_snapshot_that_redis_would_not_read_is_refused_with_the_commands_that_keep_it() {
    let snapshot = Has { files: vec![("/data", &["dump.rdb"])], ..Has::default() };
    // Naming the directory as a neighbour does not make Redis read it.
    for more in [json!({}), json!({"neighbours": "/data"})] {
        let why = refusal(compare(parameters(&more), &snapshot));
        insta::allow_duplicates! {
            insta::assert_snapshot!(why, @"/data/dump.rdb holds keys and has no append-only file beside it, so that Redis would start empty: mkdir -p /data/appendonlydir && mv /data/dump.rdb /data/appendonlydir/appendonly.aof.1.base.rdb && echo file appendonly.aof.1.base.rdb seq 1 type b >/data/appendonlydir/appendonly.aof.manifest");
        }
    }
    let odd = Has { files: vec![("/da ta", &["dump.rdb"])], ..Has::default() };
    let why = refusal(compare(parameters(&json!({"path": "/da ta"})), &odd));
    assert!(why.contains("mkdir -p '/da ta/appendonlydir' && mv '/da ta/dump.rdb' '/da ta/"), "{why}");
}

#[test]
fn a_volume_is_looked_at_where_docker_keeps_it() {
    let wanted = json!({"volume": "autobot-redis_redis_data"});
    assert_converged(&compare(wanted.clone(), &Has::default()));
    let other_server = Has { volume: Some(("/v", &["old.rdb"])), ..running(&[server("redis-server.service", "/var/lib/redis")]) };
    assert_converged(&compare(wanted.clone(), &other_server));
    let has = |append_only| Has { volume: Some(("/v/_data", &["dump.rdb"])), append_only, ..Has::default() };
    assert_converged(&compare(wanted.clone(), &has(true)));
    insta::assert_snapshot!(refusal(compare(wanted, &has(false))), @"/v/_data/dump.rdb holds keys and has no append-only file beside it, so that Redis would start empty: stop the container, then mkdir -p /v/_data/appendonlydir && mv /v/_data/dump.rdb /v/_data/appendonlydir/appendonly.aof.1.base.rdb && echo file appendonly.aof.1.base.rdb seq 1 type b >/v/_data/appendonlydir/appendonly.aof.manifest");
}

#[test]
fn without_help_the_ways_out_are_named_after_the_parameters() {
    let has = running(&[server("", "/x")]);
    let why = refusal(compare(json!({"path": "/data", "unit": "own"}), &has));
    assert!(why.ends_with("stop it and move its data to /data, or name the directory in `neighbours` if it may stay"), "{why}");
    let why = refusal(compare(json!({"volume": "v", "unit": "own"}), &has));
    assert!(why.contains("move its data to the volume `v`, or"), "{why}");
}

#[test]
fn a_question_without_an_answer_is_not_a_node_without_data() {
    let resource = RedisExistingData::new(decode(parameters(&json!({"foreign": []}))).unwrap()).unwrap();
    let own = Place::Directory(path("/data"));
    let hang = || Unanswered("asking took too long".into());
    for (servers, files) in [(Err(hang()), Ok(None)), (Ok(Vec::new()), Err(hang()))] {
        let mut answers = Answers::default();
        answers.set::<RedisServers>((), servers);
        answers.set::<RedisFiles>(own.clone(), files);
        assert_eq!(resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap_err(), hang());
    }
}

#[test]
fn wrong_parameters_are_errors_at_the_parameter() {
    let said = |parameters: Value| match from_parameters(parameters, &mut NoFiles).unwrap_err() {
        ParamError::Parameter { path, message } => format!("{path:?}: {message}"),
        other @ (ParamError::Word { .. } | ParamError::File(_)) => panic!("{other:?}"),
    };
    for parameters in [json!({}), json!({"unit": "x"}), json!({"path": "/x", "volume": "y"})] {
        assert_eq!(said(parameters), "[]: say either `path` or `volume`: where Redis keeps its data");
    }
    for name in ["", "-f", "a b", "a/b", "$(id)", "a\nb", ".x"] {
        assert!(said(json!({"volume": name})).starts_with("[Key(\"volume\")]: "), "{name:?}");
    }
    assert!(said(json!({"path": "/x", "unit": "a b"})).starts_with("[Key(\"unit\")]: `a b` is not a valid unit name"));
    assert!(said(json!({"path": "data"})).starts_with("[Key(\"path\")]: "));
    assert!(said(json!({"path": "/x", "foreign": ["/y", "../z"]})).starts_with("[Key(\"foreign\")"));
    assert!(said(json!({"path": "/x", "neighbours": "y"})).starts_with("[Key(\"neighbours\")"));
}
