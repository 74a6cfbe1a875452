//! Role `user_management_db` on two nodes: who may do what in which database, who may come from where, and what the backend is told.

mod access;
mod matrix;
mod privileges;
mod role;

use std::{fmt::Write as _, sync::OnceLock};

use sqlx::{Connection as _, PgConnection};

use crate::harness::{PostgresTunnel, Project, RunResult, TestNode};

/// Both nodes, deployed, and their project.
struct Pair {
    database_vm: TestNode,
    slm: TestNode,
    project: Project,
}

/// The project for two nodes; `vars` are for both.
fn project(database_vm: &TestNode, slm: &TestNode, vars: &str) -> Project {
    let hosts = [("database_vm", database_vm, ""), ("slm", slm, "")];
    let project = Project::shipped(&hosts);
    project.inventory(&hosts, "user_management_db", vars);
    project
}

/// The first deploy of two bare nodes, after which their disks are kept for copies.
fn first() -> &'static RunResult {
    static FIRST: OnceLock<RunResult> = OnceLock::new();
    FIRST.get_or_init(|| {
        let (database_vm, slm) = (TestNode::bare(), TestNode::bare());
        let pair = Pair { project: project(&database_vm, &slm, ""), database_vm, slm };
        // The backend's node alone cannot know the password that the other will make.
        let alone = pair.project.json(&["deploy", "--limit", "slm"]);
        alone.assert_code(1);
        let words = alone.failure("slm");
        assert!(
            words.contains("of `database_vm`, where it lives: deploy the role `user_management_db` on `database_vm` first"),
            "{words}"
        );
        let postgresql = pair.slm.try_sh("ls /usr/lib/postgresql");
        assert!(!postgresql.status.success(), "it was refused, and changed the node");
        let deploy = pair.deploy(&[]);
        pair.database_vm.freeze("users-database_vm");
        pair.slm.freeze("users-slm");
        deploy
    })
}

/// Copies of those nodes. They have other addresses, which changes who may come from where, and what the backend is told.
fn pair() -> Pair {
    first();
    let (database_vm, slm) = (TestNode::copy("users-database_vm"), TestNode::copy("users-slm"));
    let pair = Pair { project: project(&database_vm, &slm, ""), database_vm, slm };
    pair.deploy(&[]);
    pair
}

impl Pair {
    /// Checks and deploys; the check foretells the deploy, and then nothing is left to do.
    #[track_caller]
    fn deploy(&self, extra: &[&str]) -> RunResult {
        let check = self.project.json(&[&["deploy", "--check"], extra].concat());
        check.assert_code(0);
        let deploy = self.project.json(&[&["deploy"], extra].concat());
        deploy.assert_code(0);
        let again = self.project.json(&[&["deploy", "--detailed-exitcode"], extra].concat());
        again.assert_code(0);
        for host in ["database_vm", "slm"] {
            let (deploys_as_checked, unknown) = (check.ids(host, "changed"), check.ids(host, "unknown"));
            let changed = deploy.ids(host, "changed");
            assert!(deploys_as_checked.is_subset(&changed), "{deploys_as_checked:?} {changed:?}");
            assert!(
                changed.is_subset(&deploys_as_checked.union(&unknown).cloned().collect()),
                "{deploys_as_checked:?} {unknown:?} {changed:?}"
            );
            assert_eq!(deploy.host(host)["unpredicted"], serde_json::json!([]), "{}", deploy.stdout);
            assert_eq!(again.host(host)["round_trips"], 1, "{}", again.stdout);
        }
        deploy
    }

    /// The value of a key in an env file.
    fn secret(node: &TestNode, file: &str, key: &str) -> String {
        let value = node.sh(&format!("sed -n 's/^{key}=//p' /etc/autobot/{file}"));
        assert!(!value.is_empty(), "no {key}");
        value
    }

    fn owner_password(&self) -> String {
        Self::secret(&self.database_vm, "database-secrets.env", "DB_PASSWORD")
    }

    fn app_password(&self) -> String {
        Self::secret(&self.database_vm, "database-secrets.env", "AUTOBOT_APP_PASSWORD")
    }

    fn slm_password(&self) -> String {
        Self::secret(&self.slm, "slm-secrets.env", "SLM_APP_PASSWORD")
    }

    /// A URL of the backend's file, as libpq reads it.
    fn url(&self, key: &str) -> String {
        let url = Self::secret(&self.slm, "slm-database.env", key);
        let rest = url.strip_prefix("postgresql+asyncpg:").unwrap_or_else(|| panic!("{key} is another URL"));
        format!("postgresql:{rest}")
    }
}

/// SQL as the superuser of a node.
fn psql(node: &TestNode, database: &str, sql: &str) -> String {
    let mut script = format!("cd /; runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d {database} <<'END'\n");
    let _ = writeln!(script, "{sql}\nEND");
    node.sh(&script)
}

/// Logs in over the node's loopback; the refusal's SQLSTATE otherwise.
async fn login(node: &PostgresTunnel, user: &str, password: &str, database: &str) -> Result<PgConnection, String> {
    PgConnection::connect_with(&node.options(user, password, database)).await.map_err(|error| state(&error))
}

/// The SQLSTATE of a refusal.
fn state(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.map_or_else(|| format!("no refusal: {error}"), std::borrow::Cow::into_owned)
}

fn wait_for<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
