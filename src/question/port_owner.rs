//! Who listens on a TCP port: process, unit, directory.

use super::{Company, Kind, Output, Unanswered};
use crate::script::Script;

/// A process that listens on the port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortOwner {
    /// The process's id; 0 when no process that can be seen here has the socket.
    pub pid: u32,
    /// The process's name, as the kernel keeps it (15 bytes).
    pub process: String,
    /// The systemd unit that it belongs to, such as `redis-server.service`; empty when there is none.
    pub unit: String,
    /// Its working directory.
    pub directory: String,
}

impl Kind for PortOwner {
    /// The port.
    type Key = u16;
    /// Everyone who has the listening socket open; empty when nothing listens.
    type Answer = Vec<Self>;
    const NAME: &'static str = "port-owner";
    const COMPANY: Company = Company::Files;

    fn script(ports: &[&u16]) -> Script {
        // Descriptors are looked at (one stat for all) only when something listens. Fields end with NUL, because names may hold anything.
        Script::new(
            "set -f
tables=$(for table in /proc/net/tcp /proc/net/tcp6; do if [ -e \"$table\" ]; then head -c 65536 \"$table\" || exit; fi; done) || exit
IFS='
'
sockets=
for row in $tables; do
  case $row in *:*' '*:*' 0A '*) ;; *) continue;; esac
  IFS=' '; words=$*; set -- $row; address=$2 inode=${10}; set -- $words; IFS='
'
  for port do case $address in *:\"$port\") sockets=\"$sockets $port:$inode\";; esac; done
done
if [ -n \"$sockets\" ]; then
  set +f
  open=$(stat -L -c '%i %n' /proc/[0-9]*/fd/* 2>/dev/null)
  set -f
  case $open in *' /proc/'*) ;; *) echo 'the open files of processes cannot be listed'; exit 1;; esac
  IFS=' '
  for socket in $sockets; do
    inode=${socket#*:} pids=' '
    IFS='
'
    for file in $open; do
      case $file in \"$inode /proc/\"*)
        pid=${file#*/proc/} pid=${pid%%/*}
        case $pids in *\" $pid \"*) ;; *) pids=\"$pids$pid \";; esac;;
      esac
    done
    IFS=' '
    [ \"$pids\" != ' ' ] || printf '%s\\0%s\\0\\0\\0\\0' \"${socket%:*}\" 0
    for pid in $pids; do
      name= unit=
      { IFS= read -r name <\"/proc/$pid/comm\"; } 2>/dev/null || continue
      while IFS= read -r line; do
        case $line in 0::*|*:name=systemd:*) if [ -z \"$unit\" ] || [ \"$unit\" = / ]; then unit=${line#*:*:}; fi;; esac
      done 2>/dev/null <\"/proc/$pid/cgroup\"
      printf '%s\\0%s\\0%s\\0%s\\0%s\\0' \"${socket%:*}\" \"$pid\" \"$name\" \"$unit\" \"$(readlink \"/proc/$pid/cwd\")\"
    done
  done
fi
exit 0",
        )
        .args(ports.iter().map(|port| format!("{port:04X}")))
    }

    fn read(ports: &[&u16], output: &Output) -> Vec<Result<Vec<Self>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("who listens", ports.len());
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split('\0').collect();
        ports.iter().map(|port| owners(**port, &fields)).collect()
    }
}

fn owners(port: u16, fields: &[&str]) -> Result<Vec<PortOwner>, Unanswered> {
    let mut owners: Vec<PortOwner> = Vec::new();
    for record in fields.chunks_exact(5) {
        let &[of, pid, process, cgroup, directory] = record else { continue };
        if u16::from_str_radix(of, 16) != Ok(port) {
            continue;
        }
        let pid = pid.parse().map_err(|_| Unanswered(format!("who listens on {port} could not be read")))?;
        let owner = PortOwner { pid, process: process.to_owned(), unit: unit_of(cgroup), directory: directory.to_owned() };
        if !owners.contains(&owner) {
            owners.push(owner);
        }
    }
    Ok(owners)
}

/// The innermost service or scope of a control group (`/system.slice/system-postgresql.slice/postgresql@15-main.service`); units may have groups
/// of their own below.
fn unit_of(cgroup: &str) -> String {
    let is_unit = |part: &&str| part.rsplit_once('.').is_some_and(|(_, kind)| matches!(kind, "service" | "scope"));
    cgroup.rsplit('/').find(is_unit).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;
    use std::net::TcpListener;

    fn ask(ports: &[u16]) -> Vec<Result<Vec<PortOwner>, Unanswered>> {
        let ports: Vec<&u16> = ports.iter().collect();
        let done = trial::run(&PortOwner::script(&ports), std::path::Path::new("/nonexistent"));
        PortOwner::read(&ports, &Output { status: done.status, stdout: done.stdout })
    }

    #[test]
    fn this_very_process_is_found_by_its_port() {
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
        assert_eq!(unit_of("/system.slice/system-postgresql.slice/postgresql@15-main.service"), "postgresql@15-main.service");
        assert_eq!(unit_of("/machine.slice/node.scope/payload/system.slice/redis.service/worker"), "redis.service");
        assert_eq!(unit_of("/"), "");
    }

    #[test]
    fn a_failed_look_is_not_a_free_port() {
        let answers =
            PortOwner::read(&[&6379], &Output { status: 1, stdout: b"the open files of processes cannot be listed\n".to_vec() });
        assert!(answers[0].as_ref().unwrap_err().0.contains("cannot be listed"));
    }
}
