//! A check is accurate: the following deploy changes exactly what the check predicted, and then nothing is left to change.
//!
//! Role `redis` is checked after each of its tasks, with each of its tasks undone, and in parts.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::harness::{Project, RunResult, TestNode};

const HOST: &str = "database_vm";

/// Runs a check and two deploys: the first must do what the check predicts, and the second nothing. Returns what changed.
#[track_caller]
pub fn deploys_as_checked(project: &Project, host: &str, what: &str, arguments: &[&str]) -> BTreeSet<String> {
    let deploy = [&["deploy"], arguments].concat();
    let check = project.json(&[deploy.as_slice(), &["--check"]].concat());
    check.assert_code(0);
    let predicted = check.ids(host, "changed");
    assert_eq!(check.ids(host, "unknown"), BTreeSet::new(), "{what}");
    let deployed = project.json(&deploy);
    deployed.assert_code(0);
    assert_eq!(predicted, deployed.ids(host, "changed"), "{what}: predicted (left), changed (right)");
    assert_eq!(deployed.host(host)["unpredicted"], json!([]), "{what}");
    let again = project.json(&deploy);
    again.assert_code(0);
    assert_eq!(again.ids(host, "changed"), BTreeSet::new(), "{what}: the second deploy");
    assert_eq!(again.host(host)["unpredicted"], json!([]), "{what}: the second deploy");
    predicted
}

/// Waits until a node has finished booting.
pub fn settle(node: &TestNode) {
    node.try_sh("systemctl is-system-running --wait");
}

/// A shipped role file, in parts.
pub struct RoleFile {
    name: &'static str,
    head: String,
    /// Each task's name and lines.
    pub tasks: Vec<(String, String)>,
    handlers: String,
}

impl RoleFile {
    /// Role `redis` and the one that it requires, in the order in which they are deployed.
    pub fn all() -> [Self; 2] {
        let server = include_str!("../../roles/postgresql_server/role.yml");
        [Self::parse("postgresql_server", server), Self::parse("redis", include_str!("../../roles/redis/role.yml"))]
    }

    fn parse(name: &'static str, text: &str) -> Self {
        let (head, rest) = text.split_once("\ntasks:\n").unwrap();
        let (rest, _health) = rest.split_once("\nhealth:\n").unwrap();
        let (tasks, handlers) = rest.split_once("\nhandlers:\n").unwrap_or((rest, ""));
        let tasks = tasks.split("  - name: ").skip(1).map(|task| {
            let name = task.lines().next().unwrap().to_owned();
            (name, format!("  - name: {task}"))
        });
        Self { name, head: head.to_owned(), tasks: tasks.collect(), handlers: handlers.to_owned() }
    }

    /// A role that ends, as if it had been interrupted, after its first `count` tasks: handlers are left pending.
    pub fn first(&self, count: usize) -> String {
        let tasks: String = self.tasks[..count].iter().map(|(_, lines)| lines.as_str()).collect();
        let stop = "  - name: Stop here\n    command: {cmd: exit 1, creates: /nowhere}\n    tags: [redis, postgresql]\n";
        let handlers = if self.handlers.is_empty() { String::new() } else { format!("\nhandlers:\n{}", self.handlers) };
        format!("{}\ntasks:\n{tasks}{stop}{handlers}", self.head)
    }
}

/// Returns whether an item belongs to this task: the task itself, or an iteration of its loop. The roles share no task names.
pub fn is_of(id: &str, task: &str) -> bool {
    let rest = id.split_once('/').and_then(|(_, id)| id.strip_prefix(task));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(" ("))
}

/// Returns the items that changed or would change, without handlers: those depend on what else happens in a run.
fn changes(ran: &RunResult) -> BTreeSet<String> {
    let tasks = ran.tasks(HOST).into_iter();
    tasks.filter(|task| task.status == "changed" && task.kind != "handler").map(|task| task.id).collect()
}

fn shipped(node: &TestNode) -> Project {
    Project::shipped(&[(HOST, node, "")])
}

/// Walks through the role task by task. After each task, a check must name exactly the changes that the remaining tasks then make. After
/// some of them the whole remaining deploy is also made, on a copy of the node.
#[test]
fn after_every_first_k_tasks_a_check_predicts_the_rest() {
    const ON_A_COPY: &[&str] = &["Install PostgreSQL", "Create the group redis", "Start Redis", "Create the users database"];
    let roles = RoleFile::all();
    let mut node = TestNode::bare();
    let mut project = shipped(&node);
    let check = |project: &Project| {
        let check = project.json(&["deploy", "--check"]);
        check.assert_code(0);
        assert_eq!(check.ids(HOST, "unknown"), BTreeSet::new());
        changes(&check)
    };
    let mut predicted = check(&project);
    let mut by_others = BTreeMap::new();
    let steps = roles.iter().flat_map(|role| role.tasks.iter().enumerate().map(move |(index, (task, _))| (role, index, task)));
    for (role, index, task) in steps {
        if !predicted.iter().any(|id| is_of(id, task)) {
            continue;
        }
        let part = shipped(&node);
        part.write(&format!("roles/{}/role.yml", role.name), &role.first(index + 1));
        let deployed = part.json(&["deploy"]);
        deployed.assert_code(1);
        assert_eq!(deployed.ids(HOST, "failed"), BTreeSet::from([format!("{}/Stop here", role.name)]), "{}", deployed.stdout);
        assert_eq!(deployed.host(HOST)["unpredicted"], json!([]), "{task}");
        let changed = changes(&deployed);
        let expected =
            predicted.iter().filter(|id| is_of(id, task) || (id.starts_with("redis/secret ") && changed.contains(*id)));
        assert_eq!(changed, expected.cloned().collect(), "{task}: changed (left), predicted (right)");
        if ON_A_COPY.contains(&task.as_str()) {
            let frozen = format!("walk-{}-{index}", role.name);
            node.freeze(&frozen);
            let copy = TestNode::copy(&frozen);
            settle(&copy);
            deploys_as_checked(&shipped(&copy), HOST, &format!("on a copy after `{task}`"), &[]);
            node = TestNode::copy(&frozen);
            settle(&node);
            project = shipped(&node);
        }
        let rest: BTreeSet<String> = predicted.difference(&changed).cloned().collect();
        predicted = check(&project);
        assert!(predicted.is_subset(&rest), "`{task}` undid something: {predicted:#?}");
        let by_this: Vec<String> = rest.difference(&predicted).cloned().collect();
        if !by_this.is_empty() {
            by_others.insert(task.as_str(), by_this);
        }
    }
    assert_eq!(predicted, BTreeSet::new());
    let started = ["Enable PostgreSQL at boot", "Start PostgreSQL (postgresql.service)"];
    let started = started.map(|task| format!("postgresql_server/{task}")).to_vec();
    assert_eq!(by_others, BTreeMap::from([("Install PostgreSQL", started)]), "which tasks do what others declare");
    let left = deploys_as_checked(&project, HOST, "after all tasks", &[]);
    assert!(left.is_subset(&BTreeSet::from(["redis/restart redis".to_owned()])), "{left:?}");
}

#[test]
fn a_part_chosen_by_tags_is_predicted_too_and_a_package_that_starts_its_unit_is_named() {
    let node = TestNode::bare();
    let project = shipped(&node);
    let redis = deploys_as_checked(&project, HOST, "--tags redis", &["--tags", "redis"]);
    assert!(redis.contains("redis/Start Redis") && redis.contains("redis/secret REDIS_PASSWORD"), "{redis:#?}");
    assert!(!redis.contains("postgresql_server/Install PostgreSQL") && !redis.contains("redis/secret DB_PASSWORD"), "{redis:#?}");

    let check = project.json(&["deploy", "--tags", "postgresql", "--check"]);
    let deploy = project.json(&["deploy", "--tags", "postgresql"]);
    deploy.assert_code(0);
    assert_eq!(check.ids(HOST, "changed"), deploy.ids(HOST, "changed"));
    assert_eq!(deploy.host(HOST)["unpredicted"], json!([]));
    for (unit, by) in [("postgresql.service", "by `"), ("postgresql@15-main.service", "")] {
        let id = format!("postgresql_server/Start PostgreSQL ({unit})");
        let task_of = |ran: &RunResult| ran.tasks(HOST).into_iter().find(|task| task.id == id).unwrap();
        assert_eq!(task_of(&check).status, "changed");
        assert_eq!(task_of(&deploy).status, "changed");
        assert!(task_of(&deploy).summary.starts_with(by), "{:?}", task_of(&deploy));
    }
    let whole = deploys_as_checked(&project, HOST, "the whole role after its parts", &[]);
    assert_eq!(whole, BTreeSet::new());
}
