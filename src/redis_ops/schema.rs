//! What belongs into which database: the variables `redis_database_names`, `redis_schema` and `redis_cleanup` of role `redis`.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::Deserialize;

use super::key::Pattern;

/// What every database is for.
#[derive(Debug, Clone, Default)]
pub struct Schema {
    /// The databases' names by their numbers.
    pub(super) names: BTreeMap<u32, String>,
    /// The kinds of keys in each, by its name.
    pub(super) kinds: IndexMap<String, Vec<KeyKind>>,
    /// What may be deleted, by target, then by the database's name.
    pub(super) cleanup: IndexMap<String, IndexMap<String, Vec<Pattern>>>,
}

/// A kind of keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyKind {
    /// Which keys.
    pub(super) pattern: Pattern,
    /// Whether each of them must expire.
    #[serde(default)]
    pub(super) ttl: Ttl,
    /// Whether they hold vectors for RediSearch.
    #[serde(default)]
    pub(super) vectors: bool,
}

/// Whether keys expire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Ttl {
    /// Some may.
    #[default]
    Any,
    /// All must.
    Required,
}

impl Schema {
    /// Reads the three variables.
    ///
    /// # Errors
    /// Which does not fit, and why.
    pub fn new(names: serde_json::Value, kinds: serde_json::Value, cleanup: serde_json::Value) -> Result<Self, String> {
        let names: IndexMap<String, String> = read("redis_database_names", names)?;
        let mut by_number = BTreeMap::new();
        for (number, name) in names {
            let number =
                number.parse().map_err(|_| format!("`redis_database_names`: `{number}` is not the number of a database"))?;
            if by_number.values().any(|known| *known == name) {
                return Err(format!("`redis_database_names`: two databases are called `{name}`"));
            }
            by_number.insert(number, name);
        }
        Ok(Self { names: by_number, kinds: read("redis_schema", kinds)?, cleanup: read("redis_cleanup", cleanup)? })
    }

    /// The name of a database; its number where it has none.
    pub(super) fn called(&self, database: u32) -> String {
        self.names.get(&database).cloned().unwrap_or_else(|| database.to_string())
    }

    /// The kinds of keys that belong into a database.
    pub(super) fn kinds_of(&self, database: u32) -> &[KeyKind] {
        self.names.get(&database).and_then(|name| self.kinds.get(name)).map(Vec::as_slice).unwrap_or_default()
    }

    /// The database, and the kind of keys there, where a key would belong.
    pub(super) fn home(&self, key: &[u8]) -> Option<(&str, &KeyKind)> {
        let databases = self.names.values().filter_map(|name| Some((name.as_str(), self.kinds.get(name)?)));
        databases.flat_map(|(name, kinds)| kinds.iter().map(move |kind| (name, kind))).find(|(_, kind)| kind.pattern.fits(key))
    }

    /// Whether a key holds vectors, in whichever database it is.
    pub(super) fn is_vector(&self, key: &[u8]) -> bool {
        self.kinds.values().flatten().any(|kind| kind.vectors && kind.pattern.fits(key))
    }

    /// The databases in which a clean-up deletes, and which keys.
    ///
    /// # Errors
    /// When no database has one of the names that it is for.
    pub(super) fn to_clean(&self, target: &str) -> Result<Vec<(u32, &[Pattern])>, String> {
        let by_name = self.cleanup.get(target).ok_or_else(|| format!("`redis_cleanup` has no `{target}`"))?;
        let found = self.names.iter().filter_map(|(number, name)| Some((*number, by_name.get(name)?.as_slice())));
        let found: Vec<(u32, &[Pattern])> = found.collect();
        if found.is_empty() {
            let names: Vec<&str> = by_name.keys().map(String::as_str).collect();
            return Err(format!("no database of `redis_database_names` is called {}: nothing to clean", names.join(" or ")));
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

    /// The newer layout, as far as tests need it.
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
    fn a_key_belongs_where_the_schema_says() {
        let schema = schema();
        assert_eq!(schema.home(b"fact:1").map(|(name, kind)| (name, kind.pattern.as_str())), Some(("knowledge", "fact:*")));
        // A database that has no number here is nobody's home.
        assert!(schema.home(b"api:x").is_none());
        assert!(schema.is_vector(b"llama_index/vector_store/default/1") && !schema.is_vector(b"fact:1"));
        assert_eq!((schema.called(1), schema.called(9)), ("knowledge".to_owned(), "9".to_owned()));
        assert!(schema.kinds_of(9).is_empty() && schema.kinds_of(2).is_empty());
    }

    #[test]
    fn a_cleanup_is_for_the_databases_that_have_its_names() {
        let schema = schema();
        let found = schema.to_clean("cache").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].0, found[0].1[0].as_str()), (0, "cache:*"));
        insta::assert_snapshot!(schema.to_clean("jobs").unwrap_err(), @"no database of `redis_database_names` is called jobs: nothing to clean");
        assert!(schema.to_clean("sessions").is_err());
    }

    #[test]
    fn wrong_variables_say_where() {
        let wrong = |names, kinds, cleanup| Schema::new(names, kinds, cleanup).unwrap_err();
        insta::assert_snapshot!(wrong(json!({"x": "main"}), json!({}), json!({})), @"`redis_database_names`: `x` is not the number of a database");
        insta::assert_snapshot!(wrong(json!({"0": "a", "1": "a"}), json!({}), json!({})), @"`redis_database_names`: two databases are called `a`");
        insta::assert_snapshot!(wrong(json!({}), json!({"main": [{"pattern": "x", "tll": "required"}]}), json!({})), @"the variable `redis_schema` at `main[0].tll`: unknown field `tll`, expected one of `pattern`, `ttl`, `vectors`");
        insta::assert_snapshot!(wrong(json!({}), json!({}), json!({"cache": {"main": ["a[b"]}})), @"the variable `redis_cleanup` at `cache.main[0]`: `a[b` is no pattern of keys: text with `*` and `?`");
    }
}
