//! The schema: which keys belong in which database. It comes from the variables `redis_database_names`, `redis_schema` and `redis_cleanup` of role
//! `redis`.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;

use super::key::Pattern;

/// What each database is used for.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// The names of the databases by number.
    pub(super) names: BTreeMap<u32, String>,
    /// The kinds of keys in each database, by the name of the database.
    pub(super) kinds: IndexMap<String, Vec<KeyKind>>,
    /// The keys that a cleanup may delete, by target, then by the name of the database.
    pub(super) cleanup: IndexMap<String, IndexMap<String, Vec<Pattern>>>,
}

/// A kind of keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyKind {
    /// The pattern of the keys.
    pub(super) pattern: Pattern,
    /// Whether each of them must expire.
    #[serde(default)]
    pub(super) ttl: Ttl,
    /// Whether they contain vectors for RediSearch.
    #[serde(default)]
    pub(super) vectors: bool,
}

/// Whether keys must expire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ttl {
    /// They may expire.
    #[default]
    Any,
    /// All must expire.
    Required,
}

impl Schema {
    /// Reads the three variables.
    ///
    /// # Errors
    /// Says which variable is invalid, and why.
    pub fn new(names: serde_json::Value, kinds: serde_json::Value, cleanup: serde_json::Value) -> Result<Self, String> {
        let names: IndexMap<String, String> = read("redis_database_names", names)?;
        let mut by_number = BTreeMap::new();
        for (number, name) in names {
            let number =
                number.parse().map_err(|_| format!("`redis_database_names`: `{number}` is not the number of a database"))?;
            if by_number.values().any(|known| *known == name) {
                return Err(format!("`redis_database_names`: two databases are named `{name}`"));
            }
            by_number.insert(number, name);
        }
        Ok(Self { names: by_number, kinds: read("redis_schema", kinds)?, cleanup: read("redis_cleanup", cleanup)? })
    }

    /// Returns the name of a database, or its number if it has no name.
    pub(super) fn database_name(&self, database: u32) -> String {
        self.names.get(&database).cloned().unwrap_or_else(|| database.to_string())
    }

    /// Returns the kinds of keys that belong in a database.
    pub(super) fn kinds_of(&self, database: u32) -> &[KeyKind] {
        self.names.get(&database).and_then(|name| self.kinds.get(name)).map(Vec::as_slice).unwrap_or_default()
    }

    /// Returns the database in which a key belongs, and its kind there.
    pub(super) fn expected_database(&self, key: &[u8]) -> Option<(&str, &KeyKind)> {
        let databases = self.names.values().filter_map(|name| Some((name.as_str(), self.kinds.get(name)?)));
        databases.flat_map(|(name, kinds)| kinds.iter().map(move |kind| (name, kind))).find(|(_, kind)| kind.pattern.matches(key))
    }

    /// Whether a key contains vectors, whatever database it is in.
    pub(super) fn is_vector(&self, key: &[u8]) -> bool {
        self.kinds.values().flatten().any(|kind| kind.vectors && kind.pattern.matches(key))
    }

    /// Returns the databases in which a cleanup deletes keys, with the patterns of these keys.
    ///
    /// # Errors
    /// No database has one of the names that the cleanup is defined for.
    pub(super) fn to_clean(&self, target: &str) -> Result<Vec<(u32, &[Pattern])>, String> {
        let by_name = self.cleanup.get(target).ok_or_else(|| format!("`redis_cleanup` has no `{target}`"))?;
        let found = self.names.iter().filter_map(|(number, name)| Some((*number, by_name.get(name)?.as_slice())));
        let found: Vec<(u32, &[Pattern])> = found.collect();
        if found.is_empty() {
            let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
            return Err(format!("no database of `redis_database_names` is named {}: nothing to clean", names.join(" or ")));
        }
        Ok(found)
    }
}

fn read<T: serde::de::DeserializeOwned>(name: &str, value: serde_json::Value) -> Result<T, String> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let path = error.path().to_string();
        let at = if path == "." { String::new() } else { format!(" at `{path}`") };
        format!("the variable `{name}`{at}: {}", error.inner())
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// The newer layout, as far as the tests need it.
    pub(in crate::redis_ops) fn schema() -> Schema {
        Schema::new(
            json!({"0": "main", "1": "knowledge", "3": "analytics"}),
            json!({
                "main": [{"pattern": "session:*", "ttl": "required"}, {"pattern": "queue:*"}, {"pattern": "llama_index/*", "vectors": true}],
                "knowledge": [{"pattern": "llama_index/*", "vectors": true}, {"pattern": "fact:*"}],
                "analytics": [{"pattern": "metrics:*"}],
                "cache": [{"pattern": "api:*"}],
            }),
            json!({"cache": {"main": ["cache:*"], "cache": ["api:cache:*"]}, "jobs": {"jobs": ["job:*"]}}),
        )
        .unwrap()
    }

    #[test]
    fn a_key_belongs_where_the_schema_places_it() {
        let schema = schema();
        assert_eq!(
            schema.expected_database(b"fact:1").map(|(name, kind)| (name, kind.pattern.as_str())),
            Some(("knowledge", "fact:*"))
        );
        // No key belongs in a database that has no number here.
        assert!(schema.expected_database(b"api:x").is_none());
        assert!(schema.is_vector(b"llama_index/vector_store/default/1") && !schema.is_vector(b"fact:1"));
        assert_eq!((schema.database_name(1), schema.database_name(9)), ("knowledge".to_owned(), "9".to_owned()));
        assert!(schema.kinds_of(9).is_empty() && schema.kinds_of(2).is_empty());
    }

    #[test]
    fn a_cleanup_applies_to_the_databases_with_its_names() {
        let schema = schema();
        let found = schema.to_clean("cache").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1[0].as_str()), (0, "cache:*"));
        insta::assert_snapshot!(schema.to_clean("jobs").unwrap_err(), @"no database of `redis_database_names` is named jobs: nothing to clean");
        assert!(schema.to_clean("sessions").is_err());
    }

    #[test]
    fn invalid_variables_are_refused_with_their_place() {
        let error = |names, kinds, cleanup| Schema::new(names, kinds, cleanup).unwrap_err();
        insta::assert_snapshot!(error(json!({"x": "main"}), json!({}), json!({})), @"`redis_database_names`: `x` is not the number of a database");
        insta::assert_snapshot!(error(json!({"0": "a", "1": "a"}), json!({}), json!({})), @"`redis_database_names`: two databases are named `a`");
        insta::assert_snapshot!(error(json!({}), json!({"main": [{"pattern": "x", "tll": "required"}]}), json!({})), @"the variable `redis_schema` at `main[0].tll`: unknown field `tll`, expected one of `pattern`, `ttl`, `vectors`");
        insta::assert_snapshot!(error(json!({}), json!({}), json!({"cache": {"main": ["a[b"]}})), @"the variable `redis_cleanup` at `cache.main[0]`: `a[b` is not a valid key pattern: use text with `*` and `?`");
    }
}
