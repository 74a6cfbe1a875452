//! The TCP sockets that listen on a node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Kind, Output, Turn, Unanswered};
use crate::script::Script;

/// How much of each socket table is read, in bytes: the same number as in [`TABLES`]. The kernel lists listening sockets first, so the beginning of
/// a table is enough; this many bytes hold 400 sockets.
const MOST_BYTES: usize = 65_536;

/// Sets `$tables` to the rows of listening sockets at the beginnings of the kernel's socket tables, each table below a line with its name and with one
/// row that is of another socket, and `$tables_status` to head's exit status. A busy node has thousands of other rows.
/// Kinds share one read, because the kernel walks its whole hash table each time. Without IPv6 there is no second table.
pub(super) const TABLES: &str = "tables=$(
set -- /proc/net/tcp
if [ -e /proc/net/tcp6 ]; then set -- \"$@\" /proc/net/tcp6; fi
exec head -v -c 65536 -- \"$@\" 2>&1)
tables_status=$?
set -f
IFS='
'
rows=
for row in $tables; do
case $row in
'==> '*) other= ;;
*local_address* | *:*' '*:*' 0A '*) ;;
*) [ -z \"$other\" ] || continue; other=1 ;;
esac
rows=$rows$row$IFS
done
tables=$rows
unset IFS
set +f
";

/// Marker for the kind "all listening sockets".
#[derive(Debug)]
pub struct Listening;

/// A listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The address; unspecified (`0.0.0.0`, `::`) for all addresses.
    pub address: IpAddr,
    /// The port.
    pub port: u16,
    /// The user id of the process that created it.
    pub uid: u32,
    /// The socket's inode, which identifies its process.
    pub inode: u64,
}

impl Listener {
    /// Returns whether a connection to `address` and `port` would reach this socket.
    #[must_use]
    pub fn accepts(&self, address: IpAddr, port: u16) -> bool {
        let all = self.address.is_unspecified() && (self.address.is_ipv6() || address.is_ipv4());
        self.port == port && (all || self.address.to_canonical() == address.to_canonical())
    }
}

impl Kind for Listening {
    type Key = ();
    type Answer = Vec<Listener>;
    const NAME: &'static str = "listening";
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;
    const PRELUDE: &'static str = TABLES;

    fn script(_: &[&()]) -> Script {
        Script::new("printf '%s\\n' \"$tables\"; return \"$tables_status\"")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Vec<Listener>, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("listening ports", keys.len());
        }
        let listeners = listeners(&String::from_utf8_lossy(&output.stdout));
        keys.iter().map(|()| listeners.clone()).collect()
    }
}

/// Parses the kernel's tables (`Documentation/networking/proc_net_tcp.rst`), each below a line with its name (`==> /proc/net/tcp <==`).
fn listeners(text: &str) -> Result<Vec<Listener>, Unanswered> {
    let mut found = Vec::new();
    if !text.starts_with("==> ") {
        return Err(Unanswered("the kernel's table of sockets could not be read".to_owned()));
    }
    for table in text.split("==> ").skip(1) {
        let mut rows = table.trim_end_matches('\n').lines().skip(1);
        if !rows.next().is_some_and(|header| header.contains("local_address")) {
            return Err(Unanswered("the kernel's table of sockets could not be read".to_owned()));
        }
        let mut only_listeners = true;
        for row in rows {
            match parse(row) {
                Some((LISTEN, listener)) => found.push(listener),
                Some(_) => only_listeners = false,
                // The last row, at which the table was truncated.
                None if !only_listeners => {}
                None => return Err(Unanswered(format!("there are too many listening sockets, or a row cannot be read: {row}"))),
            }
        }
        if only_listeners && table.len() >= MOST_BYTES {
            return Err(Unanswered("there are more listening sockets than can be read".to_owned()));
        }
    }
    Ok(found)
}

/// `TCP_LISTEN` of the kernel.
const LISTEN: u8 = 0x0A;

fn parse(row: &str) -> Option<(u8, Listener)> {
    let fields: Vec<&str> = row.split_ascii_whitespace().collect();
    let (address, port) = fields.get(1)?.split_once(':')?;
    let listener = Listener {
        address: parse_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: fields.get(7)?.parse().ok()?,
        inode: fields.get(9)?.parse().ok()?,
    };
    Some((u8::from_str_radix(fields.get(3)?, 16).ok()?, listener))
}

/// Parses an address of 32-bit words in the byte order of the node's processor. All supported processors are little-endian.
fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| Some(u32::from_str_radix(hex.get(at..at + 8)?, 16).ok()?.to_le_bytes());
    match hex.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::{Questions, tests::run};
    use std::net::TcpListener;

    const GOLDEN: &str = "==> /proc/net/tcp <==\n  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:18EB 00000000:0000 0A 00000000:00000000 00:00000000 00000000   106        0 1619 1 00000000affe6ccb 100 0 0 10 0\n   1: 020200C0:A9E6 507100CB:0050 01 00000000:00000000 03:00001318 00000000     0        0 0 3 00000000a1ac6e5b\n   2: 0202";

    #[test]
    fn of_other_sockets_one_row_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let ask = |table: &str| {
            std::fs::write(directory.path().join("tcp"), table.split_once('\n').unwrap().1).unwrap();
            let prelude = TABLES.replace("/proc/net", directory.path().to_str().unwrap());
            let output = std::process::Command::new("sh").arg("-c").arg(prelude + "printf '%s\n' \"$tables\"").output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let (listener, other) = (GOLDEN.lines().nth(2).unwrap(), GOLDEN.lines().nth(3).unwrap());
        let busy = GOLDEN.to_owned() + "\n" + &format!("{other}\n").repeat(300);
        let sent = ask(&busy);
        assert_eq!(listeners(&sent), listeners(&busy));
        assert!(sent.len() < 600, "{sent}");
        // What is too much is still seen to be too much.
        let many = GOLDEN.replace(listener, &[listener; 600].join("\n"));
        assert!(listeners(&ask(&many)).is_err());
        assert!(listeners(&ask(&GOLDEN.replace(" 01 ", " 0A "))).is_err());
    }

    #[test]
    fn a_table_that_is_truncated_after_its_listeners_is_enough() {
        let found = listeners(GOLDEN).unwrap();
        assert_eq!(found, [Listener { address: Ipv4Addr::LOCALHOST.into(), port: 6379, uid: 106, inode: 1619 }]);
        assert!(listeners("nonsense\n").is_err());
        assert!(listeners(&GOLDEN.replace(" 01 ", " 0A ")).is_err());
    }

    #[test]
    fn the_address_decides_which_connections_are_accepted() {
        let listener = |address: &str| Listener { address: address.parse().unwrap(), port: 80, uid: 0, inode: 1 };
        let (v4, v6): (IpAddr, IpAddr) = ("127.0.0.1".parse().unwrap(), "::1".parse().unwrap());
        assert!(listener("0.0.0.0").accepts(v4, 80) && listener("::").accepts(v4, 80) && listener("::").accepts(v6, 80));
        assert!(listener("::ffff:127.0.0.1").accepts(v4, 80) && listener("127.0.0.1").accepts(v4, 80));
        assert!(
            !listener("0.0.0.0").accepts(v6, 80)
                && !listener("10.0.0.1").accepts(v4, 80)
                && !listener("127.0.0.1").accepts(v4, 81)
        );
    }

    #[test]
    fn this_machine_lists_its_listeners() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let six = TcpListener::bind("[::1]:0").ok();
        let mut questions = Questions::default();
        questions.ask::<Listening>(());
        let answers = run(questions);
        let found = answers.get::<Listening>(&()).unwrap();
        let takes =
            |at: std::net::SocketAddr| found.iter().any(|listener| listener.accepts(at.ip(), at.port()) && listener.inode > 0);
        assert!(takes(listener.local_addr().unwrap()), "{found:?}");
        assert!(six.is_none_or(|six| takes(six.local_addr().unwrap())), "{found:?}");
    }
}
