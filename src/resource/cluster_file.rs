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
pub(super) fn row<T: serde::de::DeserializeOwned>(server: &ServerAnswer) -> Result<Result<T, &str>, Unanswered> {
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
pub(super) mod tests {
    use super::*;
    use crate::resource::{
        trial,
        unit_functions::tests::{calls, fake_systemd},
    };
    use std::{
        fs,
        os::unix::{fs::PermissionsExt as _, net::UnixListener},
        path::PathBuf,
    };

    const UP: &str = "Id=postgresql@15-main.service\nLoadState=loaded\nActiveState=active\nSubState=running\nMainPID=7\nActiveEnterTimestampMonotonic=5\nType=oneshot\nResult=success\n";

    /// A fake node in a directory: `runuser` and `setpriv` replace psql and postgres and answer from `answers/`.
    struct Node(tempfile::TempDir, #[allow(dead_code, reason = "held open")] Option<UnixListener>);

    impl Node {
        fn new(up: bool) -> Self {
            let root = tempfile::tempdir().unwrap();
            for directory in ["etc/15/main/conf.d", "run", "answers"] {
                fs::create_dir_all(root.path().join(directory)).unwrap();
            }
            fs::write(root.path().join("etc/15/main/postgresql.conf"), "").unwrap();
            fs::write(root.path().join("etc/15/main/pg_hba.conf"), "old\n").unwrap();
            trial::fake(root.path(), "psql", "");
            trial::fake(root.path(), "id", "echo 1");
            let answers = r#"for word do last=$word; done
                echo "$last" >>$TOOLS/asked
                [ ! -e $TOOLS/lock ] || exit 2
                case $last in
                  'SHOW config_file') echo $TOOLS/etc/15/main/postgresql.conf;;
                  port) cat $TOOLS/answers/check; [ ! -e $TOOLS/answers/bad ] || exit 1;;
                  *pg_hba_file_rules*) cat $TOOLS/answers/rules 2>/dev/null || :;;
                  *pg_conf_load_time*) cat $TOOLS/loaded 2>/dev/null || echo 0;;
                  *pg_reload_conf*) echo $$ >$TOOLS/loaded; [ ! -e $TOOLS/answers/locked ] || mv $TOOLS/answers/locked $TOOLS/lock;;
                  *pending_restart*) cat $TOOLS/answers/pending 2>/dev/null || :;;
                esac"#;
            trial::fake(root.path(), "runuser", answers);
            trial::fake(root.path(), "setpriv", answers);
            // The real one gives the file to postgres.
            trial::fake(root.path(), "chown", "");
            fake_systemd(root.path(), UP);
            let socket = up.then(|| UnixListener::bind(root.path().join("run/.s.PGSQL.5432")).unwrap());
            let node = Self(root, socket);
            node.answer("check", "5432\n");
            node
        }

        fn answer(&self, name: &str, text: &str) {
            fs::write(self.0.path().join("answers").join(name), text).unwrap();
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join("etc/15/main").join(name)
        }

        fn run(&self, file: &ClusterFile) -> trial::Done {
            self.run_script(&file.script(), file)
        }

        fn run_script(&self, script: &Script, file: &ClusterFile) -> trial::Done {
            let path = |name: &str| self.0.path().join(name).to_str().unwrap().to_owned();
            let text = script.render().unwrap();
            let text = text.replacen(ETC, &path("etc"), 1).replacen("/var/run/postgresql", &path("run"), 1);
            let text: &'static str = Box::leak(text.into_boxed_str());
            trial::run(&Script::new(text).input(file.text.as_str()), self.0.path())
        }
    }

    fn settings(restart: bool) -> ClusterFile {
        ClusterFile {
            cluster: Cluster::new("main".into(), None).unwrap(),
            file: "conf.d/50-autobot.conf".into(),
            mode: Mode(0o644),
            text: "max_connections = '200'\n".into(),
            restart,
            kind: FileKind::Settings,
            names: vec!["max_connections".into()],
            shared: false,
        }
    }

    fn rules() -> ClusterFile {
        ClusterFile {
            file: "pg_hba.conf".into(),
            mode: Mode(0o640),
            text: "new\n".into(),
            kind: FileKind::Rules,
            names: Vec::new(),
            ..settings(true)
        }
    }

    #[test]
    fn settings_are_checked_and_read_without_a_restart() {
        let node = Node::new(true);
        let done = node.run(&settings(true));
        assert_eq!((done.status, done.stderr.as_str()), (0, ""));
        let file = node.path("conf.d/50-autobot.conf");
        assert_eq!(fs::read_to_string(&file).unwrap(), "max_connections = '200'\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o644);
        assert!(!node.path("conf.d/50-autobot.conf.before-autobot-provision").exists());
        assert_eq!(calls(node.0.path()), "");
        let asked = fs::read_to_string(node.0.path().join("asked")).unwrap();
        assert!(
            asked.contains("lower(name) IN ('max_connections')") && asked.find("port\n") < asked.find("pg_reload_conf"),
            "{asked}"
        );
    }

    #[test]
    fn a_setting_that_needs_a_restart_gets_one_if_that_is_allowed() {
        let node = Node::new(true);
        node.answer("pending", "max_connections\n");
        assert_eq!(node.run(&settings(false)).status, 0);
        assert_eq!(calls(node.0.path()), "");
        assert_eq!(node.run(&settings(true)).status, 0);
        assert!(calls(node.0.path()).contains("restart postgresql@15-main.service"));
    }

    #[test]
    fn settings_that_postgresql_does_not_accept_are_reverted() {
        for before in [None, Some("work_mem = '4MB'\n")] {
            let node = Node::new(true);
            let file = node.path("conf.d/50-autobot.conf");
            if let Some(before) = before {
                fs::write(&file, before).unwrap();
            }
            node.answer("check", "LOG:  invalid value for parameter \"max_connections\": \"x\"\n");
            node.answer("bad", "");
            let done = node.run(&settings(true));
            assert_eq!(done.status, 1);
            assert!(
                done.stderr.contains("does not accept these settings:\nLOG:  invalid value") && done.stderr.contains("put back"),
                "{}",
                done.stderr
            );
            assert_eq!(fs::read_to_string(&file).ok().as_deref(), before);
            assert!(!node.path("conf.d/50-autobot.conf.before-autobot-provision").exists());
        }
    }

    #[test]
    fn a_failed_restart_is_repeated_with_the_old_file() {
        let node = Node::new(true);
        let file = node.path("conf.d/50-autobot.conf");
        fs::write(&file, "old\n").unwrap();
        node.answer("pending", "max_connections\n");
        fs::write(node.0.path().join("on-restart"), "[ -e $TOOLS/tried ] || { : >$TOOLS/tried; exit 1; }").unwrap();
        let done = node.run(&settings(true));
        assert_eq!(done.status, 1);
        assert!(done.stderr.contains("does not start with this: it was restarted for max_connections"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
        assert_eq!(calls(node.0.path()).matches("\nrestart ").count(), 2, "{}", calls(node.0.path()));
    }

    #[test]
    fn after_an_interruption_the_old_file_is_still_the_one_to_restore() {
        let node = Node::new(true);
        let file = node.path("conf.d/50-autobot.conf");
        fs::write(&file, settings(true).text).unwrap();
        fs::write(node.path("conf.d/50-autobot.conf.before-autobot-provision"), "old\n").unwrap();
        node.answer("bad", "");
        assert_eq!(node.run(&settings(true)).status, 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), "old\n");
    }

    #[test]
    fn a_server_that_is_down_is_started() {
        let node = Node::new(false);
        fs::write(node.0.path().join("on-restart"), "").unwrap();
        assert_eq!(node.run(&settings(true)).status, 0);
        assert!(calls(node.0.path()).contains("restart postgresql@15-main.service"));
        let node = Node::new(false);
        assert_eq!(node.run(&settings(false)).status, 0);
        assert_eq!(calls(node.0.path()), "");
    }

    #[test]
    fn rules_are_checked_before_they_are_used() {
        let node = Node::new(true);
        assert_eq!(node.run(&rules()).status, 0);
        assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "new\n");
        fs::remove_file(node.0.path().join("asked")).unwrap();
        fs::write(node.path("pg_hba.conf"), "good\n").unwrap();
        node.answer("rules", "line 3: invalid authentication method \"x\"\n");
        let done = node.run(&rules());
        assert_eq!(done.status, 1);
        assert!(done.stderr.contains("does not accept these rules:\nline 3: invalid"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "good\n");
        assert!(!fs::read_to_string(node.0.path().join("asked")).unwrap().contains("pg_reload_conf"));
    }

    #[test]
    fn a_shared_file_that_was_changed_meanwhile_is_left_alone() {
        let node = Node::new(true);
        let shared = ClusterFile { shared: true, ..rules() };
        let compared = |content: &str| {
            let file = pg_cluster::ConfigFile { content: content.into(), mode: Mode(0o640), owner: OWNER.into(), regular: true };
            let state =
                NodeState { answers: &crate::question::Answers::default(), secrets: &crate::secret::SecretValues::default() };
            shared.change(Some(&file), &state, "content").script
        };
        let done = node.run_script(&compared("another program's\n"), &shared);
        assert_eq!(done.status, 1);
        assert!(done.stderr.contains("was changed by another process at this very moment"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "old\n");
        for _ in 0..2 {
            let done = node.run_script(&compared("old\n"), &shared);
            assert_eq!((done.status, done.stderr.as_str()), (0, ""), "repeating the change does no harm");
            assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "new\n");
        }
    }

    #[test]
    fn rules_that_lock_postgres_out_are_reverted_and_the_old_ones_reloaded() {
        let node = Node::new(true);
        node.answer("locked", "");
        let done = node.run(&rules());
        assert_eq!(done.status, 1);
        assert!(done.stderr.contains("postgres can no longer log in"), "{}", done.stderr);
        assert_eq!(fs::read_to_string(node.path("pg_hba.conf")).unwrap(), "old\n");
        assert!(calls(node.0.path()).contains("reload postgresql@15-main.service"));
    }
}
