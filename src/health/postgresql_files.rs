//! Check `postgresql_files`: the server goes by its files as they are, and will start with them.

use super::{Finding, HealthCheck};
use crate::{
    question::{
        Questions, Unanswered,
        pg_cluster::{Cluster, PgCluster},
    },
    resource::{Files, Kind, NodeState, ParamError, ServerRules, cannot_reload, decode, row, rules_query, schema::parameters},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "postgresql_files",
    about: "The server has read its access rules and settings as its files have them now",
    example: r#"read:
  postgresql_files: {version: "15"}"#,
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(PostgresqlFiles::new(decode(parameters)?)?)),
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The cluster's name.
        cluster: String = "main",
        /// The cluster's version of PostgreSQL; may be left out where there is one.
        version: Option<String>,
        /// The file in `conf.d` that `postgresql_conf` writes.
        settings_file: String = "50-autobot.conf",
    }
}

#[derive(Debug)]
struct PostgresqlFiles {
    cluster: Cluster,
    settings_file: String,
}

impl PostgresqlFiles {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let cluster = Cluster::new(given.cluster, given.version).map_err(|(name, reason)| ParamError::parameter(name, reason))?;
        Ok(Self { cluster, settings_file: given.settings_file })
    }
}

impl HealthCheck for PostgresqlFiles {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<PgCluster>(rules_query(self.cluster.clone()));
    }

    fn examine(&self, node: &NodeState<'_>) -> Result<Finding, Unanswered> {
        let found = node.answers.get::<PgCluster>(&rules_query(self.cluster.clone()))?;
        let [version] = found.versions.as_slice() else {
            return Ok(Finding::Unhealthy(format!("there are {} clusters `{}`", found.versions.len(), self.cluster.name)));
        };
        let server: ServerRules = match row(&found.server)? {
            Ok(server) => server,
            Err(why) => return Ok(Finding::Unhealthy(why.to_owned())),
        };
        let reload = format!("`systemctl reload postgresql@{version}-{}`, or a deploy, makes it read that", self.cluster.name);
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        if !server.errors.is_empty() {
            problems.push(format!("PostgreSQL does not accept the rules in pg_hba.conf: {}", server.errors.join("; ")));
        } else if found.file.as_ref().is_some_and(|file| file.is_unread(server.loaded)) {
            problems.push(format!("the server lets clients in by rules from before the last change of pg_hba.conf: {reload}"));
        }
        problems.extend(cannot_reload(&server.unreadable));
        let own = format!("/conf.d/{}", self.settings_file);
        for file in &server.unread {
            let what = format!("the server has the settings from before the last change of `{file}`");
            // It goes by settings that were right once: no client is shut out, and no stranger let in.
            warnings.push(if file.ends_with(&own) { format!("{what}: {reload}") } else { what });
        }
        if !server.pending.is_empty() {
            warnings.push(format!("waits for a restart of PostgreSQL: {}", server.pending.join(", ")));
        }
        if problems.is_empty() {
            return Ok(Finding::with_warnings(&warnings, String::new()));
        }
        problems.extend(warnings);
        Ok(Finding::of_problems(&problems, String::new()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{
            Answers,
            pg_cluster::{ClusterInfo, ConfigFile, ServerAnswer},
        },
        secret::SecretValues,
        values::Mode,
    };
    use serde_json::{Value, json};

    fn examine(server: ServerAnswer) -> Finding {
        let check = PostgresqlFiles::new(decode(json!({"version": "15"})).unwrap()).unwrap();
        let file =
            ConfigFile { content: Vec::new(), mode: Mode(0o640), owner: "postgres:postgres".into(), regular: true, changed: 0 };
        let found = ClusterInfo { versions: vec!["15".into()], file: Some(file), server };
        let mut answers = Answers::default();
        answers.set::<PgCluster>(rules_query(check.cluster.clone()), Ok(found));
        check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    fn with(column: &str, value: Value) -> Finding {
        let mut row = json!({"hba_file": "/etc/postgresql/15/main/pg_hba.conf", "loaded": 10_000, "errors": [], "unreadable": [],
            "unread": [], "pending": []});
        row[column] = value;
        examine(ServerAnswer::Row(row))
    }

    #[test]
    fn whatever_the_server_has_not_read_is_named() {
        assert_eq!(with("loaded", json!(10_000)), Finding::Healthy(String::new()));
        let sick = |finding: Finding| match finding {
            Finding::Unhealthy(why) => why,
            other @ (Finding::Healthy(_) | Finding::Warning { .. } | Finding::Skipped(_)) => panic!("{other:?}"),
        };
        let ours = json!(["/etc/postgresql/15/main/conf.d/50-autobot.conf"]);
        insta::assert_snapshot!([
            sick(with("loaded", json!(9_999))),
            sick(with("errors", json!(["line 4: no"]))),
            sick(with("unreadable", json!(["/x.conf, line 3: syntax error"]))),
            sick(examine(ServerAnswer::Unavailable("its server is not running".into()))),
        ].join("\n"), @"
        the server lets clients in by rules from before the last change of pg_hba.conf: `systemctl reload postgresql@15-main`, or a deploy, makes it read that
        PostgreSQL does not accept the rules in pg_hba.conf: line 4: no
        PostgreSQL reads none of its files again, nor starts again, while one of them has an error: /x.conf, line 3: syntax error; correct or remove that line
        its server is not running
        ");
        let warned = |finding: Finding| match finding {
            Finding::Warning { warning, .. } => warning,
            other @ (Finding::Healthy(_) | Finding::Unhealthy(_) | Finding::Skipped(_)) => panic!("{other:?}"),
        };
        assert!(
            warned(with("unread", ours))
                .ends_with("50-autobot.conf`: `systemctl reload postgresql@15-main`, or a deploy, makes it read that")
        );
        assert_eq!(warned(with("pending", json!(["max_connections"]))), "waits for a restart of PostgreSQL: max_connections");
        assert!(
            warned(with("unread", json!(["/etc/postgresql/15/main/postgresql.conf"])))
                .ends_with("`/etc/postgresql/15/main/postgresql.conf`")
        );
    }
}
