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
fn is_of(id: &str, task: &str) -> bool {
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

/// How each task of the role is undone. A task may occur more than once.
const UNDO: &[(&str, &str)] = &[
    ("Create the configuration directory", "chmod 0700 /etc/autobot"),
    ("Install CA certificates", "dpkg --purge --force-depends ca-certificates"),
    ("Add the Redis repository", "rm /etc/apt/sources.list.d/redis.sources"),
    ("Restrict the Redis repository to Redis packages", "echo 'Package: *' >>/etc/apt/preferences.d/autobot-redis"),
    ("Create the drop-in directory for the vendor's unit", "chmod 0700 /etc/systemd/system/redis-stack-server.service.d"),
    ("Prevent the vendor's unit from starting", "rm /etc/systemd/system/redis-stack-server.service.d/10-autobot.conf"),
    ("Prevent the vendor's unit from starting", "rm -r /etc/systemd/system/redis-stack-server.service.d"),
    ("Install Redis", "dpkg --purge --force-depends redis-stack-server"),
    ("Give root ownership of the programs of Redis Stack", "chown nobody /opt/redis-stack/bin"),
    ("Give root ownership of the programs of Redis Stack", "chown nobody:nogroup /opt/redis-stack/bin/redis-cli"),
    ("Create the group redis", "systemctl stop autobot-database-redis; userdel redis; ! getent group redis || groupdel redis"),
    ("Create the user redis", "usermod -s /bin/sh redis"),
    ("Create the user redis", "systemctl stop autobot-database-redis; userdel redis; groupadd --system redis"),
    ("Create the parent directories of the data", "chmod 0700 /opt/autobot"),
    ("Create the parent directories of the data", "chown redis /opt/autobot/data"),
    ("Create the Redis data directory", "chmod 0755 /opt/autobot/data/redis"),
    ("Configure Redis", "echo 'maxclients 5' >>/etc/autobot/redis.conf"),
    ("Configure Redis", "rm /etc/autobot/redis.conf"),
    ("Configure Redis", "chmod 0600 /etc/autobot/redis.conf"),
    (
        "Switch on an append-only file that was switched off",
        "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) redis-cli config set appendonly no",
    ),
    (
        "Set the running Redis back to its configuration",
        "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) redis-cli acl setuser default nopass",
    ),
    (
        "Set the running Redis back to its configuration",
        "REDISCLI_AUTH=$(sed -n 's/^REDIS_PASSWORD=//p' /etc/autobot/database-secrets.env) redis-cli config set requirepass other",
    ),
    ("Create the AutoBot program directory", "rm -r /usr/local/lib/autobot"),
    ("Install the readiness check", "chmod 0644 /usr/local/lib/autobot/redis-ready"),
    ("Install the Redis unit", "echo '# mine' >>/etc/systemd/system/autobot-database-redis.service"),
    (
        "Install the Redis unit",
        "systemctl stop autobot-database-redis; rm /etc/systemd/system/autobot-database-redis.service; systemctl daemon-reload",
    ),
    ("Allow the kernel to overcommit memory", "rm /etc/sysctl.d/60-autobot-redis.conf"),
    ("Start Redis", "systemctl stop autobot-database-redis"),
    ("Start Redis", "systemctl disable autobot-database-redis"),
    (
        "Restart Redis if its program was replaced",
        "cd /opt/redis-stack/bin; cp -p redis-server new-server; mv new-server redis-server",
    ),
    ("Create the directories for settings of new clusters", "chmod 0700 /etc/postgresql-common/createcluster.d"),
    ("Prevent packages from creating clusters", "rm /etc/postgresql-common/createcluster.d/50-autobot.conf"),
    ("Install PostgreSQL", "dpkg --remove --force-depends postgresql-15"),
    ("Create the PostgreSQL cluster", "touch /var/lib/autobot-provision/cluster-15-main"),
    ("Create the PostgreSQL cluster", "pg_dropcluster --stop 15 main"),
    ("Create the drop-in directory for PostgreSQL's unit", "chmod 0700 /etc/systemd/system/postgresql.service.d"),
    ("Declare an alias for PostgreSQL's unit", "rm /etc/systemd/system/postgresql.service.d/10-autobot-alias.conf"),
    ("Link the alias to PostgreSQL's unit", "rm /etc/systemd/system/autobot-database-postgres.service"),
    ("Start PostgreSQL", "systemctl stop postgresql@15-main"),
    ("Start PostgreSQL", "systemctl stop postgresql"),
    (
        "Restart PostgreSQL if its program was replaced",
        "cd /usr/lib/postgresql/15/bin; cp -p postgres new-postgres; mv new-postgres postgres",
    ),
    ("Enable PostgreSQL at boot", "systemctl disable postgresql"),
    ("Create the owner of the users database", "runuser -u postgres -- psql -qc 'alter role autobot_users createdb'"),
    (
        "Create the owner of the users database",
        r#"runuser -u postgres -- psql -qc "alter role autobot_users password 'another'""#,
    ),
    (
        "Create the owner of the users database",
        "runuser -u postgres -- psql -qc 'drop database autobot_users' -c 'drop role autobot_users'",
    ),
    ("Create the users database", "runuser -u postgres -- psql -qc 'drop database autobot_users'"),
    ("Install the firewall", "ufw --force disable; dpkg --purge --force-depends ufw"),
    // The rule with the source keeps this very test from being locked out.
    ("Allow SSH through the firewall", "ufw allow from 198.18.0.0/16 to any port 22 proto tcp; ufw --force delete allow 22/tcp"),
    ("Allow the fleet to reach Redis", "ufw --force delete allow proto tcp from 198.18.0.0/16 to any port 6379"),
    ("Enable the firewall and deny everything else", "ufw --force disable"),
    ("Enable the firewall and deny everything else", "ufw default allow incoming"),
];

#[test]
fn with_any_single_task_undone_a_check_predicts_what_mends_it() {
    let node = TestNode::converged();
    settle(&node);
    let project = shipped(&node);
    for (task, undo) in UNDO {
        node.sh(&format!("cd /\n{undo}"));
        let what = format!("`{task}` undone by `{undo}`");
        let changed = deploys_as_checked(&project, HOST, &what, &[]);
        assert!(changed.iter().any(|id| is_of(id, task)), "{what}: {changed:#?}");
    }
    // Every task that can change something is in the table: a new one needs a line there.
    let check = project.json(&["deploy", "--check"]).host(HOST);
    let declares = |task: &&serde_json::Value| {
        task["kind"] == "task"
            && task["status"] != "skipped"
            && !["assert", "port_owner", "redis_existing_data", "redis_settings", "command"]
                .contains(&task["resource"].as_str().unwrap())
    };
    let ids = check["tasks"].as_array().unwrap().iter().filter(declares).map(|task| task["id"].as_str().unwrap());
    let missing: Vec<&str> = ids.filter(|id| !UNDO.iter().any(|(task, _)| is_of(id, task))).collect();
    assert_eq!(missing, Vec::<&str>::new(), "how are these undone?");
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
