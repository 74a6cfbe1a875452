//! Compose's answers, read as recorded, and asked of a stand-in for Docker.

use super::*;
use crate::resource::trial::{fake, run};

fn project(directory: &str, files: &[&str]) -> Project {
    let path = |path: &str| RemotePath::new(path).unwrap();
    Project { directory: path(directory), files: files.iter().map(|file| path(file)).collect() }
}

fn read(text: &str) -> Result<Answer, Unanswered> {
    Compose::read(&[&project("/srv", &[])], &Output { status: 0, stdout: text.as_bytes().to_vec() }).remove(0)
}

#[test]
fn services_and_containers_are_read_and_single_runs_are_left_out() {
    let text = "service redis 0af1\nservice web-1 77\ncontainer running \"redis\" \"0af1\" \"False\"\n\
                container exited \"redis\" \"0af1\" \"True\"\ncontainer exited \"a b\\nend\" \"\" \"\"\nend\n";
    let Ok(Answer::Found { services, containers }) = read(text) else { panic!() };
    assert_eq!(services[1], Service { name: "web-1".into(), hash: "77".into() });
    let containers: Vec<_> = containers.iter().map(|one| (one.state.as_str(), one.service.as_str())).collect();
    assert_eq!(containers, [("running", "redis"), ("exited", "a b\nend")]);
    assert_eq!(read("end\n"), Ok(Answer::Found { services: vec![], containers: vec![] }));
}

#[test]
fn what_cannot_be_read_is_no_answer() {
    for text in [
        "",
        "service redis 1\n",
        "service redis\nend\n",
        "container running\nend\n",
        "container running \"a\" \"b\"\nend\n",
        "container running \"a\" \"b\" \"c\" \"d\"\nend\n",
        "container running \"a\nend\n",
        "something else\nend\n",
        "failed ps\nend\n",
    ] {
        assert!(read(text).is_err(), "{text:?}");
    }
    let late = Compose::read(&[&project("/srv", &[])], &Output { status: 124, stdout: Vec::new() }).remove(0);
    assert!(late.unwrap_err().0.contains("took too long"));
}

#[test]
fn what_a_node_lacks_is_told_for_each_project() {
    let (one, two) = (project("/a", &[]), project("/b", &[]));
    for (text, lack) in [("docker", Lack::Docker), ("compose", Lack::Compose), ("daemon", Lack::Daemon)] {
        let output = Output { status: 0, stdout: format!("lacks {text}\n").into_bytes() };
        assert_eq!(Compose::read(&[&one, &two], &output), [Ok(Answer::Lacks(lack)), Ok(Answer::Lacks(lack))]);
    }
}

/// Runs the script with a Docker that answers from files beside it.
fn ask(tools: &std::path::Path, projects: &[&Project]) -> Vec<Result<Answer, Unanswered>> {
    let done = run(&Compose::script(projects), tools);
    Compose::read(projects, &Output { status: done.status, stdout: done.stdout })
}

const DOCKER: &str = r#"
printf '%s\n' "$*" >>"$TOOLS/calls"
case $* in
  info) [ ! -e "$TOOLS/off" ]; exit ;;
  'compose version') [ ! -e "$TOOLS/old" ]; exit ;;
  *'config --hash *') echo 'level=warning' >&2; [ ! -e "$TOOLS/broken" ] || exit 15; echo 'redis 0af1' ;;
  *'config --quiet') echo 'level=warning'; echo 'services.redis.image is missing' >&2; exit 15 ;;
  *'ps --all --quiet') [ ! -e "$TOOLS/ids" ] || cat "$TOOLS/ids" ;;
  'container inspect --format '*' -- abc def') printf 'running "redis" "0af1" "False"\nexited "redis" "99" "True"\n' ;;
  *) exit 1 ;;
esac"#;

#[test]
fn the_script_asks_docker_about_each_project_by_itself() {
    let tools = tempfile::tempdir().unwrap();
    let plain = tools.path().join("a b; touch owned $(id)'");
    std::fs::create_dir(&plain).unwrap();
    let plain = plain.to_str().unwrap();
    std::fs::write(format!("{plain}/compose.yml"), "").unwrap();
    std::fs::write(format!("{plain}/-f"), "").unwrap();
    let named = project(plain, &[&format!("{plain}/-f"), &format!("{plain}/compose.yml")]);
    let usual = project(plain, &[]);
    let without = project(plain, &[&format!("{plain}/none.yml")]);
    let nowhere = project("/no/such/directory", &[]);
    let empty = tempfile::tempdir().unwrap();
    let empty = project(empty.path().to_str().unwrap(), &[]);
    fake(tools.path(), "docker", DOCKER);
    let found = |containers| Answer::Found { services: vec![Service { name: "redis".into(), hash: "0af1".into() }], containers };
    let projects = [&named, &nowhere, &without, &usual, &empty];
    let expected = [
        Ok(found(vec![])),
        Ok(Answer::NoDirectory),
        Ok(Answer::NoFile(Some(format!("{plain}/none.yml")))),
        Ok(found(vec![])),
        Ok(Answer::NoFile(None)),
    ];
    assert_eq!(ask(tools.path(), &projects), expected);
    let calls = std::fs::read_to_string(tools.path().join("calls")).unwrap();
    let config = format!("compose --project-directory {plain} -f {plain}/-f -f {plain}/compose.yml config --hash *");
    assert!(calls.lines().any(|call| call == config), "{calls}");

    std::fs::write(tools.path().join("ids"), "abc\ndef\n").unwrap();
    let running = Container { service: "redis".into(), hash: "0af1".into(), state: "running".into() };
    assert_eq!(ask(tools.path(), &[&usual]), [Ok(found(vec![running]))]);
    std::fs::write(tools.path().join("ids"), "gone\n").unwrap();
    assert!(ask(tools.path(), &[&usual])[0].as_ref().unwrap_err().0.contains("inspect"));

    std::fs::write(tools.path().join("broken"), "").unwrap();
    assert_eq!(ask(tools.path(), &[&usual]), [Ok(Answer::Refused("services.redis.image is missing".into()))]);
    std::fs::write(tools.path().join("off"), "").unwrap();
    assert_eq!(ask(tools.path(), &[&usual]), [Ok(Answer::Lacks(Lack::Daemon))]);
    std::fs::write(tools.path().join("old"), "").unwrap();
    assert_eq!(ask(tools.path(), &[&usual]), [Ok(Answer::Lacks(Lack::Compose))]);
}
