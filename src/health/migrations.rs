//! Check `migrations`: the schema version of a database, as Alembic and the SLM backend's own migration runner record it. The check only reads the
//! database and never runs code of the backend.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Finding, HealthCheck};
use crate::{
    pg::Name,
    question::{
        Questions, Unanswered,
        pg::{Answer, Pg, Query, closed, typed},
    },
    resource::{Files, Kind, NodeState, decode, schema::parameters},
};

pub(super) const KIND: Kind<dyn HealthCheck> = Kind {
    name: "migrations",
    about: "Says which migrations a database has; warns where tables are there and nothing notes a version",
    example: "read:
  migrations: {database: slm}",
    decode: |parameters, _: &mut dyn Files| Ok(Box::new(decode::<Migrations>(parameters)?)),
    declared: Migrations::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Migrations {
        /// The database.
        database | db: Name,
        /// The server's port.
        port: u16 = 5432,
    }
}

#[derive(Debug, Default, Deserialize)]
struct SchemaInfo {
    /// The number of the application's tables.
    tables: u64,
    /// The table `alembic_version`, with rows of `{version_num}`.
    alembic: Option<VersionTable>,
    /// The table `migrations_applied`.
    applied: Option<VersionTable>,
}

/// A table in which migrations are recorded.
#[derive(Debug, Default, Deserialize)]
struct VersionTable {
    /// Whether it is an ordinary table, which can be read without running code of its owner.
    plain: bool,
    #[serde(default)]
    count: u64,
    /// Its newest rows, up to ten.
    #[serde(default)]
    rows: Vec<Map<String, Value>>,
}

/// psql runs this as a superuser, while the tables belong to the application. Anything but an ordinary table of built-in types might run the owner's
/// code as the superuser (through functions of a view, or a cast), and is not read.
///
/// `query_to_xml` runs a query only if its table exists. The result is encoded as hexadecimal digits, which XML never changes.
const SQL: &str = r"
WITH noted AS (
    SELECT c.oid, c.relname::text AS name,
           c.relkind = 'r' AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
               WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                 AND t.typnamespace <> 'pg_catalog'::pg_catalog.regnamespace::pg_catalog.oid
           ) AS plain
    FROM pg_catalog.pg_class c
    WHERE c.relnamespace = pg_catalog.to_regnamespace('public')::pg_catalog.oid AND c.relname IN ('alembic_version', 'migrations_applied')
      AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
), read AS (
    SELECT name, plain, CASE WHEN plain THEN pg_catalog.convert_from(pg_catalog.decode((pg_catalog.xpath('/table/row/j/text()',
        pg_catalog.query_to_xml(pg_catalog.format(
            'SELECT pg_catalog.encode(pg_catalog.convert_to(pg_catalog.json_build_object(''plain'', true,
                 ''count'', (SELECT pg_catalog.count(*) FROM ONLY public.%1$I),
                 ''rows'', (SELECT coalesce(pg_catalog.json_agg(n.r), ''[]'') FROM (
                     SELECT pg_catalog.to_jsonb(t) AS r FROM ONLY public.%1$I t
                     ORDER BY pg_catalog.to_jsonb(t) ->> ''applied_at'' DESC NULLS LAST LIMIT 10) n))::text, ''UTF8''), ''hex'') AS j',
            name), false, false, '')))[1]::text, 'hex'), 'UTF8')::pg_catalog.jsonb END AS content
    FROM noted
)
SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c
        WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relname NOT IN ('alembic_version', 'migrations_applied')
          AND c.relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace
                                     WHERE nspname = 'information_schema' OR pg_catalog.left(nspname::text, 3) = 'pg_')) AS tables,
       (SELECT coalesce(content, pg_catalog.jsonb_build_object('plain', plain)) FROM read WHERE name = 'alembic_version') AS alembic,
       (SELECT coalesce(content, pg_catalog.jsonb_build_object('plain', plain)) FROM read WHERE name = 'migrations_applied') AS applied";

impl Migrations {
    fn query(&self) -> Query {
        Query { database: self.database.clone(), sql: SQL.into(), port: self.port }
    }

    fn answer<'a>(&self, is: &'a NodeState<'_>) -> Result<&'a Answer, Unanswered> {
        is.answers.get::<Pg>(&self.query())
    }
}

/// Describes the version for people.
fn describe(found: &SchemaInfo) -> Finding {
    let mut versions = Vec::new();
    let mut warnings = Vec::new();
    for (name, table) in [("alembic_version", &found.alembic), ("migrations_applied", &found.applied)] {
        if table.as_ref().is_some_and(|table| !table.plain) {
            warnings.push(format!("`{name}` is not an ordinary table, so it is not read"));
        }
    }
    if let Some(table) = found.alembic.as_ref().filter(|table| table.count > 0) {
        let heads: Vec<String> = table.rows.iter().filter_map(|row| row.get("version_num")).map(cell_text).collect();
        versions.push(format!("alembic {}", if heads.is_empty() { "of an unknown form".to_owned() } else { heads.join(", ") }));
    }
    if let Some(table) = found.applied.as_ref().filter(|table| table.count > 0) {
        let newest = table.rows.first().map(format_newest).unwrap_or_default();
        let (count, ending) = (table.count, if table.count == 1 { "" } else { "s" });
        versions.push(format!("{count} migration{ending} applied{newest}"));
    }
    let tables = format!("{} table{}", found.tables, if found.tables == 1 { "" } else { "s" });
    if versions.is_empty() && warnings.is_empty() {
        if found.tables == 0 {
            return Finding::Healthy("empty: db_service.initialize() has to run first".to_owned());
        }
        warnings.push("no version is recorded in alembic_version or migrations_applied".to_owned());
    }
    versions.push(tables);
    Finding::with_warnings(&warnings, versions.join("; "))
}

/// Formats the name of a migration and when it was applied. The names of the columns differ between tools.
fn format_newest(row: &Map<String, Value>) -> String {
    const NAMES: [&str; 7] = ["migration_name", "name", "migration", "filename", "version", "revision", "id"];
    let name = NAMES.iter().find_map(|column| row.get(*column)).map(cell_text);
    let when =
        row.get("applied_at").and_then(Value::as_str).map(|when| truncate(when.get(..16).unwrap_or(when)).replace('T', " "));
    match (name, when) {
        (Some(name), Some(when)) => format!(", last {name} ({when})"),
        (Some(name), None) => format!(", last {name}"),
        (None, Some(when)) => format!(", last on {when}"),
        (None, None) => String::new(),
    }
}

fn cell_text(value: &Value) -> String {
    truncate(&value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

/// Truncates text of an application, which must not fill the screen.
fn truncate(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.split(char::is_control).next().unwrap_or_default();
    if line.chars().count() <= LONGEST { line.to_owned() } else { line.chars().take(LONGEST).chain(['…']).collect() }
}

impl HealthCheck for Migrations {
    fn questions(&self, ask: &mut Questions) {
        ask.ask::<Pg>(self.query());
    }

    fn examine(&self, is: &NodeState<'_>) -> Result<Finding, Unanswered> {
        match self.answer(is)? {
            Answer::NoServer { why } => Ok(Finding::Unhealthy(why.clone())),
            Answer::NoDatabase => Ok(Finding::Skipped(format!("there is no database `{}`", self.database))),
            Answer::Closed => Ok(Finding::Unhealthy(closed(&self.database))),
            Answer::Rows(rows) => match typed::<SchemaInfo>(rows)?.first() {
                Some(found) => Ok(describe(found)),
                None => Err(Unanswered("PostgreSQL returned no row".into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{question::Answers, secret::SecretValues};
    use serde_json::json;

    fn finding(answer: Answer) -> String {
        let check: Migrations = decode(json!({"database": "slm"})).unwrap();
        let mut answers = Answers::default();
        answers.set::<Pg>(check.query(), Ok(answer));
        let is = NodeState { answers: &answers, secrets: &SecretValues::default() };
        match check.examine(&is) {
            Ok(Finding::Healthy(found)) => found,
            Ok(Finding::Warning { warning, found }) => format!("warning: {warning}; {found}"),
            Ok(Finding::Unhealthy(why)) => format!("unhealthy: {why}"),
            Ok(Finding::Skipped(reason)) => format!("skipped: {reason}"),
            Err(unanswered) => format!("unanswered: {unanswered}"),
        }
    }

    fn found(tables: u64, alembic: &Value, applied: &Value) -> String {
        finding(Answer::Rows(vec![json!({"tables": tables, "alembic": alembic, "applied": applied})]))
    }

    #[test]
    fn the_version_is_shown_and_a_missing_version_is_a_warning() {
        let none = Value::Null;
        let empty = json!({"plain": true, "count": 0, "rows": []});
        let alembic = json!({"plain": true, "count": 2, "rows": [{"version_num": "1a2b"}, {"version_num": "3c4d"}]});
        let row = json!({"id": 16, "name": "016_add_x", "applied_at": "2026-01-02T03:04:05.678"});
        let applied = json!({"plain": true, "count": 16, "rows": [row]});
        let all = [
            found(0, &none, &none),
            found(0, &empty, &none),
            found(12, &none, &none),
            found(1, &empty, &empty),
            found(12, &alembic, &none),
            found(12, &none, &applied),
            found(12, &alembic, &applied),
            found(12, &json!({"plain": false}), &none),
            finding(Answer::NoDatabase),
            finding(Answer::NoServer { why: "psql is not installed".into() }),
            finding(Answer::Rows(vec![])),
        ];
        insta::assert_snapshot!(all.join("\n"), @"
        empty: db_service.initialize() has to run first
        empty: db_service.initialize() has to run first
        warning: no version is recorded in alembic_version or migrations_applied; 12 tables
        warning: no version is recorded in alembic_version or migrations_applied; 1 table
        alembic 1a2b, 3c4d; 12 tables
        16 migrations applied, last 016_add_x (2026-01-02 03:04); 12 tables
        alembic 1a2b, 3c4d; 16 migrations applied, last 016_add_x (2026-01-02 03:04); 12 tables
        warning: `alembic_version` is not an ordinary table, so it is not read; 12 tables
        skipped: there is no database `slm`
        unhealthy: psql is not installed
        unanswered: PostgreSQL returned no row
        ");
    }

    #[test]
    fn text_of_an_application_cannot_fill_the_screen_or_break_lines() {
        let long = json!({"plain": true, "count": 1, "rows": [{"version_num": format!("a\n{}", "x".repeat(1000))}]});
        assert_eq!(found(1, &long, &Value::Null), "alembic a; 1 table");
        let odd = json!({"plain": true, "count": 1, "rows": [{"applied_at": "ÄÖÜ".repeat(500), "name": {"a": [1]}}]});
        assert!(found(1, &Value::Null, &odd).chars().count() < 120);
        let other = json!({"plain": true, "count": 3, "rows": [{"x": 1}]});
        assert_eq!(found(1, &other, &Value::Null), "alembic of an unknown form; 1 table");
        assert_eq!(found(1, &Value::Null, &other), "3 migrations applied; 1 table");
        assert!(finding(Answer::Rows(vec![json!({"tables": -1})])).starts_with("unanswered: "));
        assert!(found(1, &json!([]), &Value::Null).starts_with("unanswered: "));
    }
}
