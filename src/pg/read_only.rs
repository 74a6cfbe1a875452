//! What makes the transactions of a login read-only: the server's default, or a setting of a database or of a role that counts in its place.

use std::fmt;

use serde::Deserialize;

use super::{Name, place_of, take_back};

/// The setting.
const SETTING: &str = "default_transaction_read_only";

/// Makes a session read-only. Unlike an option of the connection, it leaves the value that sessions begin with in `pg_settings.reset_val`.
pub const SET: &str = "SET default_transaction_read_only = on;";

/// What [`column`] finds out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct ReadOnly {
    /// Whether it is the server's default.
    server: bool,
    /// The last line of the server's files that sets it, as `FILE:LINE`.
    place: Option<String>,
    /// The setting of a database or a role that counts for a login, if there is one.
    logins: Vec<OwnSetting>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct OwnSetting {
    login: String,
    is_on: bool,
    of_role: bool,
    of_database: bool,
}

/// A column `read_only` of a query, for these logins in a database whose OID is an expression of the query. What a role has in one database counts
/// before what it has in all, then the database's, then that of all roles.
///
/// The session of the query is read-only by [`SET`]. Where a setting of its own database or role hides the server's, the files say that.
#[must_use]
pub fn column(database: &str, logins: &[&Name]) -> String {
    let logins: Vec<String> = logins.iter().map(|name| name.literal()).collect();
    format!(
        "(SELECT jsonb_build_object(
  'server', CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_db_role_setting o, unnest(o.setconfig) e
     WHERE split_part(e, '=', 1) = '{SETTING}' AND (o.setrole = 0 OR o.setrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = session_user))
      AND (o.setdatabase = 0 OR o.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))
    THEN coalesce((SELECT setting::boolean FROM pg_catalog.pg_file_settings WHERE lower(name) = '{SETTING}' AND error IS NULL ORDER BY seqno DESC LIMIT 1), false)
    ELSE (SELECT reset_val::boolean FROM pg_catalog.pg_settings WHERE name = '{SETTING}') END,
  'place', {},
  'logins', (SELECT coalesce(jsonb_agg(jsonb_build_object('login', w.name, 'is_on', x.is_on, 'of_role', x.of_role, 'of_database', x.of_database) ORDER BY w.name), '[]')
    FROM unnest(ARRAY[{}]::text[]) w(name), LATERAL (
     SELECT split_part(e, '=', 2)::boolean AS is_on, s.setrole <> 0 AS of_role, s.setdatabase <> 0 AS of_database
     FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) e
     WHERE split_part(e, '=', 1) = '{SETTING}' AND (s.setrole = 0 OR r.rolname = w.name) AND (s.setdatabase = 0 OR s.setdatabase = {database})
     ORDER BY s.setrole <> 0 AND s.setdatabase <> 0 DESC, s.setrole <> 0 DESC, s.setdatabase <> 0 DESC LIMIT 1) x)
 )) AS read_only",
        place_of(SETTING),
        logins.join(", ")
    )
}

/// Who refuses the writes.
#[derive(Debug, PartialEq, Eq)]
enum Who<'a> {
    Server,
    AllRoles,
    Database,
    Role(&'a str),
    RoleInDatabase(&'a str),
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => formatter.write_str("for the whole server"),
            Self::AllRoles => formatter.write_str("for all roles"),
            Self::Database => formatter.write_str("in the database"),
            Self::Role(role) => write!(formatter, "for the role `{role}`"),
            Self::RoleInDatabase(role) => write!(formatter, "for the role `{role}` in the database"),
        }
    }
}

impl ReadOnly {
    /// Says what refuses the writes of logins to a database, with the ways out.
    #[must_use]
    pub fn problems(&self, database: &Name, logins: &[&Name]) -> Vec<String> {
        let mut found: Vec<Who<'_>> = Vec::new();
        for login in logins {
            let own = self.logins.iter().find(|setting| setting.login == login.as_str());
            let who = match own {
                None if self.server => Who::Server,
                Some(setting) if setting.is_on => match (setting.of_role, setting.of_database) {
                    (false, false) => Who::AllRoles,
                    (false, true) => Who::Database,
                    (true, false) => Who::Role(&setting.login),
                    (true, true) => Who::RoleInDatabase(&setting.login),
                },
                None | Some(_) => continue,
            };
            if !found.contains(&who) {
                found.push(who);
            }
        }
        found
            .iter()
            .map(|who| format!("`{SETTING}` is on {who}, which refuses writes: {}", self.way_out(who, database)))
            .collect()
    }

    fn way_out(&self, who: &Who<'_>, database: &Name) -> String {
        let database = database.as_written();
        let role = |name: &str| Name::new(name).map_or_else(|_| name.to_owned(), |name| name.as_written());
        match who {
            // Of the one who resets it, too.
            Who::AllRoles => format!("`begin read write; alter role all reset {SETTING}; commit`"),
            Who::Database => format!("`alter database {database} reset {SETTING}`"),
            Who::Role(name) => format!("`alter role {} reset {SETTING}`", role(name)),
            Who::RoleInDatabase(name) => format!("`alter role {} in database {database} reset {SETTING}`", role(name)),
            Who::Server => take_back(SETTING, self.place.as_deref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn problems(server: bool, place: Option<&str>, logins: &serde_json::Value) -> Vec<String> {
        let found: ReadOnly = serde_json::from_value(json!({"server": server, "place": place, "logins": logins})).unwrap();
        let name = |name: &str| Name::new(name).unwrap();
        found.problems(&name("slm"), &[&name("owner"), &name("App")])
    }

    #[test]
    fn whatever_refuses_writes_is_named_once_with_the_way_out() {
        let own = |login: &str, is_on: bool, of_role: bool, of_database: bool| json!({"login": login, "is_on": is_on, "of_role": of_role, "of_database": of_database});
        assert_eq!(problems(false, None, &json!([])), Vec::<String>::new());
        insta::assert_snapshot!([
            problems(true, Some("/var/lib/postgresql/15/main/postgresql.auto.conf:3"), &json!([])),
            problems(true, Some("/etc/postgresql/15/main/conf.d/99.conf:1"), &json!([])),
            problems(true, None, &json!([])),
            problems(false, None, &json!([own("owner", true, false, true), own("App", true, false, true)])),
            problems(false, None, &json!([own("owner", true, true, false), own("App", true, true, true)])),
            problems(false, None, &json!([own("owner", true, false, false)])),
        ].concat().join("\n"), @r#"
        `default_transaction_read_only` is on for the whole server, which refuses writes: it was set with ALTER SYSTEM; `alter system reset default_transaction_read_only`, then `select pg_reload_conf()`
        `default_transaction_read_only` is on for the whole server, which refuses writes: `/etc/postgresql/15/main/conf.d/99.conf:1` sets it; remove it there, then `select pg_reload_conf()`
        `default_transaction_read_only` is on for the whole server, which refuses writes: no file of the server says so any more; `select pg_reload_conf()`
        `default_transaction_read_only` is on in the database, which refuses writes: `alter database slm reset default_transaction_read_only`
        `default_transaction_read_only` is on for the role `owner`, which refuses writes: `alter role owner reset default_transaction_read_only`
        `default_transaction_read_only` is on for the role `App` in the database, which refuses writes: `alter role "App" in database slm reset default_transaction_read_only`
        `default_transaction_read_only` is on for all roles, which refuses writes: `begin read write; alter role all reset default_transaction_read_only; commit`
        "#);
        // What is nearer to the login counts.
        assert_eq!(
            problems(true, None, &json!([own("owner", false, true, false), own("App", false, false, true)])),
            Vec::<String>::new()
        );
    }
}
