//! The shipped roles, as far as they can be tested without a node.

use super::*;
use crate::{
    question::Answers,
    resource::{NodeState, Verdict},
    secret::SecretValues,
};

/// The shipped roles on the shipped inventory.
fn plan(extra_vars: &[&str]) -> Plan {
    loaded(extra_vars).unwrap_or_else(|errors| panic!("{errors}"))
}

fn loaded(extra_vars: &[&str]) -> Result<Plan, Diagnostics> {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let request = Request {
        project: project.to_owned(),
        inventories: vec![InventorySource::Path(project.join("inventory"))],
        extra_vars: extra_vars.iter().map(|variable| (*variable).to_owned()).collect(),
        ..Request::default()
    };
    load(&request)
}

/// Returns the resource of a task in this world.
fn resource(plan: &Plan, name: &str, world: &World) -> Box<dyn Resource> {
    let mut steps = plan.hosts[0].roles.iter().flat_map(|role| &role.steps);
    let step = steps.find(|step| step.name() == name).unwrap_or_else(|| panic!("no task `{name}`"));
    match step.expand(world).unwrap_or_else(|errors| panic!("{errors}")).remove(0).action {
        Action::Do(resource) => resource,
        Action::Skip { reason } => panic!("{reason}"),
    }
}

/// Returns the memory limit of Redis in MB on a node with this much memory.
fn maxmemory(plan: &Plan, memtotal_mb: u32) -> String {
    let mut world = World::stand_in();
    world.facts["memtotal_mb"] = json!(memtotal_mb);
    let shown = format!("{:?}", resource(plan, "Configure Redis", &world));
    let (_, after) = shown.split_once("maxmemory ").unwrap();
    after.split_once("mb").unwrap().0.to_owned()
}

#[test]
fn a_node_with_little_memory_still_limits_redis() {
    // 0 would be no limit at all.
    for role in ["redis", "redis_container"] {
        let plan = plan(&[&format!("autobot_roles={role}")]);
        assert_eq!(
            [0, 100, 255, 256, 511, 512].map(|memory| maxmemory(&plan, memory)),
            ["128", "128", "128", "128", "128", "256"]
        );
    }
}

#[test]
fn a_little_more_or_less_memory_does_not_reconfigure_redis() {
    let plan = plan(&[]);
    let maxmemory = |memtotal_mb| maxmemory(&plan, memtotal_mb);
    assert_eq!([7936, 7939, 7976, 8191].map(maxmemory), ["3968"; 4]);
    assert_eq!([1024, 2009].map(maxmemory), ["512", "896"]);
}

#[test]
fn a_little_more_or_less_memory_does_not_restart_postgresql() {
    let plan = plan(&["autobot_roles=postgresql"]);
    let buffers = |memtotal_mb: u32| {
        let mut world = World::stand_in();
        world.facts["memtotal_mb"] = json!(memtotal_mb);
        let shown = format!("{:?}", resource(&plan, "Configure PostgreSQL", &world));
        let size = |name: &str| shown.split_once(&format!("{name} = '")).unwrap().1.split_once('\'').unwrap().0.to_owned();
        (size("shared_buffers"), size("effective_cache_size"))
    };
    let of = |shared: &str, cached: &str| (shared.to_owned(), cached.to_owned());
    // What Linux reports for 4 GB.
    assert_eq!([3790, 3911, 3936, 4050].map(buffers), [(); 4].map(|()| of("448MB", "1792MB")));
    assert_eq!([984, 64_000].map(buffers), [of("128MB", "512MB"), of("4096MB", "32000MB")]);
}

#[test]
fn the_postgresql_repository_is_the_projects_own_unless_a_mirror_is_set() {
    let pgdg = ["autobot_roles=postgresql_server", "postgresql_repo=pgdg", "postgresql_version=17"];
    let shown = |more: &[&str]| {
        let plan = plan(&[&pgdg[..], more].concat());
        let mut world = World::stand_in();
        world.facts["distribution_release"] = json!("noble");
        format!(
            "{:?} {:?}",
            resource(&plan, "Add the PostgreSQL repository", &world),
            resource(&plan, "Install PostgreSQL", &world)
        )
    };
    let usual = shown(&[]);
    for part in [
        "https://apt.postgresql.org/pub/repos/apt",
        "noble-pgdg",
        "https://www.postgresql.org/media/keys/ACCC4CF8.asc",
        "postgresql-17",
    ] {
        assert!(usual.contains(part), "{part}: {usual}");
    }
    let mirror = shown(&["postgresql_repo_url=https://mirror.example/pgdg", "postgresql_repo_suite=noble-pgdg-archive"]);
    assert!(
        mirror.contains("https://mirror.example/pgdg")
            && mirror.contains("noble-pgdg-archive")
            && !mirror.contains("apt.postgresql.org"),
        "{mirror}"
    );
}

#[test]
fn one_node_may_have_all_of_user_management_but_not_two_secrets_of_one_name() {
    let one = ["users_db_host=slm", "slm_db_host=slm"];
    let with = |roles| loaded(&[&one[..], &[roles]].concat());
    assert!(with(r#"{"autobot_roles": ["user_management_db", "redis"]}"#).is_ok());
    let errors = with(r#"{"autobot_roles": ["postgresql", "user_management_db"]}"#).err().unwrap().to_string();
    assert!(errors.contains("the secret `DB_PASSWORD` is declared twice, with different settings"), "{errors}");
    assert!(errors.contains("or move its role to another host"), "{errors}");
}

#[test]
fn a_port_where_postgresql_does_not_listen_is_refused() {
    let refusal = |found: &str, wanted: &str| {
        let mut world = World::stand_in();
        let mut answer = World::stand_in_result(true);
        answer["stdout"] = json!(found);
        world.registers.insert("cluster_port".to_owned(), answer);
        let plan = plan(&[wanted]);
        let is = NodeState { answers: &Answers::default(), secrets: &SecretValues::default() };
        match resource(&plan, "Check that the existing cluster uses the declared port", &world).compare(&is).unwrap() {
            Verdict::Refused(why) => why,
            Verdict::Converged { .. } => String::new(),
            other @ (Verdict::Change(_) | Verdict::Blocked { .. }) => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal("", "postgresql_port=5433"), "", "a new cluster");
    assert_eq!(refusal("5432", "postgresql_port=5432"), "");
    assert_eq!(refusal("5433", "postgresql_port=5433"), "");
    insta::assert_snapshot!(refusal("5432", "postgresql_port=5433"), @"PostgreSQL 15/main listens on port 5432, and postgresql_port is 5433: set `postgresql_port: 5432`. To move the cluster, deploy with its port, then say on the node `pg_conftool 15 main set port 5433` and `systemctl restart postgresql`, and only then set postgresql_port");
}

#[test]
fn the_port_is_read_as_postgresql_reads_it() {
    let role = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("roles/postgresql_server/role.yml")).unwrap();
    let (_, after) = role.split_once("- name: Read the port of the existing cluster\n").unwrap();
    let (_, after) = after.split_once("- |\n").unwrap();
    let (script, _) = after.split_once("        - sh\n").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("postgresql.conf");
    let port = || {
        let output = std::process::Command::new("/bin/sh").args(["-c", script, "sh"]).arg(&file).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(port(), "", "no cluster yet");
    for (text, expected) in [
        ("#port = 5444\nmax_connections = 100\n", "5432"),
        ("port = 5433\t\t\t# (change requires restart)\n", "5433"),
        ("port=5433\nport_of_nothing = 1\nsupport = 2\n", "5433"),
        ("  PORT '5434'\n", "5434"),
        ("port = 5433\nport = 5435\n", "5435"),
    ] {
        std::fs::write(&file, text).unwrap();
        assert_eq!(port(), expected, "{text}");
    }
}
