//! PostgreSQL: names and literals in SQL, password verifiers, and the shell functions that run psql on a node.

mod name;
pub mod read_only;
pub mod scram;

pub use name::{Name, literal};

/// The port that PostgreSQL listens on by default.
pub const PORT: u16 = 5432;

/// Returns the database that every cluster is created with, where queries about the whole cluster run.
#[must_use]
pub fn maintenance_database() -> Name {
    Name::fixed("postgres")
}

/// Returns the template database that cannot have been changed.
#[must_use]
pub fn template0() -> Name {
    Name::fixed("template0")
}

/// Returns an SQL expression for the last line of the server's files that sets this, as `FILE:LINE`.
#[must_use]
pub fn place_of(setting: &str) -> String {
    format!(
        "(SELECT sourcefile || ':' || sourceline FROM pg_catalog.pg_file_settings WHERE lower(name) = '{setting}' AND error IS NULL ORDER BY seqno DESC LIMIT 1)"
    )
}

/// Says how the value of a setting is taken back that [`place_of`] has found.
#[must_use]
pub fn take_back(setting: &str, place: Option<&str>) -> String {
    match place {
        Some(place) if place.contains("/postgresql.auto.conf:") => {
            format!("it was set with ALTER SYSTEM; `alter system reset {setting}`, then `select pg_reload_conf()`")
        }
        Some(place) => format!("`{place}` sets it; remove it there, then `select pg_reload_conf()`"),
        None => "no file of the server says so any more; `select pg_reload_conf()`".to_owned(),
    }
}

/// Shell functions: `find_psql` sets `psql` to the path of psql and `group` to the GID of the account `postgres`, each empty if there is none;
/// `as_postgres PORT ARGUMENT...` runs psql as that account over the local socket.
///
/// Debian's `/usr/bin/psql` is a Perl wrapper that takes twice as long as the program itself, so the program is called directly. psql warns about
/// a working directory that `postgres` may not enter, hence `cd /`. setpriv is lighter than runuser, which loads PAM and waits for psql.
pub const SHELL_FUNCTIONS: &str = r#"
find_psql() {
    psql=
    for candidate in /usr/lib/postgresql/*/bin/psql; do
        if [ -x "$candidate" ]; then psql=$candidate; fi
    done
    if [ -z "$psql" ]; then
        psql=$(command -v psql) || psql=
        # The wrapper alone, which an interrupted installation can leave behind, does not count as psql.
        case $(readlink -f -- "$psql") in */pg_wrapper) psql= ;; esac
    fi
    group=
    # Reading it costs a fourth of what a process costs.
    while IFS=: read -r pw_name _ _ pw_gid _; do
        if [ "$pw_name" = postgres ]; then group=$pw_gid; break; fi
    done 2>/dev/null </etc/passwd || :
    [ -n "$group" ] || group=$(id -g postgres 2>/dev/null) || group=
}
as_postgres() (
    cd / || exit 1
    port=$1
    shift
    export PGAPPNAME=autobot-provision PGCONNECT_TIMEOUT=10
    exec setpriv --reuid postgres --regid "$group" --init-groups "$psql" -XAtqw -h /var/run/postgresql -p "$port" -d postgres "$@"
)
"#;

/// The shell text that feeds its standard input to psql on port `$1` and stops at the first error. Errors are terse, so that psql does not quote
/// a failing statement, which may contain a verifier.
pub const APPLY: &str = r#"set -eu
find_psql
if [ -z "$psql" ]; then echo 'psql is not installed' >&2; exit 1; fi
export PGOPTIONS='-c client_min_messages=warning'
as_postgres "$1" -v ON_ERROR_STOP=1 -v VERBOSITY=terse
"#;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Write as _,
        os::unix::fs::PermissionsExt as _,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::{
        question::{Kind as _, Output, pg as question},
        script::Script,
    };

    /// Replaces `setpriv --reuid postgres psql`: records its arguments and input, prints the file `reply` and exits with `status`.
    const FAKE: &str = r#"#!/bin/sh
printf '%s\n' "$@" "$PGOPTIONS" "$PGAPPNAME" "$(pwd)" >>"$FAKE/seen"
cat >>"$FAKE/input"
cat "$FAKE/reply"
exit "$(cat "$FAKE/status")"
"#;

    fn node(reply: &str, status: &str) -> tempfile::TempDir {
        let node = tempfile::tempdir().unwrap();
        for (name, text) in [("setpriv", FAKE), ("id", "#!/bin/sh\necho 1\n"), ("psql", ""), ("reply", reply), ("status", status)]
        {
            fs::write(node.path().join(name), text).unwrap();
            fs::set_permissions(node.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        node
    }

    fn run(node: &tempfile::TempDir, script: &Script, input: &str) -> std::process::Output {
        let path = format!("{}:/usr/bin:/bin", node.path().display());
        let mut shell = Command::new("sh");
        // This machine may have the account.
        let script = script.render().unwrap().replace("/etc/passwd", "/nonexistent");
        shell.arg("-c").arg(script).env("PATH", path).env("FAKE", node.path());
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        shell.wait_with_output().unwrap()
    }

    fn file(node: &tempfile::TempDir, name: &str) -> String {
        fs::read_to_string(node.path().join(name)).unwrap()
    }

    #[test]
    fn a_change_is_passed_through_standard_input_and_fails_with_psql() {
        let node = node("", "3");
        let script = Script::new(APPLY).using(SHELL_FUNCTIONS).arg("5433");
        assert_eq!(run(&node, &script, "ALTER ROLE ...").status.code(), Some(3));
        let seen = file(&node, "seen");
        assert!(seen.starts_with("--reuid\npostgres\n--regid\n1\n--init-groups\n") && seen.contains("/psql\n-XAtqw\n"), "{seen}");
        assert!(
            seen.contains("-p\n5433\n-d\npostgres\n-v\nON_ERROR_STOP=1\n") && seen.ends_with("autobot-provision\n/\n"),
            "{seen}"
        );
        assert_eq!(file(&node, "input"), "ALTER ROLE ...");
    }

    #[test]
    fn the_wrapper_alone_does_not_count_as_psql() {
        let node = node("", "0");
        fs::rename(node.path().join("psql"), node.path().join("pg_wrapper")).unwrap();
        std::os::unix::fs::symlink("pg_wrapper", node.path().join("psql")).unwrap();
        let script = Script::new("find_psql; echo \"[$psql]\"").using(SHELL_FUNCTIONS).render().unwrap();
        // This machine may have PostgreSQL installed.
        let script = script.replace("/usr/lib/postgresql", "/nonexistent");
        let path = format!("{}:/usr/bin:/bin", node.path().display());
        let output = Command::new("sh").arg("-c").arg(script).env("PATH", path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "[]\n");
    }

    #[test]
    fn questions_are_asked_once_per_port_and_cannot_write() {
        let node = node("@ 0\n[{\"one\": 1}]\n@ 1\n[]\n@ 2\n[]", "0");
        let query =
            |port| question::Query { database: maintenance_database(), sql: format!("SELECT {port} AS \"$(x) '\""), port };
        let keys = [query(5432), question::Query { sql: "SELECT 2".into(), ..query(5432) }, query(5433)];
        let keys: Vec<&question::Query> = keys.iter().collect();
        let output = run(&node, &question::Pg::script(&keys), "");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let answers = question::Pg::read(&keys, &Output { status: output.status.code().unwrap(), stdout: output.stdout });
        assert!(answers.iter().all(|answer| matches!(answer, Ok(question::Answer::Rows(_)))), "{answers:?}");
        let seen = file(&node, "seen");
        let input = file(&node, "input");
        assert_eq!((seen.matches("--reuid\npostgres\n").count(), input.matches(read_only::SET).count()), (2, 2));
        assert!(input.starts_with(read_only::SET), "{input}");
        assert!(input.contains("FROM (SELECT 5433 AS \"$(x) '\"\n) t;"));
    }
}
