//! Rows of queries: one read-only psql per port runs all queries of a node, as `postgres` over the local socket.
//!
//! psql's output has lines that no value can forge, because a value is always inside one line of JSON. `@ 3` starts the answer to question 3;
//! `[...]` holds its rows, `!"..."` the server's error message, `-` means that the database does not exist, and `=` that it takes no connections.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Kind, Lane, Output, Unanswered};
use crate::{
    pg::{self, Name, read_only},
    script::Script,
};

/// A query in a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Query {
    /// The database in which it runs.
    pub database: Name,
    /// One SELECT without a semicolon; values in it go through [`pg::literal`].
    pub sql: String,
    /// The cluster's port.
    pub port: u16,
}

/// Marker for the kind "rows of a query".
#[derive(Debug)]
pub struct Pg;

/// The answer to a query.
#[derive(Clone, PartialEq, Eq)]
pub enum Answer {
    /// There is no server to ask.
    NoServer {
        /// The reason, such as "psql is not installed".
        why: String,
    },
    /// The server has no such database.
    NoDatabase,
    /// There is such a database, and no role can connect to it, not even a superuser.
    Closed,
    /// One JSON object per row.
    Rows(Vec<Value>),
}

impl fmt::Debug for Answer {
    /// Rows may contain password verifiers, so only their number is shown.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoServer { why } => write!(formatter, "NoServer({why})"),
            Self::NoDatabase => formatter.write_str("NoDatabase"),
            Self::Closed => formatter.write_str("Closed"),
            Self::Rows(rows) => write!(formatter, "Rows({} rows)", rows.len()),
        }
    }
}

/// Returns the sentence that a database takes no connections, with the way out.
#[must_use]
pub fn closed(database: &Name) -> String {
    format!("the database `{database}` takes no connections: `alter database {} allow_connections true`", database.as_written())
}

/// Parses rows into a type whose fields have the names of the query's columns.
///
/// # Errors
/// Returns an error when a row has other columns or types than the query promised.
pub fn typed<T: DeserializeOwned>(rows: &[Value]) -> Result<Vec<T>, Unanswered> {
    let read = |row: &Value| {
        serde_json::from_value(row.clone()).map_err(|_| Unanswered("PostgreSQL returned a row of an unexpected shape".into()))
    };
    rows.iter().map(read).collect()
}

const ASK: &str = r#"
find_psql
if [ -z "$psql" ]; then
    echo '@ absent psql is not installed'
elif [ -z "$group" ]; then
    echo '@ absent there is no user `postgres`'
else
    # The owner of a database may have set a search_path in which the owner's functions come first.
    export PGOPTIONS='-c search_path=pg_catalog -c statement_timeout=20s -c lock_timeout=5s -c client_min_messages=error'
    while [ $# -gt 0 ]; do
        printf '@ port %s\n' "$1"
        # Unlike a pipe from printf, this takes no process, as long as it fits into a page.
        as_postgres "$1" -v VERBOSITY=sqlstate 2>&1 <<END
$2
END
        printf '\n@ end %s\n' "$?"
        shift 2
    done
fi
"#;

impl Kind for Pg {
    type Key = Query;
    type Answer = Answer;
    const NAME: &'static str = "postgresql";
    const LANE: Lane = Lane::Servers;
    const IN_PLACE: bool = true;

    fn script(keys: &[&Query]) -> Script {
        let mut script = Script::new(ASK).using(pg::SHELL_FUNCTIONS);
        for (port, databases) in grouped(keys) {
            let mut input = format!("{}\n", read_only::SET);
            for (database, queries) in databases {
                ask_database(&mut input, database, &queries);
            }
            script = script.arg(port.to_string()).arg(input);
        }
        script
    }

    fn read(keys: &[&Query], output: &Output) -> Vec<Result<Answer, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("PostgreSQL", keys.len());
        }
        let transcript = Transcript::read(&output.stdout);
        keys.iter().enumerate().map(|(index, query)| transcript.answer(index, query)).collect()
    }
}

/// The answers for a database that does not exist, and for one that takes no connections.
const ABSENT: &str = "-";
const CLOSED: &str = "=";

type ByDatabase<'a> = Vec<(&'a Name, Vec<(usize, &'a str)>)>;

/// Groups the queries by port and database. `postgres` comes first, because psql connects to it anyway.
fn grouped<'a>(keys: &[&'a Query]) -> BTreeMap<u16, ByDatabase<'a>> {
    let mut ports: BTreeMap<u16, ByDatabase<'a>> = BTreeMap::new();
    for (index, query) in keys.iter().enumerate() {
        let databases = ports.entry(query.port).or_default();
        match databases.iter_mut().find(|(database, _)| **database == query.database) {
            Some((_, queries)) => queries.push((index, &query.sql)),
            None => databases.push((&query.database, vec![(index, &query.sql)])),
        }
    }
    for databases in ports.values_mut() {
        databases.sort_by_key(|(database, _)| database.as_str() != "postgres");
    }
    ports
}

/// Appends the queries of one database. psql ends when `\connect` fails, so the script first checks that the database exists.
fn ask_database(input: &mut String, database: &Name, queries: &[(usize, &str)]) {
    let elsewhere = database.as_str() != "postgres";
    if elsewhere {
        let _ = write!(
            input,
            "SELECT count(*) = 1 AS there, coalesce(bool_or(datallowconn AND datconnlimit <> -2), false) AS open \
             FROM pg_catalog.pg_database WHERE datname = {} \\gset\n\
             \\if :ERROR\n\\elif :open\n\\connect -reuse-previous=on {}\n{}\n",
            database.literal(),
            connection_string(database),
            read_only::SET,
        );
    }
    for (index, sql) in queries {
        let _ = write!(
            input,
            "\\echo @ {index}\nSELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM ({sql}\n) t;\n\
             \\if :ERROR\nSELECT '!' || to_json(:'LAST_ERROR_MESSAGE'::text);\n\\endif\n",
        );
    }
    if elsewhere {
        for (branch, answer) in [("elif :there", CLOSED), ("else", ABSENT)] {
            let _ = writeln!(input, "\\{branch}");
            for (index, _) in queries {
                let _ = write!(input, "\\echo @ {index}\n\\echo {answer}\n");
            }
        }
        input.push_str("\\endif\n");
    }
}

/// Returns `'dbname=\'name\''`. The keyword is always written, because `\connect` parses a bare name that contains `=` as a connection string.
/// Within single quotes psql also interprets double quotes as SQL does, so each one is written four times.
fn connection_string(database: &Name) -> String {
    let value = database.as_str().replace('\\', "\\\\").replace('\'', "\\'");
    let argument = format!("dbname='{value}'").replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{}'", argument.replace('"', r#""""""#))
}

#[derive(Default)]
struct Transcript {
    absent: Option<String>,
    answers: BTreeMap<usize, Result<Answer, Unanswered>>,
    ports: BTreeMap<u16, PortState>,
}

/// The state of the connection to one port.
#[derive(Default)]
struct PortState {
    reached: bool,
    /// The first line that is no answer.
    error: Option<String>,
}

impl Transcript {
    fn read(stdout: &[u8]) -> Self {
        let mut transcript = Self::default();
        let (mut port, mut index) = (None, None);
        for line in String::from_utf8_lossy(stdout).lines() {
            let state = port.map(|port| transcript.ports.entry(port).or_default());
            if let Some(mark) = line.strip_prefix("@ ") {
                index = mark.parse::<usize>().ok();
                if let Some(number) = mark.strip_prefix("port ") {
                    port = number.parse::<u16>().ok();
                } else if let Some(why) = mark.strip_prefix("absent ") {
                    transcript.absent = Some(why.to_owned());
                }
                if let (Some(_), Some(state)) = (index, state) {
                    state.reached = true;
                }
            } else if let (Some(number), Some(answer)) = (index, answer(line)) {
                transcript.answers.insert(number, answer);
                index = None;
            } else if let Some(state) = state.filter(|state| state.error.is_none() && !line.trim().is_empty()) {
                state.error = Some(line.trim().to_owned());
            }
        }
        transcript
    }

    fn answer(&self, index: usize, query: &Query) -> Result<Answer, Unanswered> {
        if let Some(why) = &self.absent {
            return Ok(Answer::NoServer { why: why.clone() });
        }
        if let Some(answer) = self.answers.get(&index) {
            return answer.clone();
        }
        let state = self.ports.get(&query.port);
        let error = state.and_then(|state| state.error.as_deref());
        let is_no_server = |text: &str| text.ends_with("No such file or directory") || text.ends_with("Connection refused");
        if state.is_some_and(|state| !state.reached) && error.is_some_and(is_no_server) {
            return Ok(Answer::NoServer { why: format!("PostgreSQL does not answer on port {}", query.port) });
        }
        Err(Unanswered(format!("PostgreSQL gave no answer: {}", error.unwrap_or("psql ended early"))))
    }
}

/// Parses a line that answers the question of the preceding mark.
fn answer(line: &str) -> Option<Result<Answer, Unanswered>> {
    match line {
        ABSENT => return Some(Ok(Answer::NoDatabase)),
        CLOSED => return Some(Ok(Answer::Closed)),
        _ => {}
    }
    if let Some(message) = line.strip_prefix('!') {
        let message: String = serde_json::from_str(message).ok()?;
        return Some(Err(Unanswered(format!("PostgreSQL reports: {message}"))));
    }
    let rows: Vec<Value> = line.starts_with('[').then(|| serde_json::from_str(line).ok())??;
    Some(Ok(Answer::Rows(rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn query(database: &str, sql: &str) -> Query {
        Query { database: Name::new(database).unwrap(), sql: sql.into(), port: pg::PORT }
    }

    fn read(keys: &[&Query], stdout: &str) -> Vec<Result<Answer, Unanswered>> {
        Pg::read(keys, &Output { status: 0, stdout: stdout.into() })
    }

    #[test]
    fn one_psql_asks_every_database_starting_with_postgres() {
        let keys = [query("we'ird\\ \"$(x)", "SELECT 1"), query("postgres", "SELECT 2"), query("postgres", "SELECT 3 -- why")];
        let keys: Vec<&Query> = keys.iter().collect();
        let mut input = String::new();
        for (database, queries) in &grouped(&keys)[&5432] {
            ask_database(&mut input, database, queries);
        }
        insta::assert_snapshot!(input, @r#"
        \echo @ 1
        SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM (SELECT 2
        ) t;
        \if :ERROR
        SELECT '!' || to_json(:'LAST_ERROR_MESSAGE'::text);
        \endif
        \echo @ 2
        SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM (SELECT 3 -- why
        ) t;
        \if :ERROR
        SELECT '!' || to_json(:'LAST_ERROR_MESSAGE'::text);
        \endif
        SELECT count(*) = 1 AS there, coalesce(bool_or(datallowconn AND datconnlimit <> -2), false) AS open FROM pg_catalog.pg_database WHERE datname =  E'we''ird\\ "$(x)' \gset
        \if :ERROR
        \elif :open
        \connect -reuse-previous=on 'dbname=\'we\\\'ird\\\\ """"$(x)\''
        SET default_transaction_read_only = on;
        \echo @ 0
        SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM (SELECT 1
        ) t;
        \if :ERROR
        SELECT '!' || to_json(:'LAST_ERROR_MESSAGE'::text);
        \endif
        \elif :there
        \echo @ 0
        \echo =
        \else
        \echo @ 0
        \echo -
        \endif
        "#);
    }

    #[test]
    fn a_failing_query_costs_only_its_own_answer() {
        let keys =
            [query("postgres", "a"), query("postgres", "b"), query("nope", "c"), query("postgres", "d"), query("shut", "e")];
        let keys: Vec<&Query> = keys.iter().collect();
        let golden = "@ port 5432\n@ 0\n[{\"a\": \"x\\n@ 1\"}]\n@ 1\nERROR:  22P02\n\
            !\"invalid input syntax for type integer: \\\"x\\ny\\\"\"\n@ 3\n[]\n@ 2\n-\n@ 4\n=\n\n@ end 0\n";
        let answers = read(&keys, golden);
        assert_eq!(answers[0], Ok(Answer::Rows(vec![json!({"a": "x\n@ 1"})])));
        assert_eq!(answers[1].as_ref().unwrap_err().0, "PostgreSQL reports: invalid input syntax for type integer: \"x\ny\"");
        assert_eq!(answers[2], Ok(Answer::NoDatabase));
        assert_eq!(answers[3], Ok(Answer::Rows(Vec::new())));
        assert_eq!(answers[4], Ok(Answer::Closed));
    }

    #[test]
    fn a_missing_server_is_an_answer() {
        let key = query("postgres", "a");
        let why = |stdout: &str| match &read(&[&key], stdout)[0] {
            Ok(Answer::NoServer { why }) => why.clone(),
            other => format!("{other:?}"),
        };
        assert_eq!(why("@ absent psql is not installed\n"), "psql is not installed");
        let golden = "@ port 5432\npsql: error: connection to server on socket \"/var/run/postgresql/.s.PGSQL.5432\" failed: \
            No such file or directory\n\tIs the server running locally and accepting connections on that socket?\n\n@ end 2\n";
        assert_eq!(why(golden), "PostgreSQL does not answer on port 5432");
    }

    #[test]
    fn a_server_that_refuses_or_dies_is_no_answer() {
        let key = query("postgres", "a");
        for (stdout, reason) in [
            (
                "@ port 5432\npsql: error: connection to server failed: FATAL:  the database system is starting up\n\n@ end 2\n",
                "starting up",
            ),
            ("@ port 5432\n@ 0\n[{\"a\": 1\n@ end 2\n", "[{\"a\": 1"),
            ("@ port 5432\n@ 0\nserver closed the connection unexpectedly\n\n@ end 2\n", "server closed the connection"),
            ("@ port 5432\n\n@ end 0\n", "psql ended early"),
            ("", "psql ended early"),
        ] {
            let answers = read(&[&key], stdout);
            assert!(answers[0].as_ref().unwrap_err().0.contains(reason), "{answers:?}");
        }
        let late = Pg::read(&[&key], &Output { status: 124, stdout: Vec::new() });
        assert_eq!(late[0].as_ref().unwrap_err().0, "asking for PostgreSQL took too long");
    }

    #[test]
    fn debug_output_does_not_show_rows() {
        assert_eq!(format!("{:?}", Answer::Rows(vec![json!({"rolpassword": "SCRAM"})])), "Rows(1 rows)");
    }
}
