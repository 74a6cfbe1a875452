//! PostgreSQL: names and literals in SQL, password verifiers, and how this program starts psql on a node.

mod name;
pub mod scram;

pub use name::{Name, literal};

/// The port that PostgreSQL listens on unless told otherwise.
pub const PORT: u16 = 5432;

/// The database that every cluster is made with, where questions about the whole cluster are asked.
#[must_use]
pub fn maintenance_database() -> Name {
    Name::fixed("postgres")
}

/// The template that nobody can have changed.
#[must_use]
pub fn template0() -> Name {
    Name::fixed("template0")
}

/// Shell functions: `find_psql` sets `psql` to the program or to nothing; `as_postgres PORT ARGUMENT...` runs it over the local socket.
///
/// Debian's `/usr/bin/psql` is a Perl wrapper that takes twice as long as the program itself, hence the look behind it. psql warns about a
/// working directory that `postgres` may not enter, hence `cd /`.
pub const SHELL: &str = r#"
find_psql() {
    psql=
    for candidate in /usr/lib/postgresql/*/bin/psql; do
        if [ -x "$candidate" ]; then psql=$candidate; fi
    done
    if [ -z "$psql" ]; then psql=$(command -v psql) || psql=; fi
}
as_postgres() (
    cd / || exit 1
    port=$1
    shift
    export PGAPPNAME=autobot-provision PGCONNECT_TIMEOUT=10
    exec runuser -u postgres -- "$psql" -XAtqw -h /var/run/postgresql -p "$port" -d postgres "$@"
)
"#;

/// The shell that feeds its standard input to psql on port `$1` and stops at the first error. Terse, so that psql does not quote a failing
/// statement, which may hold a verifier.
pub const APPLY: &str = r#"set -eu
find_psql
if [ -z "$psql" ]; then echo 'psql is not installed' >&2; exit 1; fi
export PGOPTIONS='-c client_min_messages=warning'
as_postgres "$1" -v ON_ERROR_STOP=1 -v VERBOSITY=terse
"#;
