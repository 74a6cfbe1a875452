//! A whole configuration file of a PostgreSQL cluster: written, checked by the server itself, loaded by it, or restored.

use sha2::{Digest as _, Sha256};

use super::{Change, Diff, Line, Missing, NodeState, Verdict, put::with_put_file, unit_functions};
use crate::{
    pg,
    question::{
        Unanswered,
        pg_cluster::{self, Cluster, ClusterInfo, ClusterQuery, ETC, PgCluster, ServerAnswer},
    },
    script::{Script, TASK_LIMIT},
    secret::Sealed,
    values::{Mode, hex},
};

/// A file whose whole content is managed.
#[derive(Debug, Clone)]
pub(super) struct ClusterFile {
    pub(super) cluster: Cluster,
    /// Its path in the cluster's directory.
    pub(super) file: String,
    pub(super) mode: Mode,
    pub(super) text: String,
    /// Whether the server is restarted if its settings require it, and started if it is down.
    pub(super) restart: bool,
    /// Whether the file contains settings or rules.
    pub(super) kind: FileKind,
    /// The names of the settings in it, in lower case.
    pub(super) names: Vec<String>,
    /// Whether the text was derived from the old content of the file, and may be written only while the file still has that content.
    pub(super) shared: bool,
}

/// How a file is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileKind {
    /// By starting a server that only reads its settings.
    Settings,
    /// By asking the running server for what is wrong with its rules.
    Rules,
}

/// The cluster to compare with, or the verdict if it cannot be determined.
pub(super) enum Known<'a> {
    /// The cluster, and the directory of its configuration.
    Cluster(&'a ClusterInfo, String),
    /// There is no such cluster, or more than one.
    Settled(Box<Verdict>),
}

impl ClusterFile {
    pub(super) fn look(&self, sql: String) -> ClusterQuery {
        ClusterQuery { cluster: self.cluster.clone(), file: self.file.clone(), sql }
    }

    /// Finds the cluster.
    pub(super) fn known<'a>(&self, node: &NodeState<'a>, look: &ClusterQuery) -> Result<Known<'a>, Unanswered> {
        let found = node.answers.get::<PgCluster>(look)?;
        let name = &self.cluster.name;
        Ok(match found.versions.as_slice() {
            [version] => Known::Cluster(found, format!("{ETC}/{version}/{name}")),
            [] => {
                let version = self.cluster.version.as_ref().map(|version| format!(" of version {version}")).unwrap_or_default();
                let missing = vec![Missing::Other(format!("PostgreSQL's cluster `{name}`{version}"))];
                Known::Settled(Box::new(Verdict::Blocked { missing, change: self.change(None, node, "create") }))
            }
            several => Known::Settled(Box::new(Verdict::Refused(format!(
                "there are several clusters `{name}`, of versions {}; say which with `version`",
                several.join(", ")
            )))),
        })
    }

    /// Returns the differences of the file itself, in a few words.
    pub(super) fn differences(&self, file: Option<&pg_cluster::ConfigFile>) -> Vec<String> {
        let Some(file) = file else { return vec!["create".to_owned()] };
        let mut differences = Vec::new();
        if !file.regular {
            differences.push("replace an entry that is not a regular file".to_owned());
        } else if file.content != self.text.as_bytes() {
            differences.push("content".to_owned());
        }
        if file.regular && file.owner != OWNER {
            differences.push(format!("owner {} → {OWNER}", file.owner));
        }
        if file.regular && file.mode != self.mode {
            differences.push(format!("mode {} → {}", file.mode.octal(), self.mode.octal()));
        }
        differences
    }

    /// Returns the change; parts of it that are already done are repeated without harm.
    pub(super) fn change(&self, file: Option<&pg_cluster::ConfigFile>, node: &NodeState<'_>, summary: &str) -> Change {
        let before = file.filter(|file| file.regular);
        let mut diff = Diff::of_text(before.map(|file| file.content.as_slice()), &Sealed::from(self.text.as_str()), node.secrets);
        if let Some(file) = before {
            if file.owner != OWNER {
                diff.attribute("owner", &file.owner, OWNER);
            }
            if file.mode != self.mode {
                diff.attribute("mode", &file.mode.octal(), &self.mode.octal());
            }
        }
        if !diff.lines.is_empty() {
            diff.lines.insert(0, Line::Title(self.file.clone()));
        }
        let expected = before.map_or_else(|| "absent".to_owned(), |file| hex(&Sha256::digest(&file.content)));
        let expected = if self.shared { expected } else { String::new() };
        Change::new(summary, self.script().arg(expected)).diff(diff).replacing(file.is_some())
    }

    fn script(&self) -> Script {
        let names: Vec<String> = self.names.iter().map(|name| pg::literal(name)).collect();
        with_put_file(unit_functions::script(APPLY))
            .limit(if self.restart { 2 * TASK_LIMIT } else { TASK_LIMIT })
            .using(pg::SHELL_FUNCTIONS)
            .args([ETC, "/var/run/postgresql", "/usr/lib/postgresql"])
            .arg(match self.kind {
                FileKind::Settings => "settings",
                FileKind::Rules => "rules",
            })
            .arg(self.cluster.name.as_str())
            .arg(self.cluster.version.clone().unwrap_or_default())
            .arg(self.file.as_str())
            .arg(format!("{:05o}", self.mode.0))
            .arg(names.join(", "))
            .arg(if self.restart { "restart" } else { "" })
            .arg(self.text.len().to_string())
            .input(self.text.as_str())
    }
}

/// A column of a query: the lines of the server's files that keep it from reading any of them again. An error of a single value does not; and the
/// view cannot distinguish a wrong value from one that waits for a restart. An error without a file is about a setting that is in none any more.
pub(super) const UNREADABLE: &str =
    "(SELECT coalesce(jsonb_agg(format('%s, line %s: %s', sourcefile, sourceline, error) ORDER BY seqno), '[]')
  FROM pg_catalog.pg_file_settings WHERE error IS NOT NULL AND error <> 'setting could not be applied' AND sourcefile IS NOT NULL) AS unreadable";

/// Returns the reason why the server would not read its files again.
pub(crate) fn cannot_reload(unreadable: &[String]) -> Option<String> {
    (!unreadable.is_empty()).then(|| {
        format!(
            "PostgreSQL reads none of its files again, nor starts again, while one of them has an error: {}; correct or remove that line",
            unreadable.join("; ")
        )
    })
}

/// The owner and group that Debian gives the files.
const OWNER: &str = "postgres:postgres";

/// Returns the verdict if the server does not answer: blocked by it if the file is as declared, otherwise the change of the file.
pub(super) fn without_server(
    file: &ClusterFile,
    node: &NodeState<'_>,
    found: &ClusterInfo,
    directory: &str,
    why: &str,
) -> Verdict {
    let differences = file.differences(found.file.as_ref());
    let start = if file.restart { "start" } else { "without a server to read it" };
    if differences.is_empty() {
        let change = file.change(found.file.as_ref(), node, start);
        return Verdict::Blocked { missing: vec![Missing::Other(format!("the server of `{directory}` ({why})"))], change };
    }
    Verdict::Change(file.change(found.file.as_ref(), node, &format!("{}, {start}", differences.join(", "))))
}

/// Reads the row that the server returned; the inner error is why there is none.
pub(crate) fn row<T: serde::de::DeserializeOwned>(server: &ServerAnswer) -> Result<Result<T, &str>, Unanswered> {
    match server {
        ServerAnswer::Unavailable(why) => Ok(Err(why)),
        ServerAnswer::Row(value) => match serde_json::from_value(value.clone()) {
            Ok(row) => Ok(Ok(row)),
            Err(_) => Err(Unanswered("PostgreSQL returned a row of an unexpected form".into())),
        },
    }
}

/// `$1`..`$3`: directories of clusters, sockets, programs; `$4`: `settings` or `rules`; `$5`: the cluster; `$6`: its version or nothing;
/// `$7`: the file in its directory; `$8`: its mode; `$9`: the names of its settings, as a list of SQL strings; `${10}`: `restart` or nothing;
/// `${11}`: bytes of the content, which is on standard input; `${12}`: the checksum of the file it was derived from, `absent`, or nothing.
///
/// The old file is kept beside the new one until the server has accepted that, even across an interruption: a run that finds the declared
/// file and the old one continues where the interrupted run ended. `postgres -C` reads all files and checks every value;
/// `pg_file_settings` cannot distinguish a wrong value from one that waits for a restart. The running server checks rules in the file,
/// before it uses them. A reload is complete when a new connection sees it, which also shows that `postgres` can still log in.
const APPLY: &str = r#"set -eu
etc=$1 sockets=$2 programs=$3 kind=$4 cluster=$5 version=$6 name=$7 mode=$8 names=$9
shift 9
restart=$1 size=$2 expected=${3-}
fail() { printf '%s\n' "$1" >&2; exit 1; }
directory= number=
for candidate in "$etc"/*/"$cluster"; do
    [ -f "$candidate/postgresql.conf" ] || continue
    this=${candidate%/*}
    this=${this##*/}
    case $version in ''|"$this") ;; *) continue;; esac
    [ -z "$directory" ] || fail "there are several clusters \`$cluster\`; say which with \`version\`"
    directory=$candidate number=$this
done
[ -n "$directory" ] || fail "there is no cluster \`$cluster\` of PostgreSQL on this node"
find_psql
[ -n "$psql" ] || fail 'psql is not installed'
file=$directory/$name here=./${name##*/} old=./${name##*/}.before-autobot-provision unit=postgresql@$number-$cluster.service
ask() { as_postgres "$port" -v ON_ERROR_STOP=1 -v VERBOSITY=terse -c "$1" </dev/null; }
find_port() {
    port=
    for socket in "$sockets"/.s.PGSQL.*; do
        [ -S "$socket" ] || continue
        candidate=${socket##*.}
        config=$(port=$candidate; ask 'SHOW config_file' 2>/dev/null) || continue
        if [ "$config" = "$directory/postgresql.conf" ]; then port=$candidate; return 0; fi
    done
}
find_port
restarted=
undo() {
    status=$?
    trap '' HUP INT TERM; trap - EXIT
    [ "$status" != 0 ] || return 0
    if [ "$kind" = settings ] && ! [ -s "$old" ]; then rm -f -- "$here" "$old"; else mv -f -- "$old" "$here"; fi
    echo "$file was put back as it was" >&2
    if [ -n "$restarted" ]; then
        systemctl reset-failed -- "$unit" 2>/dev/null || :
        (unit_until=$end; unit_job "$unit" restart "did not restart") || echo "and $unit did not start with it either" >&2
    elif [ -n "$port" ]; then
        (unit_job "$unit" reload "did not reload") || :
    fi
    exit "$status"
}
content=$(cat && echo .)
content=${content%.}
[ "$(printf %s "$content" | wc -c)" -eq "$size" ] || fail "the content did not arrive whole; $file stays as it was"
go postgres "$file" ''
if [ -f "$old" ] && [ -f "$here" ] && [ "$(cat -- "$here" && echo .)" = "$content." ]; then
    :
elif [ -f "$here" ]; then
    cp -p -P --remove-destination -- "$here" "$old.new"
    mv -f -- "$old.new" "$old"
else
    rm -f -- "$old"; (set -C; : >"$old")
fi
trap undo EXIT
trap 'trap "" HUP INT TERM; exit 143' HUP INT TERM
printf %s "$content" | put_file "$file" postgres postgres "$mode" '' '' '' "$size" "$expected"
if [ "$kind" = settings ]; then
    output=$(cd / && runuser -u postgres -- "$programs/$number/bin/postgres" -D "$directory" -C port 2>&1) ||
        fail "PostgreSQL does not accept these settings:
$output"
    new_port=${output##*
}
else
    new_port=$port
    if [ -n "$port" ]; then
        errors=$(ask "SELECT 'line ' || line_number || ': ' || error FROM pg_catalog.pg_hba_file_rules WHERE error IS NOT NULL ORDER BY line_number")
        [ -z "$errors" ] || fail "PostgreSQL does not accept these rules:
$errors"
    fi
fi
pending=
if [ -n "$port" ]; then
    before=$(ask 'SELECT pg_catalog.pg_conf_load_time()')
    ask 'SELECT pg_catalog.pg_reload_conf()' >/dev/null
    tries=0
    while now=$(ask 'SELECT pg_catalog.pg_conf_load_time()') || fail 'with this, postgres can no longer log in over the local socket'; [ "$now" = "$before" ]; do
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || fail 'PostgreSQL was told to read its files again but did not within 10 s; see its log'
        sleep 0.1
    done
    if [ -n "$names" ]; then
        pending=$(ask "SELECT string_agg(name, ', ') FROM pg_catalog.pg_settings WHERE pending_restart AND lower(name) IN ($names)")
    fi
fi
if [ -n "$restart" ] && { [ -z "$port" ] || [ -n "$pending" ]; }; then
    # Half of the time is for the way back.
    restarted=yes end=$unit_until unit_until=$(((unit_began + unit_until) / 2))
    unit_read_files "$unit"
    (unit_restart "$unit") || fail "PostgreSQL does not start with this${pending:+: it was restarted for $pending}"
    port=${new_port:-}
    [ -n "$port" ] || find_port
    [ -n "$port" ] && ask 'SELECT 1' >/dev/null || fail 'PostgreSQL was started, but postgres cannot log in over the local socket'
fi
trap - EXIT
rm -f -- "$old"
sync -- .
"#;

#[cfg(test)]
#[path = "cluster_file_tests.rs"]
pub(super) mod tests;
