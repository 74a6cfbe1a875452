//! `wait_for`: waits until something listens on a port or a path exists, or no longer.

use std::{fmt::Write as _, net::IpAddr, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use super::{
    Change, Diff, Files, Kind, NodeState, ParamError, Reach, RemotePath, Resource, Verdict, decode,
    schema::{parameters, words},
};
use crate::{
    question::{
        Questions, Unanswered,
        listening::Listening,
        path::{Entry, PathQuery, PathState},
        way::WAY,
    },
    script::Script,
};

pub(super) const KIND: Kind = Kind {
    name: "wait_for",
    about: "Waits until a port is open or a path exists, or until it is gone",
    example: "wait_for: {port: 5432, timeout: 30}",
    decode: from_parameters,
    declared: Parameters::declared,
    free_form: "",
};

parameters! {
    #[derive(Debug)]
    struct Parameters {
        /// The TCP port.
        port: Option<u16>,
        /// The address of the port; 127.0.0.1 without it.
        host: Option<IpAddr>,
        /// The path, instead of a port.
        path: Option<RemotePath>,
        /// How long to wait, in seconds.
        timeout: u32 = 300,
        /// `started` and `present` wait until the port is open or the path exists, `stopped` and `absent` until it is gone.
        state: State = "started",
    }
}

words!(State);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Started,
    Present,
    Stopped,
    Absent,
}

#[derive(Debug)]
struct WaitFor {
    target: Target,
    /// Whether it must exist.
    present: bool,
    seconds: u32,
}

#[derive(Debug)]
enum Target {
    /// Something that listens on this node.
    Port(IpAddr, u16),
    /// Something at a path.
    Path(RemotePath),
}

/// The time limit beyond the time that the script itself waits.
const SPARE: Duration = Duration::from_secs(10);

fn from_parameters(parameters: Value, _: &mut dyn Files) -> Result<Box<dyn Resource>, ParamError> {
    let Parameters { port, host, path, timeout, state } = decode(parameters)?;
    let target = match (port, path) {
        (Some(0), None) => return Err(ParamError::parameter("port", "0 is not a port")),
        (Some(port), None) => Target::Port(host.unwrap_or(IpAddr::from([127, 0, 0, 1])), port),
        (None, Some(path)) if host.is_none() => Target::Path(path),
        (None, Some(_)) => return Err(ParamError::parameter("host", "goes with `port` only")),
        (Some(_), Some(_)) | (None, None) => return Err(ParamError::parameter("", "give either `port` or `path`")),
    };
    let present = matches!(state, State::Started | State::Present);
    Ok(Box::new(WaitFor { target, present, seconds: timeout }))
}

impl Resource for WaitFor {
    fn reach(&self) -> Reach<'_> {
        Reach::Contained(&[])
    }

    fn questions(&self, ask: &mut Questions) {
        match &self.target {
            Target::Port(..) => ask.ask::<Listening>(()),
            Target::Path(path) => ask.ask::<PathState>(PathQuery::existence(path)),
        }
    }

    fn compare(&self, node: &NodeState<'_>) -> Result<Verdict, Unanswered> {
        let exists = match &self.target {
            Target::Port(host, port) => node.answers.get::<Listening>(&())?.iter().any(|listener| listener.accepts(*host, *port)),
            Target::Path(path) => node.answers.get::<PathState>(&PathQuery::existence(path))?.entry != Entry::Absent,
        };
        if exists == self.present {
            return Ok(Verdict::CONVERGED);
        }
        let mut diff = Diff::none();
        if self.present {
            diff.added(self.target_name());
        } else {
            diff.removed(self.target_name());
        }
        let wanted = if self.present { "there" } else { "gone" };
        let script = Script::new(WAIT).using(WAY).arg(wanted).arg(self.seconds.to_string()).arg(self.target_name());
        let script = match &self.target {
            Target::Path(path) => script.arg(path.as_str()),
            Target::Port(host, port) => script.arg("").args(patterns(*host).into_iter().map(|host| format!("{host}:{port:04X}"))),
        };
        let limit = Duration::from_secs(self.seconds.into()) + SPARE;
        let summary = match (&self.target, self.present) {
            (Target::Port(..), true) => format!("nothing listens on {}", self.target_name()),
            (Target::Port(..), false) => format!("something still listens on {}", self.target_name()),
            (Target::Path(path), true) => format!("`{path}` does not exist"),
            (Target::Path(path), false) => format!("`{path}` still exists"),
        };
        Ok(Verdict::Change(Change::new(summary, script.limit(limit)).diff(diff)))
    }
}

impl WaitFor {
    fn target_name(&self) -> String {
        match &self.target {
            Target::Port(host @ IpAddr::V4(_), port) => format!("{host}:{port}"),
            Target::Port(host @ IpAddr::V6(_), port) => format!("[{host}]:{port}"),
            Target::Path(path) => path.as_str().to_owned(),
        }
    }
}

/// Returns the addresses, as the kernel's tables write them, on which a socket must listen to be reached at `host`.
fn patterns(host: IpAddr) -> Vec<String> {
    let hex = |bytes: &[u8]| {
        bytes.chunks(4).fold(String::new(), |mut text, word| {
            for byte in word.iter().rev() {
                let _ = write!(text, "{byte:02X}");
            }
            text
        })
    };
    let all = "0".repeat(32);
    match host {
        IpAddr::V4(v4) => vec![hex(&v4.octets()), "00000000".to_owned(), hex(&v4.to_ipv6_mapped().octets()), all],
        IpAddr::V6(v6) => vec![hex(&v6.octets()), all],
    }
}

/// `$1`: `there` or `gone`; `$2`: seconds; `$3`: the name for messages; `$4`: a path, or nothing, followed by sockets in the kernel's form.
const WAIT: &str = r#"set -eu
wanted=$1 seconds=$2 name=$3 path=$4
shift 4
look() {
  if [ -n "$path" ]; then
    # No link that another user could put there leads elsewhere.
    resolve "${path%/*}" || { untrusted "$path" >&2; echo no answer; return; }
    set -- "$way/${path##*/}"
    if [ -e "$1" ] || [ -L "$1" ]; then echo there; else echo gone; fi
    return
  fi
  for table in /proc/net/tcp /proc/net/tcp6; do if [ -e "$table" ]; then head -c 65536 "$table"; fi; done | {
    state=gone
    while read -r slot socket remote status rest; do
      [ "$status" = 0A ] || continue
      for address do if [ "$socket" = "$address" ]; then state=there; fi; done
    done
    echo "$state"
  }
}
uptime() { read -r now rest </proc/uptime; echo "${now%.*}"; }
end=$(( $(uptime) + seconds ))
until state=$(look "$@"); [ "$state" = "$wanted" ]; do
  [ "$state" != 'no answer' ] || exit 1
  [ "$(uptime)" -lt "$end" ] || {
    case $wanted in
      there) echo "\`$name\` is still not there after $seconds s" >&2;;
      gone) echo "\`$name\` is still there after $seconds s" >&2;;
    esac
    exit 1
  }
  sleep 0.2
done
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        question::{
            Answers,
            listening::Listener,
            path::{Attributes, PathInfo},
        },
        resource::trial::{NoFiles, run, shown},
        secret::SecretValues,
        values::Mode,
    };
    use serde_json::json;
    use std::{net::TcpListener, path::Path};

    fn set(answers: &mut Answers, path: &str, exists: bool) {
        let attributes = Attributes { mode: Mode(0o644), owner: "root".into(), group: "root".into(), uid: 0, gid: 0, changed: 0 };
        let entry = if exists { Entry::Other(attributes) } else { Entry::Absent };
        let query = PathQuery::existence(&RemotePath::new(path).unwrap());
        answers.set::<PathState>(query, Ok(PathInfo { entry, parent_exists: true }));
    }

    fn compare(parameters: Value, listens_at: Option<&str>, exists: bool) -> Verdict {
        let mut answers = Answers::default();
        let listener = |address: &str| Listener { address: address.parse().unwrap(), port: 6379, uid: 0, inode: 1 };
        answers.set::<Listening>((), Ok(listens_at.map(listener).into_iter().collect()));
        set(&mut answers, "/x", exists);
        let resource = from_parameters(parameters, &mut NoFiles).unwrap();
        resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap()
    }

    fn change(parameters: Value) -> Change {
        crate::resource::trial::change(compare(parameters, None, true))
    }

    #[test]
    fn a_condition_that_holds_is_converged() {
        assert!(matches!(compare(json!({"port": 6379}), Some("0.0.0.0"), false), Verdict::Converged { .. }));
        assert!(matches!(compare(json!({"port": 6379, "host": "::1"}), Some("::"), false), Verdict::Converged { .. }));
        assert!(matches!(compare(json!({"port": 6379, "state": "stopped"}), Some("10.0.0.1"), false), Verdict::Converged { .. }));
        assert!(matches!(compare(json!({"path": "/x", "state": "present"}), None, true), Verdict::Converged { .. }));
        assert!(matches!(compare(json!({"path": "/x", "state": "absent"}), None, false), Verdict::Converged { .. }));
    }

    #[test]
    fn a_condition_that_does_not_hold_yet_is_waited_for() {
        let port = change(json!({"port": 6379, "timeout": 20}));
        assert_eq!((shown(&port.diff).as_str(), port.script.time_limit()), ("+ 127.0.0.1:6379", Duration::from_secs(30)));
        assert_eq!(shown(&change(json!({"path": "/x", "state": "absent"})).diff), "- /x");
    }

    #[test]
    fn the_real_shell_sees_a_port_open_and_close() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(run(&change(json!({"port": port, "timeout": 0})).script, Path::new("/nonexistent")).status, 0);
        // Its own address is not reached through another loopback address.
        let other = run(&change(json!({"port": port, "timeout": 0, "host": "127.0.0.2"})).script, Path::new("/nonexistent"));
        assert_eq!((other.status, other.stderr), (1, format!("`127.0.0.2:{port}` is still not there after 0 s\n")));
    }

    #[test]
    fn the_real_shell_waits_until_a_path_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("it's $(here)");
        std::fs::write(&path, "").unwrap();
        let resource = from_parameters(json!({"path": path, "state": "absent", "timeout": 60}), &mut NoFiles).unwrap();
        let mut answers = Answers::default();
        set(&mut answers, path.to_str().unwrap(), true);
        let verdict = resource.compare(&NodeState { answers: &answers, secrets: &SecretValues::default() }).unwrap();
        let Verdict::Change(change) = verdict else { panic!() };
        let waiting = std::thread::spawn(move || run(&change.script, Path::new("/nonexistent")).status);
        assert!(!waiting.is_finished());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(waiting.join().unwrap(), 0);
    }

    #[test]
    fn addresses_are_written_as_the_kernel_writes_them() {
        let patterns = patterns("127.0.0.1".parse().unwrap());
        assert_eq!(patterns[..3], ["0100007F", "00000000", "0000000000000000FFFF00000100007F"]);
    }

    #[test]
    fn wrong_parameters_are_errors() {
        for parameters in [
            json!({}),
            json!({"port": 1, "path": "/x"}),
            json!({"port": 0}),
            json!({"path": "/x", "host": "::1"}),
            json!({"port": 1, "host": "db"}),
            json!({"port": 1, "state": "drained"}),
        ] {
            assert!(from_parameters(parameters.clone(), &mut NoFiles).is_err(), "{parameters}");
        }
    }
}
