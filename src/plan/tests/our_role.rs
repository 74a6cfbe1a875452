//! The shipped roles, as far as they can be tested without a node.

use super::*;
use crate::{
    question::{
        Answers,
        locale::Locales,
        pg_files::{ClusterFiles, PgFiles, PgLayout},
    },
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

/// Returns why a task of role `postgresql_server` is refused on a node with these files, where the cluster is to be created or not.
fn refusal(variables: &[&str], task: &str, files: PgLayout, creates: bool) -> Option<String> {
    let mut world = World::stand_in();
    world.registers.insert("cluster".to_owned(), json!({"changed": creates, "skipped": false}));
    let plan = plan(&[&["autobot_roles=postgresql_server"], variables].concat());
    let mut answers = Answers::default();
    answers.set::<PgFiles>((), Ok(files));
    answers.set::<Locales>((), Ok(vec!["C.utf8".to_owned()]));
    let is = NodeState { answers: &answers, secrets: &SecretValues::default() };
    match resource(&plan, task, &world).compare(&is).unwrap() {
        Verdict::Refused(why) => Some(why),
        Verdict::Converged { .. } | Verdict::Change(_) | Verdict::Blocked { .. } => None,
    }
}

/// A node with a cluster of this name and port.
fn with_cluster(name: &str, port: &str) -> PgLayout {
    let files = ClusterFiles { port: Some(port.to_owned()), data: true, started: true, mark: false };
    PgLayout { clusters: [(name.to_owned(), files)].into(), ..PgLayout::default() }
}

#[test]
fn the_cluster_of_a_node_is_kept_and_another_one_is_refused() {
    let refused = |variables: &[&str], files: PgLayout| refusal(variables, "Create the PostgreSQL cluster", files, false);
    assert_eq!(refused(&["postgresql_port=5433"], PgLayout::default()), None, "a new cluster");
    assert_eq!(refused(&[], with_cluster("15/main", "5432")), None);
    assert_eq!(refused(&["postgresql_port=5433"], with_cluster("15/main", "5433")), None);
    for (variables, files, expected) in [
        (
            &["postgresql_port=5433"][..],
            with_cluster("15/main", "5432"),
            "PostgreSQL 15/main listens on port 5432, and port 5433 is",
        ),
        (
            &["postgresql_version=14"],
            with_cluster("15/main", "5432"),
            "this node has the PostgreSQL cluster 15/main, and 14/main is",
        ),
        (&[], with_cluster("15/other", "5433"), "this node has the PostgreSQL cluster 15/other, and 15/main is asked for"),
        (&["postgresql_locale=de_DE.UTF-8"], with_cluster("15/main", "5432"), "this node has no UTF-8 locale `de_DE.UTF-8`"),
    ] {
        let why = refused(variables, files).unwrap_or_default();
        assert!(why.starts_with(expected), "{variables:?}: {why}");
    }
}

#[test]
fn a_new_cluster_needs_a_version_that_the_release_has() {
    let task = "Check that this release provides the PostgreSQL version";
    let refused = |variables: &[&str], creates: bool| refusal(variables, task, PgLayout::default(), creates);
    assert_eq!(refused(&[], true), None);
    assert_eq!(refused(&["postgresql_version=13"], false), None, "it exists, from an earlier release");
    assert_eq!(refused(&["postgresql_version=17", "postgresql_repo=pgdg"], true), None);
    let why = refused(&["postgresql_version=17"], true).unwrap();
    assert!(why.starts_with("bookworm has PostgreSQL 15, and 17 is asked for: leave postgresql_version out"), "{why}");
}

#[test]
fn a_locale_that_is_not_utf_8_is_an_error_before_anything_is_contacted() {
    let errors = loaded(&["autobot_roles=postgresql_server", "postgresql_locale=C.ISO-8859-1"]).err().unwrap().to_string();
    let expected = "wrong `locale` of `postgresql_cluster`: `C.ISO-8859-1` does not fit the encoding UTF8: it can be `C`, `POSIX`, or one that";
    assert!(errors.contains(expected) && errors.contains("\n1 error"), "{errors}");
}

#[test]
fn a_directory_of_another_redis_that_is_no_path_is_an_error_before_anything_is_contacted() {
    let errors = loaded(&["autobot_roles=redis", r#"{"redis_neighbour_dirs": ["/srv/a", "srv/b"]}"#]).err().unwrap().to_string();
    let expected = "wrong `neighbours` of `redis_existing_data`: `srv/b` is not an absolute path\n   --> roles/redis/role.yml:";
    assert!(errors.contains(expected) && errors.contains("neighbours: \"{{ redis_neighbour_dirs }}\"\n"), "{errors}");
}
