//! Every answer of Compose, compared with what is declared, and the scripts, run with a stand-in for Docker.

use super::*;
use crate::{
    question::Answers,
    resource::trial::{NoFiles, change, fake, run, shown},
    secret::SecretValues,
};
use serde_json::json;

fn compare(parameters: Value, answer: Answer) -> Verdict {
    let resource = decode_project(parameters).unwrap();
    let mut answers = Answers::default();
    answers.set::<Compose>(resource.project.clone(), Ok(answer));
    resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
}

fn found(containers: &[(&str, &str, &str)]) -> Answer {
    let service = |name: &str| Service { name: name.into(), hash: format!("{name}-1") };
    let container = |&(service, hash, state): &(&str, &str, &str)| Container {
        service: service.into(),
        hash: hash.into(),
        state: state.into(),
    };
    Answer::Found { services: vec![service("redis"), service("web")], containers: containers.iter().map(container).collect() }
}

fn summary(verdict: Verdict) -> String {
    change(verdict).summary
}

#[test]
fn services_that_run_are_converged_whatever_their_files_say() {
    let running = [("redis", "redis-1", "running"), ("web", "old", "running")];
    assert!(matches!(compare(json!({"project_src": "/srv"}), found(&running)), Verdict::Converged { note: None }));
    // One of two containers is enough, and other services do not count.
    let one = [("redis", "redis-1", "exited"), ("redis", "redis-1", "running"), ("other", "x", "dead")];
    assert!(matches!(compare(json!({"project_src": "/srv", "services": "redis"}), found(&one)), Verdict::Converged { .. }));
}

#[test]
fn what_will_be_created_recreated_and_started_is_told() {
    let there = [("redis", "redis-1", "exited")];
    let verdict = change(compare(json!({"project_src": "/srv"}), found(&there)));
    assert_eq!(verdict.summary, "start redis, create web");
    assert_eq!(shown(&verdict.diff), "- redis exited\n+ redis running\n+ web running");
    assert!(verdict.replaces);
    assert!(!change(compare(json!({"project_src": "/srv"}), found(&[]))).replaces);
    for state in ["exited", "created", "dead", "paused", "restarting"] {
        let old = [("redis", "older", state), ("web", "web-1", "running")];
        assert_eq!(summary(compare(json!({"project_src": "/srv"}), found(&old))), "recreate redis", "{state}");
    }
}

#[test]
fn stopped_and_absent_are_about_the_containers_that_there_are() {
    let some = [("redis", "redis-1", "running"), ("web", "web-1", "exited"), ("redis", "redis-1", "restarting")];
    let stopped = json!({"project_src": "/srv", "state": "stopped"});
    assert_eq!(summary(compare(stopped.clone(), found(&some))), "stop redis");
    assert!(matches!(compare(stopped, found(&some[1..2])), Verdict::Converged { .. }));
    let web = json!({"project_src": "/srv", "state": "stopped", "services": ["web"]});
    assert!(matches!(compare(web, found(&some)), Verdict::Converged { .. }));
    let absent = json!({"project_src": "/srv", "state": "absent"});
    assert_eq!(summary(compare(absent.clone(), found(&some[..2]))), "remove redis, remove web");
    assert!(matches!(compare(absent.clone(), found(&[])), Verdict::Converged { note: None }));
    let Verdict::Converged { note: Some(note) } = compare(absent, Answer::NoFile(None)) else { panic!() };
    assert_eq!(note, "nothing to remove: a compose file in `/srv` does not exist");
    let without = |lack| compare(json!({"project_src": "/srv", "state": "absent"}), Answer::Lacks(lack));
    assert!(matches!(without(Lack::Docker), Verdict::Converged { .. }));
    assert!(matches!(without(Lack::Daemon), Verdict::Blocked { .. }), "containers may be there");
}

#[test]
fn without_docker_the_run_is_refused_if_the_role_says_what_to_do() {
    for (lack, refused, missing) in [
        (Lack::Docker, "this node has no Docker: install it", "Docker does not exist"),
        (Lack::Compose, "Docker has no plugin `compose` here: install it", "Docker's plugin `compose` does not exist"),
        (Lack::Daemon, "the Docker daemon does not answer (systemctl status docker): install it", "does not exist"),
    ] {
        let Verdict::Refused(said) = compare(json!({"project_src": "/srv", "help": "install it"}), Answer::Lacks(lack)) else {
            panic!()
        };
        assert_eq!(said, refused);
        let Verdict::Blocked { missing: lacks, .. } = compare(json!({"project_src": "/srv"}), Answer::Lacks(lack)) else {
            panic!()
        };
        assert!(crate::resource::do_not_exist(&lacks).ends_with(missing), "{lacks:?}");
    }
}

#[test]
fn what_an_earlier_task_may_still_make_blocks() {
    let missing = |parameters: Value, answer| {
        let Verdict::Blocked { missing, change } = compare(parameters, answer) else { panic!() };
        format!("{} ({})", crate::values::missing::list(&missing), change.summary)
    };
    let plain = json!({"project_src": "/srv"});
    assert_eq!(missing(plain.clone(), Answer::NoDirectory), "directory `/srv` (create and start)");
    assert_eq!(missing(plain.clone(), Answer::NoFile(Some("/srv/a.yml".into()))), "file `/srv/a.yml` (create and start)");
    assert_eq!(missing(plain.clone(), Answer::NoFile(None)), "a compose file in `/srv` (create and start)");
    assert_eq!(
        missing(plain, Answer::Refused("no image".into())),
        "a compose file in `/srv` that Docker accepts (no image) (create and start)"
    );
    assert_eq!(
        missing(json!({"project_src": "/srv", "services": ["rediss"], "state": "stopped"}), found(&[])),
        "service `rediss` in the compose file of `/srv` (nothing more once it exists)"
    );
}

#[test]
fn the_scripts_call_compose_with_the_words_as_they_are() {
    let tools = tempfile::tempdir().unwrap();
    fake(tools.path(), "docker", "printf '[%s]' \"$@\" >\"$TOOLS/call\"; exit 3");
    let called = |parameters: Value| {
        let done = run(&decode_project(parameters).unwrap().script(), tools.path());
        assert_eq!(done.status, 3, "{done:?}");
        std::fs::read_to_string(tools.path().join("call")).unwrap()
    };
    let hostile = json!({"project_src": "/a b/$(id)", "files": ["-f", "/c/'d.yml"], "services": "redis"});
    assert_eq!(
        called(hostile),
        "[compose][--project-directory][/a b/$(id)][-f][/a b/$(id)/-f][-f][/c/'d.yml][up][--detach][redis]"
    );
    assert_eq!(called(json!({"project_src": "/a", "state": "absent"})), "[compose][--project-directory][/a][down]");
    assert_eq!(called(json!({"project_src": "/a", "state": "stopped"})), "[compose][--project-directory][/a][stop]");
}

#[test]
fn a_handler_restarts_or_recreates() {
    let command = |parameters: Value| handler_command(parameters, &mut NoFiles).map(|command| *command);
    assert_eq!(
        command(json!({"project_src": "/a b", "files": "c.yml", "recreate": "always", "services": ["redis"]})).unwrap(),
        "docker compose --project-directory '/a b' -f '/a b/c.yml' up --detach --force-recreate redis"
    );
    assert_eq!(
        command(json!({"project_src": "/a", "state": "restarted"})).unwrap(),
        "docker compose --project-directory /a restart"
    );
    for wrong in [json!({"project_src": "/a"}), json!({"project_src": "/a", "state": "restarted", "recreate": "always"})] {
        assert!(command(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn wrong_parameters_are_errors() {
    for (parameters, words) in [
        (json!({"project_src": "srv"}), "not an absolute path"),
        (json!({"project_src": "/srv", "files": [""]}), "empty"),
        (json!({"project_src": "/srv", "files": ["../a.yml"]}), "`..`"),
        (json!({"project_src": "/srv", "files": ["a\nb"]}), "line break"),
        (json!({"project_src": "/srv", "services": ["--help"]}), "not the name of a service"),
        (json!({"project_src": "/srv", "services": ["a b"]}), "not the name of a service"),
        (json!({"project_src": "/srv", "state": "restarted"}), "notify a handler"),
        (json!({"project_src": "/srv", "state": "absent", "services": ["a"]}), "leave `services` out"),
    ] {
        let error = decode_project(parameters).unwrap_err();
        assert!(format!("{error:?}").contains(words), "{error:?}");
    }
}
