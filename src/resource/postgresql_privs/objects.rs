//! Kinds of things in a database, the privileges that there are for them, and where the catalog keeps both.

use serde::Deserialize;

use crate::pg::Name;

/// What privileges are about.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Type {
    /// The database itself.
    Database,
    /// Schemas in it.
    Schema,
    /// Tables, views and the like.
    #[default]
    Table,
    /// Sequences.
    Sequence,
    /// Objects that certain roles will make.
    DefaultPrivs,
}

const ALL_IN_SCHEMA: &str = "ALL_IN_SCHEMA";

/// What default privileges can be about: SQL's word, `pg_default_acl`'s letter, `acldefault`'s letter.
const DEFAULTS: [(&str, &str, &str); 5] =
    [("TABLES", "r", "r"), ("SEQUENCES", "S", "s"), ("FUNCTIONS", "f", "f"), ("TYPES", "T", "T"), ("SCHEMAS", "n", "n")];

/// Whether all objects of a schema are meant, as many as there are.
pub(super) fn everything(objs: &[Name]) -> bool {
    objs.iter().any(|name| name.as_str() == ALL_IN_SCHEMA)
}

fn list(names: &[Name], write: impl Fn(&Name) -> String) -> String {
    names.iter().map(write).collect::<Vec<_>>().join(", ")
}

impl Type {
    /// A word for people.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Sequence => "sequence",
            Self::DefaultPrivs => "new",
        }
    }

    fn known(self) -> &'static [&'static str] {
        match self {
            Self::Database => &["CONNECT", "CREATE", "TEMPORARY"],
            Self::Schema => &["CREATE", "USAGE"],
            Self::Table => &["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"],
            Self::Sequence => &["SELECT", "UPDATE", "USAGE"],
            Self::DefaultPrivs => &[
                "SELECT",
                "INSERT",
                "UPDATE",
                "DELETE",
                "TRUNCATE",
                "REFERENCES",
                "TRIGGER",
                "MAINTAIN",
                "USAGE",
                "CREATE",
                "EXECUTE",
            ],
        }
    }

    /// Checks privileges; `ALL` becomes none.
    pub(super) fn privileges<'a>(self, words: impl Iterator<Item = &'a str>) -> Result<Vec<String>, String> {
        let mut privileges = Vec::new();
        let mut all = false;
        for word in words {
            let word = match word.to_ascii_uppercase().as_str() {
                "ALL" | "ALL PRIVILEGES" => {
                    all = true;
                    continue;
                }
                "TEMP" => "TEMPORARY".to_owned(),
                other => other.to_owned(),
            };
            if !self.known().contains(&word.as_str()) {
                return Err(format!("`{word}` is no privilege of this type; there are {} and ALL", self.known().join(", ")));
            }
            if !privileges.contains(&word) {
                privileges.push(word);
            }
        }
        match (all, privileges.is_empty()) {
            (false, true) => Err("is empty".into()),
            (true, false) => Err("has ALL and others; give ALL alone".into()),
            (true, true) | (false, false) => Ok(privileges),
        }
    }

    /// Checks the names of what it is about.
    pub(super) fn objects(self, objs: Vec<Name>, database: &Name) -> Result<Vec<Name>, String> {
        match self {
            Self::Database if objs.is_empty() || objs == [database.clone()] => Ok(vec![database.clone()]),
            Self::Database => Err("is the database itself for `type: database`; leave it out".into()),
            Self::Schema | Self::Table | Self::Sequence if objs.is_empty() => Err("is missing".into()),
            Self::Table | Self::Sequence if everything(&objs) && objs.len() > 1 => {
                Err("has ALL_IN_SCHEMA and others; give it alone".into())
            }
            Self::Schema if everything(&objs) => Err("are names of schemas".into()),
            Self::Schema | Self::Table | Self::Sequence => Ok(objs),
            Self::DefaultPrivs => {
                let known = |name: &Name| DEFAULTS.iter().any(|(word, ..)| *word == name.as_str());
                let wrong = objs.is_empty() || !objs.iter().all(known);
                if wrong { Err("is one or more of TABLES, SEQUENCES, FUNCTIONS, TYPES, SCHEMAS".into()) } else { Ok(objs) }
            }
        }
    }

    /// The schema; `public` where tables are meant and none is named.
    pub(super) fn schema(self, schema: Option<Name>) -> Result<Option<Name>, String> {
        match (self, schema) {
            (Self::Table | Self::Sequence, None) => Name::new("public").map(Some),
            (Self::Database | Self::Schema, Some(_)) => {
                Err("is for tables, sequences and default privileges; schemas themselves go into `objs`".into())
            }
            (Self::Database | Self::Schema | Self::Table | Self::Sequence | Self::DefaultPrivs, schema) => Ok(schema),
        }
    }

    /// A SELECT of `name`, `kind` (a letter of `acldefault`), `owner` and `acl` of each object that there is.
    pub(super) fn sql(self, objs: &[Name], schema: Option<&Name>, owners: &[Name]) -> String {
        let named = list(objs, Name::literal);
        let within = schema.map(Name::literal).unwrap_or_default();
        let relations = |kinds: &str, letter: &str| {
            let which = if everything(objs) { String::new() } else { format!(" AND relname IN ({named})") };
            format!(
                "SELECT relname::text AS name, '{letter}'::\"char\" AS kind, relowner AS owner, coalesce(relacl, acldefault('{letter}', relowner)) AS acl
   FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace WHERE nspname = {within} AND relkind IN ({kinds}){which}"
            )
        };
        match self {
            Self::Database => format!(
                "SELECT datname::text AS name, 'd'::\"char\" AS kind, datdba AS owner, coalesce(datacl, acldefault('d', datdba)) AS acl
   FROM pg_catalog.pg_database WHERE datname IN ({named})"
            ),
            Self::Schema => format!(
                "SELECT nspname::text AS name, 'n'::\"char\" AS kind, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl
   FROM pg_catalog.pg_namespace WHERE nspname IN ({named})"
            ),
            Self::Table => relations("'r', 'p', 'v', 'm', 'f'", "r"),
            Self::Sequence => relations("'S'", "s"),
            Self::DefaultPrivs => {
                let kinds = DEFAULTS.iter().filter(|(word, ..)| objs.iter().any(|name| name.as_str() == *word));
                let kinds: Vec<String> = kinds.map(|(word, code, letter)| format!("('{word}', '{code}'::\"char\", '{letter}'::\"char\")")).collect();
                // Where nothing was altered, what counts is built in, but only for all schemas together; for one schema there is nothing.
                let (namespace, otherwise) = match schema {
                    None => ("0::oid".to_owned(), "acldefault(k.kind, r.oid)"),
                    Some(_) => (format!("(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {within})"), "NULL::aclitem[]"),
                };
                format!(
                    "SELECT k.word || ' of ' || r.rolname AS name, k.kind AS kind, r.oid AS owner, coalesce(d.defaclacl, {otherwise}) AS acl
   FROM (VALUES {}) k(word, code, kind) CROSS JOIN pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_default_acl d
    ON d.defaclrole = r.oid AND d.defaclobjtype = k.code AND d.defaclnamespace = {namespace} WHERE r.rolname IN ({})",
                    kinds.join(", "),
                    list(owners, Name::literal)
                )
            }
        }
    }

    /// What each statement begins with, and what it is on.
    pub(super) fn targets(self, objs: &[Name], schema: Option<&Name>, owners: &[Name]) -> Vec<(String, String)> {
        let within = schema.map(Name::identifier).unwrap_or_default();
        let relations = |word: &str| {
            if everything(objs) {
                format!("ALL {word}S IN SCHEMA {within}")
            } else {
                format!("{word} {}", list(objs, |name| format!("{within}.{}", name.identifier())))
            }
        };
        let on = match self {
            Self::Database => format!("DATABASE {}", list(objs, Name::identifier)),
            Self::Schema => format!("SCHEMA {}", list(objs, Name::identifier)),
            Self::Table => relations("TABLE"),
            Self::Sequence => relations("SEQUENCE"),
            Self::DefaultPrivs => {
                let span = schema.map(|schema| format!("IN SCHEMA {} ", schema.identifier())).unwrap_or_default();
                let before = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} {span}", list(owners, Name::identifier));
                return objs.iter().map(|kind| (before.clone(), kind.to_string())).collect();
            }
        };
        vec![(String::new(), on)]
    }
}
