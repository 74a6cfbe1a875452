//! Kinds of objects in a database, their privileges, and where the catalog keeps both.

use serde::Deserialize;

use crate::pg::Name;

/// The kind of the objects.
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
    /// Objects that certain roles will create.
    DefaultPrivs,
}

const ALL_IN_SCHEMA: &str = "ALL_IN_SCHEMA";

/// The kinds of objects that default privileges can be about: SQL's word, and the letters of `pg_default_acl` and `acldefault`.
const DEFAULTS: [(&str, &str, &str); 5] =
    [("TABLES", "r", "r"), ("SEQUENCES", "S", "s"), ("FUNCTIONS", "f", "f"), ("TYPES", "T", "T"), ("SCHEMAS", "n", "n")];

/// Whether all objects of a schema are meant, even if it has none.
pub(super) fn means_all(objs: &[Name]) -> bool {
    objs.iter().any(|name| name.as_str() == ALL_IN_SCHEMA)
}

fn list(names: &[Name], write: impl Fn(&Name) -> String) -> String {
    names.iter().map(write).collect::<Vec<_>>().join(", ")
}

impl Type {
    /// Returns the word for diffs and messages.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Schema => "schema",
            Self::Table => "table",
            Self::Sequence => "sequence",
            Self::DefaultPrivs => "new",
        }
    }

    fn known_privileges(self) -> &'static [&'static str] {
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

    /// Checks privileges; `ALL` becomes an empty list.
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
            if !self.known_privileges().contains(&word.as_str()) {
                return Err(format!(
                    "`{word}` is no privilege of this type; there are {} and ALL",
                    self.known_privileges().join(", ")
                ));
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

    /// Checks the names of the objects.
    pub(super) fn objects(self, objs: Vec<Name>, database: &Name) -> Result<Vec<Name>, String> {
        match self {
            Self::Database if objs.is_empty() || objs == [database.clone()] => Ok(vec![database.clone()]),
            Self::Database => Err("is the database itself for `type: database`; leave it out".into()),
            Self::Schema | Self::Table | Self::Sequence if objs.is_empty() => Err("is missing".into()),
            Self::Table | Self::Sequence if means_all(&objs) && objs.len() > 1 => {
                Err("has ALL_IN_SCHEMA and others; give it alone".into())
            }
            Self::Schema if means_all(&objs) => Err("are names of schemas".into()),
            Self::Schema | Self::Table | Self::Sequence => Ok(objs),
            Self::DefaultPrivs => {
                let known = |name: &Name| DEFAULTS.iter().any(|(word, ..)| *word == name.as_str());
                let valid = !objs.is_empty() && objs.iter().all(known);
                if valid { Ok(objs) } else { Err("is one or more of TABLES, SEQUENCES, FUNCTIONS, TYPES, SCHEMAS".into()) }
            }
        }
    }

    /// Returns the schema, which is `public` for tables and sequences if none is named.
    pub(super) fn schema(self, schema: Option<Name>) -> Result<Option<Name>, String> {
        match (self, schema) {
            (Self::Table | Self::Sequence, None) => Name::new("public").map(Some),
            (Self::Database | Self::Schema, Some(_)) => {
                Err("is for tables, sequences and default privileges; schemas themselves go into `objs`".into())
            }
            (Self::Database | Self::Schema | Self::Table | Self::Sequence | Self::DefaultPrivs, schema) => Ok(schema),
        }
    }

    /// Returns a SELECT of `name`, `kind` (a letter of `acldefault`), `owner` and `acl` of each object that exists.
    pub(super) fn sql(self, objs: &[Name], schema: Option<&Name>, owners: &[Name]) -> String {
        let named = list(objs, Name::literal);
        let within = schema.map(Name::literal).unwrap_or_default();
        let relations = |kinds: &str, letter: &str| {
            let which = if means_all(objs) { String::new() } else { format!(" AND relname IN ({named})") };
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
                // Without an entry, PostgreSQL's built-in defaults apply; they are for all schemas together, a single schema has none.
                let (namespace, built_in) = match schema {
                    None => ("0::oid".to_owned(), "acldefault(k.kind, r.oid)"),
                    Some(_) => (format!("(SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {within})"), "NULL::aclitem[]"),
                };
                format!(
                    "SELECT k.word || ' of ' || r.rolname AS name, k.kind AS kind, r.oid AS owner, coalesce(d.defaclacl, {built_in}) AS acl
   FROM (VALUES {}) k(word, code, kind) CROSS JOIN pg_catalog.pg_roles r LEFT JOIN pg_catalog.pg_default_acl d
    ON d.defaclrole = r.oid AND d.defaclobjtype = k.code AND d.defaclnamespace = {namespace} WHERE r.rolname IN ({})",
                    kinds.join(", "),
                    list(owners, Name::literal)
                )
            }
        }
    }

    /// Returns the beginning of each statement, and the objects that follow its `ON`.
    pub(super) fn targets(self, objs: &[Name], schema: Option<&Name>, owners: &[Name]) -> Vec<(String, String)> {
        let within = schema.map(Name::identifier).unwrap_or_default();
        let relations = |word: &str| {
            if means_all(objs) {
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
                let in_schema = schema.map(|schema| format!("IN SCHEMA {} ", schema.identifier())).unwrap_or_default();
                let prefix = format!("ALTER DEFAULT PRIVILEGES FOR ROLE {} {in_schema}", list(owners, Name::identifier));
                return objs.iter().map(|kind| (prefix.clone(), kind.to_string())).collect();
            }
        };
        vec![(String::new(), on)]
    }
}
