//! Check `postgresql_files`: the server goes by its files as they are, and will start with them.

use super::{Finding, HealthCheck};
use crate::{
    question::{
        Questions, Unanswered,
        pg_cluster::{Cluster, Freshness, PgCluster},
    },
    resource::{Files, Kind, NodeState, ParamError, ServerRules, cannot_reload, decode, row, rules_query, schema::parameters},
    values::Flag,
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
        /// Whether a rule may let clients in without a password; say `false` where no task declares the rules.
        trust: Flag = true,
    }
}

#[derive(Debug)]
struct PostgresqlFiles {
    cluster: Cluster,
    settings_file: String,
    may_trust: bool,
}

impl PostgresqlFiles {
    fn new(given: Parameters) -> Result<Self, ParamError> {
        let cluster = Cluster::new(given.cluster, given.version).map_err(|(name, reason)| ParamError::parameter(name, reason))?;
        Ok(Self { cluster, settings_file: given.settings_file, may_trust: given.trust.0 })
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
        let reload = format!("`systemctl reload postgresql@{version}-{}`", self.cluster.name);
        // Where no task declares the rules, no deploy loads them.
        let ways = if self.may_trust { format!("{reload}, or a deploy,") } else { reload };
        let (own, reload) = (format!("/conf.d/{}", self.settings_file), format!("{ways} makes it read that"));
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let freshness = found.file.as_ref().map_or(Freshness::Read, |file| file.freshness(server.loaded));
        match (&server.errors[..], freshness) {
            ([], Freshness::Read) => {}
            ([], Freshness::Unread) => problems
                .push(format!("the server lets clients in by rules from before the last change of pg_hba.conf: {reload}")),
            ([], Freshness::Unknown) => warnings.push(format!(
                "pg_hba.conf has another mode, owner, name or times since the server read it, so that it is not known whether its rules are \
                 those of the file: {ways} makes sure"
            )),
            (errors, _) => {
                problems.push(format!("PostgreSQL does not accept the rules in pg_hba.conf: {}", errors.join("; ")));
            }
        }
        problems.extend(cannot_reload(&server.unreadable));
        problems.extend(server.without_tls().filter(|_| !server.hostssl.is_empty()));
        if !self.may_trust && !server.trust.is_empty() {
            let lines = server.trust.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
            problems
                .push(format!("pg_hba.conf lets clients in without a password (`trust`), which nothing declares: line {lines}"));
        }
        for file in &server.unread {
            let what = format!("the server has the settings from before the last change of `{file}`");
            // Those of other files, no deploy loads.
            if file.ends_with(&own) { problems.push(format!("{what}: {reload}")) } else { warnings.push(what) }
        }
        for file in server.gone.iter().filter(|file| file.ends_with(&own)) {
            problems.push(format!("the server has settings of `{file}`, which is gone: a deploy writes it"));
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
        examine_of(json!({"version": "15"}), 0, server)
    }

    fn examine_of(parameters: Value, modified: i64, server: ServerAnswer) -> Finding {
        let check = PostgresqlFiles::new(decode(parameters).unwrap()).unwrap();
        let file = ConfigFile {
            content: Vec::new(),
            mode: Mode(0o640),
            owner: "postgres:postgres".into(),
            regular: true,
            changed: 0,
            modified,
        };
        let found = ClusterInfo { versions: vec!["15".into()], file: Some(file), server };
        let mut answers = Answers::default();
        answers.set::<PgCluster>(rules_query(check.cluster.clone()), Ok(found));
        check.examine(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    fn row() -> Value {
        json!({"hba_file": "/etc/postgresql/15/main/pg_hba.conf", "loaded": 10_000, "errors": [], "unreadable": [],
            "unread": [], "pending": [], "ssl": true, "ssl_place": null, "hostssl": [], "trust": [], "gone": []})
    }

    fn with(column: &str, value: Value) -> Finding {
        let mut row = row();
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
            sick(with("unread", ours)),
            sick(with("gone", json!(["/x/conf.d/50-autobot.conf"]))),
            sick(with("errors", json!(["line 4: no"]))),
            sick(with("unreadable", json!(["/x.conf, line 3: syntax error"]))),
            sick(examine(ServerAnswer::Unavailable("its server is not running".into()))),
        ].join("\n"), @"
        the server lets clients in by rules from before the last change of pg_hba.conf: `systemctl reload postgresql@15-main`, or a deploy, makes it read that
        the server has the settings from before the last change of `/etc/postgresql/15/main/conf.d/50-autobot.conf`: `systemctl reload postgresql@15-main`, or a deploy, makes it read that
        the server has settings of `/x/conf.d/50-autobot.conf`, which is gone: a deploy writes it
        PostgreSQL does not accept the rules in pg_hba.conf: line 4: no
        PostgreSQL reads none of its files again, nor starts again, while one of them has an error: /x.conf, line 3: syntax error; correct or remove that line
        its server is not running
        ");
        let warned = |finding: Finding| match finding {
            Finding::Warning { warning, .. } => warning,
            other @ (Finding::Healthy(_) | Finding::Unhealthy(_) | Finding::Skipped(_)) => panic!("{other:?}"),
        };
        assert_eq!(warned(with("pending", json!(["max_connections"]))), "waits for a restart of PostgreSQL: max_connections");
        assert!(
            warned(with("unread", json!(["/etc/postgresql/15/main/postgresql.conf"])))
                .ends_with("`/etc/postgresql/15/main/postgresql.conf`")
        );
    }

    #[test]
    fn what_cannot_be_told_is_a_warning() {
        let mut touched = row();
        touched["loaded"] = json!(9_999);
        let Finding::Warning { warning, .. } = examine_of(json!({"version": "15"}), -10_000, ServerAnswer::Row(touched)) else {
            panic!()
        };
        assert!(warning.ends_with("`systemctl reload postgresql@15-main`, or a deploy, makes sure"), "{warning}");
    }

    #[test]
    fn tls_that_is_off_and_rules_that_nothing_declares_are_named() {
        let mut off = row();
        off["ssl"] = json!(false);
        let of = |parameters: Value, row: &Value| examine_of(parameters, 0, ServerAnswer::Row(row.clone()));
        assert_eq!(of(json!({"version": "15"}), &off), Finding::Healthy(String::new()), "no rule needs it");
        off["hostssl"] = json!([7]);
        let Finding::Unhealthy(why) = of(json!({"version": "15"}), &off) else { panic!() };
        assert!(
            why.starts_with("`ssl` is off, so that no client gets in by the `hostssl` rules: no file of the server"),
            "{why}"
        );
        let mut open = row();
        open["trust"] = json!([3, 9]);
        assert_eq!(of(json!({"version": "15"}), &open), Finding::Healthy(String::new()));
        let Finding::Unhealthy(why) = of(json!({"version": "15", "trust": false}), &open) else { panic!() };
        assert!(why.ends_with("without a password (`trust`), which nothing declares: line 3, 9"), "{why}");
    }
}
