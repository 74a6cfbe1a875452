//! The processes that listen on a TCP port, with their units and directories.

use super::{Kind, Output, Turn, Unanswered, listening::TABLES};
use crate::script::Script;

/// A process that listens on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// The process id; 0 when no visible process has the socket.
    pub pid: u32,
    /// The process's name as the kernel keeps it (15 bytes).
    pub process: String,
    /// The systemd unit that it belongs to, such as `redis-server.service`; empty when there is none.
    pub unit: String,
    /// Its working directory; empty for a process of one of the requested units.
    pub directory: String,
}

/// A port, and the units that are expected to own it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Port {
    /// The port.
    pub port: u16,
    /// Units whose processes are searched first, because a busy node has many descriptors. `*` matches any text.
    pub units: Vec<String>,
}

/// Runs after [`TABLES`]. Arguments: ports in hex, `--`, units. Fields end with NUL, because names may contain anything.
const SCRIPT: &str = r#"
newline='
'
set -f
ports=
while [ "$1" != -- ]; do ports="$ports $1"; shift; done
shift
[ "$tables_status" -eq 0 ] || { printf '%s\n' "$tables"; return 1; }
fields() { address=$2 inode=${10}; }
sockets=
IFS=$newline
for row in $tables; do
  case $row in *:*' '*:*' 0A '*) ;; *) continue;; esac
  IFS=' '
  fields $row
  for port in $ports; do case $address in *:"$port") sockets="$sockets $port:$inode";; esac; done
  IFS=$newline
done
[ -n "$sockets" ] || return 0
export QUOTING_STYLE=literal
set +f
unset IFS
for root in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do [ ! -d "$root/system.slice" ] || break; done
pids=
for unit do
  for file in "$root"/system.slice/$unit/cgroup.procs "$root"/system.slice/*/$unit/cgroup.procs; do
    [ ! -r "$file" ] || while read -r pid; do pids="$pids $pid"; done <"$file"
  done
done
set --
# Listening sockets are opened early, so their descriptors have one or two digits.
for pid in $pids; do set -- "$@" "/proc/$pid/fd"/? "/proc/$pid/fd"/??; done
open=
if [ $# -gt 0 ]; then open=$(stat -c %N -- "$@" 2>/dev/null); fi
directories=
for socket in $sockets; do
  case $open in *" -> socket:[${socket#*:}]"*) ;; *)
    open=$(stat -c %N /proc/[0-9]*/fd/* 2>/dev/null)
    case $open in *'/proc/'*) ;; *) echo 'the open files of processes cannot be listed'; return 1;; esac
    directories=yes
    break;;
  esac
done
set -f
for socket in $sockets; do
  pids=' '
  IFS=$newline
  for file in $open; do
    case $file in *" -> socket:[${socket#*:}]")
      pid=${file#*/proc/} pid=${pid%%/*}
      case $pids in *" $pid "*) ;; *) pids="$pids$pid ";; esac;;
    esac
  done
  unset IFS
  [ "$pids" != ' ' ] || printf '%s\0%s\0\0\0\0' "${socket%:*}" 0
  for pid in $pids; do
    name='' unit='' directory=''
    { IFS= read -r name <"/proc/$pid/comm"; } 2>/dev/null || continue
    while IFS= read -r line; do
      case $line in 0::*|*:name=systemd:*) if [ -z "$unit" ] || [ "$unit" = / ]; then unit=${line#*:*:}; fi;; esac
    done 2>/dev/null <"/proc/$pid/cgroup"
    if [ -n "$directories" ]; then directory=$(readlink "/proc/$pid/cwd"); fi
    printf '%s\0%s\0%s\0%s\0%s\0' "${socket%:*}" "$pid" "$name" "$unit" "$directory"
  done
done
return 0
"#;

impl Kind for PortOwner {
    type Key = Port;
    /// All processes that have the listening socket open; only those in the requested units if any of these has it. Empty when nothing listens.
    type Answer = Vec<Self>;
    const NAME: &'static str = "port-owner";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;
    const PRELUDE: &'static str = TABLES;

    fn script(keys: &[&Port]) -> Script {
        // The script reads the links of descriptors but never follows them: a target may be a file on a server that hangs.
        Script::new(SCRIPT)
            .args(keys.iter().map(|key| format!("{:04X}", key.port)))
            .arg("--")
            .args(keys.iter().flat_map(|key| key.units.clone()))
    }

    fn read(keys: &[&Port], output: &Output) -> Vec<Result<Vec<Self>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("the owners of ports", keys.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split('\0').collect();
        keys.iter().map(|key| owners(key.port, &fields)).collect()
    }
}

fn owners(port: u16, fields: &[&str]) -> Result<Vec<PortOwner>, Unanswered> {
    let mut owners: Vec<PortOwner> = Vec::new();
    for record in fields.chunks_exact(5) {
        let &[record_port, pid, process, cgroup, directory] = record else { continue };
        if u16::from_str_radix(record_port, 16) != Ok(port) {
            continue;
        }
        let pid =
            pid.parse().map_err(|_| Unanswered(format!("the process that listens on port {port} could not be determined")))?;
        let owner = PortOwner { pid, process: process.to_owned(), unit: innermost_unit(cgroup), directory: directory.to_owned() };
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    Ok(owners)
}

/// Returns the innermost service or scope of a control group (`/system.slice/system-postgresql.slice/postgresql@15-main.service`). A unit may
/// have control groups below its own.
pub(super) fn innermost_unit(cgroup: &str) -> String {
    let is_unit = |part: &&str| part.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "service" | "scope"));
    cgroup.rsplit('/').find(is_unit).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Questions, tests::run};
    use std::net::TcpListener;

    fn ask(ports: &[u16]) -> Vec<Result<Vec<PortOwner>, Unanswered>> {
        let ports: Vec<Port> = ports.iter().map(|port| Port { port: *port, units: vec!["no-such@*.service".into()] }).collect();
        let mut questions = Questions::default();
        for port in &ports {
            questions.ask::<PortOwner>(port.clone());
        }
        let answers = run(questions);
        ports.iter().map(|port| answers.get::<PortOwner>(port).cloned()).collect()
    }

    #[test]
    fn this_process_is_found_by_its_port() {
        let (one, two) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [one.local_addr().unwrap().port(), 1, two.local_addr().unwrap().port()];
        let answers = ask(&ports);
        for index in [0, 2] {
            let owners = answers[index].as_ref().unwrap();
            let us = owners.iter().find(|owner| owner.pid == std::process::id()).unwrap();
            assert!(!us.process.is_empty());
            assert_eq!(us.directory, std::env::current_dir().unwrap().to_str().unwrap());
        }
        assert_eq!(answers[1], Ok(Vec::new()));
    }

    #[test]
    fn the_unit_is_the_innermost_service() {
        assert_eq!(
            innermost_unit("/system.slice/system-postgresql.slice/postgresql@15-main.service"),
            "postgresql@15-main.service"
        );
        assert_eq!(innermost_unit("/machine.slice/node.scope/payload/system.slice/redis.service/worker"), "redis.service");
        assert_eq!(innermost_unit("/"), "");
    }

    #[test]
    fn a_failed_question_is_not_a_free_port() {
        let answers = PortOwner::read(
            &[&Port { port: 6379, units: Vec::new() }],
            &Output { status: 1, stdout: b"the open files of processes cannot be listed\n".to_vec() },
        );
        assert!(answers[0].as_ref().unwrap_err().0.contains("cannot be listed"));
    }
}
