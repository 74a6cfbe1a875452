//! A PostgreSQL cluster as Debian lays it out: its versions, a file of its configuration, and a row from its server.
//!
//! The cluster's port is not read from files. Instead the script connects to each socket and asks which configuration file its server reads.

use base64::Engine as _;
use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Lane, Output, Unanswered, first_line, way::WAY};
use crate::{pg, script::Script, values::Mode};

/// The directory in which Debian keeps a directory for each version and, below it, one for each cluster.
pub const ETC: &str = "/etc/postgresql";

/// A cluster, named as in `pg_lsclusters`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cluster {
    /// Its name, such as `main`.
    pub name: String,
    /// Its version, such as `17`; when `None`, the node must have exactly one version.
    pub version: Option<String>,
}

impl Cluster {
    /// Validates both words, which become parts of paths.
    ///
    /// # Errors
    /// Returns the invalid parameter and what is wrong with it.
    pub fn new(name: String, version: Option<String>) -> Result<Self, (&'static str, String)> {
        let plain = |text: &str, also: &str| {
            !text.is_empty()
                && !text.starts_with(['.', '-'])
                && text.chars().all(|character| character.is_ascii_alphanumeric() || also.contains(character))
        };
        if !plain(&name, "_.") {
            return Err((
                "cluster",
                format!("`{name}` is not a valid cluster name, such as `main`; a name has letters, digits, `_` and `.`"),
            ));
        }
        if let Some(version) = version.as_ref().filter(|version| !plain(version, ".")) {
            return Err(("version", format!("`{version}` is not a PostgreSQL version, such as \"17\"")));
        }
        Ok(Self { name, version })
    }
}

/// Marker for the kind "PostgreSQL clusters".
#[derive(Debug)]
pub struct PgCluster;

/// The question about a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterQuery {
    /// The cluster.
    pub cluster: Cluster,
    /// The file in its directory, such as `pg_hba.conf`.
    pub file: String,
    /// One SELECT of one row, without a semicolon; values in it go through [`pg::literal`].
    pub sql: String,
}

/// The answer about a cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusterInfo {
    /// The versions that have a cluster of this name. Unless there is exactly one, nothing else was asked.
    pub versions: Vec<String>,
    /// The file, if it exists.
    pub file: Option<ConfigFile>,
    /// The server's answer.
    pub server: ServerAnswer,
}

/// A configuration file of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Its content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: Mode,
    /// Owner and group, such as `postgres:postgres`.
    pub owner: String,
    /// Whether it is a regular file rather than a link.
    pub regular: bool,
    /// When it last changed, in microseconds: its content, or which file has its name. A copy that keeps the time of its content has a new one here.
    pub changed: i64,
    /// When its content was last written, in microseconds, as the file says.
    pub modified: i64,
}

/// Whether a server has read a file as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// It has.
    Read,
    /// The file was written since.
    Unread,
    /// Something of the file changed since, but its content is said to be older: its mode or owner, the name of an older file, or its times, as a
    /// backup sets them back. Its content may be another one.
    Unknown,
}

/// How far the time of a file may be behind: the kernel takes that of its last tick, which comes every 10 ms at least.
const TICK: i64 = 10_000;

/// A column of a query: when the server last read its files, in microseconds.
pub const LOADED: &str = "(extract(epoch FROM pg_conf_load_time()) * 1000000)::bigint AS loaded";

impl ConfigFile {
    /// Returns whether a server that read its files at the time which [`LOADED`] returned has read this one as it is.
    #[must_use]
    pub fn freshness(&self, loaded: i64) -> Freshness {
        if self.changed + TICK <= loaded {
            Freshness::Read
        } else if self.modified + TICK > loaded {
            Freshness::Unread
        } else {
            Freshness::Unknown
        }
    }
}

/// The answer of a cluster's server.
#[derive(Debug, Clone, PartialEq)]
pub enum ServerAnswer {
    /// There is no answer, for this reason.
    Unavailable(String),
    /// The row that the query returned.
    Row(Value),
}

const ASK: &str = r#"
etc=$1 run=$2
shift 2
export PGOPTIONS='-c default_transaction_read_only=on -c statement_timeout=20s -c lock_timeout=5s -c client_min_messages=error'
find_psql
ask_cluster() {
    directory= count=0
    for candidate in "$etc"/*/"$1"; do
        [ -f "$candidate/postgresql.conf" ] || continue
        number=${candidate%/*}
        number=${number##*/}
        case $2 in ''|"$number") ;; *) continue;; esac
        count=$((count + 1)) directory=$candidate
        printf 'version %s\n' "$number"
    done
    [ "$count" = 1 ] || return 0
    file=$directory/$3
    # Its directory is the user postgres's own, who may put something else in its place: nothing is read by its name.
    if [ -f "$file" ] && [ ! -L "$file" ]; then
        (
            if reach postgres "$file" '' && command exec 3<"./$name" && sound postgres; then
                stat -c 'file %a %U:%G %.6Z %.6Y %F' - <&3
                printf 'content '
                base64 -w 0 <&3 && printf ' whole'
                printf '\n'
            else
                printf 'refused %s\n' "$(untrusted "$file")"
            fi
        )
    elif [ -e "$file" ] || [ -L "$file" ]; then
        stat -c 'file %a %U:%G %.6Z %.6Y %F' -- "$file"
    fi
    if [ -z "$psql" ]; then echo 'mute psql is not installed'; return 0; fi
    if [ -z "$group" ]; then echo 'mute there is no user `postgres`'; return 0; fi
    for socket in "$run"/.s.PGSQL.*; do
        [ -S "$socket" ] || continue
        port=${socket##*.}
        if reply=$(printf '%s\n' "$4" | as_postgres "$port" -v ON_ERROR_STOP=1 -v VERBOSITY=terse 2>&1); then
            printf 'said %s %s\n' "$directory/postgresql.conf" "$reply"
        else
            printf '%s\n' "$reply" | { read -r line; printf 'mute %s\n' "$line"; }
        fi
    done
}
while [ $# -ge 4 ]; do
    ask_cluster "$1" "$2" "$3" "$4"
    echo end
    shift 4
done
"#;

impl Kind for PgCluster {
    type Key = ClusterQuery;
    type Answer = ClusterInfo;
    const NAME: &'static str = "clusters";
    const LANE: Lane = Lane::Servers;

    fn script(keys: &[&ClusterQuery]) -> Script {
        script(keys, ETC, "/var/run/postgresql")
    }

    fn read(keys: &[&ClusterQuery], output: &Output) -> Vec<Result<ClusterInfo, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("PostgreSQL's clusters", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let mut lines = text.lines();
        keys.iter().map(|look| read_one(look, &mut lines)).collect()
    }
}

fn script(keys: &[&ClusterQuery], etc: &str, run: &str) -> Script {
    Script::new(ASK).using(WAY).using(pg::SHELL_FUNCTIONS).arg(etc).arg(run).args(keys.iter().flat_map(|look| {
        let version = look.cluster.version.clone().unwrap_or_default();
        let sql = format!(
            "SELECT json_build_object('config', current_setting('config_file'), 'said', (SELECT to_jsonb(t) FROM ({}\n) t));",
            look.sql
        );
        [look.cluster.name.clone(), version, look.file.clone(), sql]
    }))
}

#[derive(Deserialize)]
struct Reply {
    config: String,
    said: Value,
}

fn read_one(look: &ClusterQuery, lines: &mut std::str::Lines<'_>) -> Result<ClusterInfo, Unanswered> {
    let malformed =
        |line: &str| Unanswered(format!("the node's answer about the cluster `{}` is malformed: {line}", look.cluster.name));
    let mut found = ClusterInfo {
        versions: Vec::new(),
        file: None,
        server: ServerAnswer::Unavailable("its server is not running".to_owned()),
    };
    // Every answer is read to its end, so that the next one starts at the right line.
    let mut answer = Vec::new();
    let mut ended = false;
    for line in lines.by_ref() {
        if line == "end" {
            ended = true;
            break;
        }
        answer.push(line);
    }
    if !ended {
        return Err(malformed("it ended early"));
    }
    for line in answer {
        match line.split_once(' ').ok_or_else(|| malformed(line))? {
            ("version", version) => found.versions.push(version.to_owned()),
            ("file", rest) => {
                let [mode, owner, changed, modified, kind] = rest.splitn(5, ' ').collect::<Vec<_>>()[..] else {
                    return Err(malformed(line));
                };
                let micros = |time: &str| time.replace('.', "").parse().map_err(|_| malformed(line));
                let (changed, modified) = (micros(changed)?, micros(modified)?);
                let mode = Mode(u32::from_str_radix(mode, 8).map_err(|_| malformed(line))?);
                let regular = kind.starts_with("regular");
                found.file = Some(ConfigFile { content: Vec::new(), mode, owner: owner.to_owned(), regular, changed, modified });
            }
            ("content", rest) => {
                let whole = rest.strip_suffix(" whole").or_else(|| rest.strip_suffix("whole"));
                let bytes = whole.and_then(|text| base64::engine::general_purpose::STANDARD.decode(text.trim()).ok());
                let file = found.file.as_mut().ok_or_else(|| malformed(line))?;
                // A link or another special file has no content to compare.
                file.content =
                    if file.regular { bytes.ok_or_else(|| malformed("its file could not be read"))? } else { Vec::new() };
            }
            ("refused", why) => return Err(Unanswered(why.to_owned())),
            ("said", rest) => {
                let (config, json) = rest.split_once(" {").ok_or_else(|| malformed(line))?;
                let reply: Reply =
                    serde_json::from_str(&format!("{{{json}")).map_err(|_| malformed(&first_line(line.as_bytes())))?;
                if reply.config == config {
                    found.server = ServerAnswer::Row(reply.said);
                }
            }
            ("mute", why) => {
                if matches!(found.server, ServerAnswer::Unavailable(_)) {
                    found.server = ServerAnswer::Unavailable(why.to_owned());
                }
            }
            _ => return Err(malformed(line)),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial::{fake, run};
    use serde_json::json;
    use std::{fs, os::unix::net::UnixListener, path::Path};

    fn look(version: Option<&str>) -> ClusterQuery {
        let cluster = Cluster::new("main".into(), version.map(str::to_owned)).unwrap();
        ClusterQuery { cluster, file: "conf.d/x.conf".into(), sql: "SELECT 1 AS one".into() }
    }

    fn cluster(root: &Path, version: &str) {
        fs::create_dir_all(root.join(format!("etc/{version}/main/conf.d"))).unwrap();
        fs::write(root.join(format!("etc/{version}/main/postgresql.conf")), "").unwrap();
    }

    /// Two clusters with a server each; the fake `psql` returns the port on which it was asked.
    fn node() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for version in ["15", "17"] {
            cluster(root.path(), version);
        }
        fs::create_dir(root.path().join("run")).unwrap();
        fake(root.path(), "psql", "");
        fake(root.path(), "id", "echo 1");
        fake(
            root.path(),
            "setpriv",
            r#"while [ "$1" != -p ]; do shift; done
            cat >>$TOOLS/sql
            case $2 in 5433) v=17;; 5434) echo 'psql: error: FATAL:  starting up'; exit 2;; *) v=15;; esac
            echo "{\"config\" : \"$TOOLS/etc/$v/main/postgresql.conf\", \"said\" : {\"port\": $2}}""#,
        );
        root
    }

    fn ask(root: &Path, looks: &[&ClusterQuery]) -> Vec<Result<ClusterInfo, Unanswered>> {
        let (etc, sockets) = (root.join("etc"), root.join("run"));
        let done = run(&script(looks, etc.to_str().unwrap(), sockets.to_str().unwrap()), root);
        assert_eq!(done.stderr, "");
        PgCluster::read(looks, &Output { status: done.status, stdout: done.stdout })
    }

    #[test]
    fn a_cluster_is_found_with_its_file_and_the_server_that_reads_it() {
        let node = node();
        let hostile = b"a = 'end\nsaid x {}\n\xff'\n".to_vec();
        fs::write(node.path().join("etc/17/main/conf.d/x.conf"), &hostile).unwrap();
        let sockets = [5432, 5433].map(|port| UnixListener::bind(node.path().join(format!("run/.s.PGSQL.{port}"))).unwrap());
        fs::write(node.path().join("run/.s.PGSQL.5432.lock"), "").unwrap();
        let answers = ask(node.path(), &[&look(Some("17")), &look(Some("15")), &look(None), &look(Some("9"))]);
        let found = answers[0].as_ref().unwrap();
        assert_eq!(
            (found.versions.as_slice(), &found.server),
            (&["17".to_owned()][..], &ServerAnswer::Row(json!({"port": 5433})))
        );
        let file = found.file.as_ref().unwrap();
        assert_eq!(
            (file.content.clone(), file.mode, file.owner.as_str(), file.regular),
            (hostile, Mode(0o644), "root:root", true)
        );
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_micros();
        let age = i64::try_from(now).unwrap() - file.changed;
        assert!((0..60_000_000).contains(&age), "in microseconds: {age}");
        assert_eq!((file.freshness(file.changed + TICK), file.freshness(file.changed)), (Freshness::Read, Freshness::Unread));
        // A backup that sets the times back, or another mode: the content may be the same.
        let path = node.path().join("etc/17/main/conf.d/x.conf");
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
        let again = ask(node.path(), &[&look(Some("17"))]).remove(0).unwrap().file.unwrap();
        assert_eq!((again.modified, again.freshness(file.changed)), (1_000_000_000_000, Freshness::Unknown));
        let other = answers[1].as_ref().unwrap();
        assert_eq!((&other.file, &other.server), (&None, &ServerAnswer::Row(json!({"port": 5432}))));
        assert_eq!(answers[2].as_ref().unwrap().versions, ["15", "17"]);
        assert!(answers[3].as_ref().unwrap().versions.is_empty());
        drop(sockets);
    }

    #[test]
    fn a_server_that_does_not_answer_has_a_reason() {
        let node = node();
        assert_eq!(
            ask(node.path(), &[&look(Some("15"))])[0].as_ref().unwrap().server,
            ServerAnswer::Unavailable("its server is not running".into())
        );
        let _socket = UnixListener::bind(node.path().join("run/.s.PGSQL.5434")).unwrap();
        let answers = ask(node.path(), &[&look(Some("15"))]);
        assert_eq!(answers[0].as_ref().unwrap().server, ServerAnswer::Unavailable("psql: error: FATAL:  starting up".into()));
    }

    #[test]
    fn a_truncated_answer_is_no_answer() {
        for stdout in [
            "",
            "version 15\n",
            "version 15\nfile 644 a:b 1.000000 1.000000 regular file\ncontent YQ==\nend\n",
            "version 15\nfile 644 a:b 1.000000 x regular file\ncontent YQ== whole\nend\n",
            "said /x {\nend\n",
            "what\nend\n",
        ] {
            let answers = PgCluster::read(&[&look(None)], &Output { status: 0, stdout: stdout.into() });
            assert!(answers[0].is_err(), "{stdout}: {answers:?}");
        }
    }

    #[test]
    fn names_that_cannot_be_part_of_a_path_are_refused() {
        for name in ["", "../main", "a/b", "-x", ".x", "a b", "*"] {
            assert_eq!(Cluster::new(name.into(), None).unwrap_err().0, "cluster", "{name}");
        }
        assert_eq!(Cluster::new("main".into(), Some("1 7".into())).unwrap_err().0, "version");
    }
}
