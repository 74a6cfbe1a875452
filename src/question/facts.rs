//! Facts about a node: operating system, hardware, network. They never include anything that a task can change.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{Kind, Output, Turn, Unanswered};
use crate::script::{NulByte, Script};

/// Marker for the kind "facts". The answer is the object `ansible_facts`, with the supported ones of Ansible's facts under Ansible's names.
#[derive(Debug)]
pub struct Facts;

impl Kind for Facts {
    type Key = ();
    type Answer = Value;
    const NAME: &'static str = "facts";
    const LONGEST: usize = 1 << 20;
    const TURN: Turn = Turn::Files;
    const IN_PLACE: bool = true;

    fn reads(_: &[&()]) -> Result<String, NulByte> {
        Ok("root= facts=\nlist_facts\nset -- $facts \"$@\"\n".to_owned())
    }

    fn script(_: &[&()]) -> Script {
        script_below("")
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Value, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("facts", keys.len());
        }
        keys.iter().map(|()| parse(&String::from_utf8_lossy(&output.stdout))).collect()
    }
}

/// Appends the files that the facts are in to `$facts`; their directory `$root` is empty except in tests. The status of the process that reads it lists the
/// processors on which that may run, which containers and control groups limit.
const FILES: &str = r#"
list_facts() {
for file in self/status sys/kernel/arch sys/kernel/osrelease sys/kernel/hostname sys/kernel/ostype; do facts="$facts $root/proc/$file"; done
for file in "$root/etc/os-release" "$root/usr/lib/os-release"; do
  if [ -r "$file" ]; then facts="$facts $file"; break; fi
done
for file in meminfo net/route net/fib_trie; do facts="$facts $root/proc/$file"; done
}
"#;

/// Returns the script for files below `root`.
fn script_below(root: &str) -> Script {
    Script::new(include_str!("facts.sh")).using(FILES).arg(root)
}

/// The facts: name, what it is, and what it says.
pub const FACTS: &[(&str, &str, &str)] = &[
    ("distribution", "text", "The distribution: `Debian`, `Ubuntu`"),
    ("distribution_version", "text", "Its version: `12`, `24.04`"),
    ("distribution_major_version", "text", "The first part of its version: `12`, `24`"),
    ("distribution_release", "text", "Its release: `bookworm`, `noble`"),
    ("os_family", "text", "The family of distributions: `Debian` for Ubuntu, too"),
    ("system", "text", "The kernel: `Linux`"),
    ("kernel", "text", "Its version, as `uname -r` says"),
    ("architecture", "text", "The machine's architecture, as `uname -m` says: `x86_64`, `aarch64`"),
    ("hostname", "text", "The node's name up to its first dot"),
    ("nodename", "text", "The node's name, as `uname -n` says"),
    ("fqdn", "text", "The node's name with its domain"),
    ("memtotal_mb", "a number", "Memory, in MiB"),
    ("swaptotal_mb", "a number", "Swap, in MiB"),
    ("processor_vcpus", "a number", "Processors"),
    ("default_ipv4", "a map", "`address`, `gateway` and `interface` of the default route"),
    ("all_ipv4_addresses", "a list", "All IPv4 addresses but loopback's"),
];

fn parse(text: &str) -> Result<Value, Unanswered> {
    let mut facts = serde_json::Map::new();
    let mut release = std::collections::HashMap::new();
    let mut addresses = Vec::new();
    let mut routes = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.split_once('.') {
            Some(("os", key)) => {
                release.insert(key.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            }
            Some(("number", key)) => {
                let number: u64 = value.parse().map_err(|_| Unanswered(format!("the node's fact `{key}` is not a number")))?;
                facts.insert(key.to_owned(), json!(number));
            }
            Some(("text", key)) => {
                facts.insert(key.to_owned(), json!(value));
            }
            Some(("address", _)) => {
                addresses.push(value.parse().map_err(|_| Unanswered(format!("`{value}` is not an address of the node")))?);
            }
            Some(("route", _)) => routes.extend(Route::parse(value)),
            Some(_) | None => {}
        }
    }
    let os = |key: &str| release.get(key).cloned().unwrap_or_default();
    let distribution = match os("ID").as_str() {
        "" => return Err(Unanswered("the node has no /etc/os-release".to_owned())),
        "debian" => "Debian".to_owned(),
        "ubuntu" => "Ubuntu".to_owned(),
        "kali" => "Kali".to_owned(),
        other => other.to_owned(),
    };
    let like = format!("{} {}", os("ID"), os("ID_LIKE"));
    let family =
        ["debian", "rhel", "suse", "arch", "alpine"].iter().find(|name| like.split_whitespace().any(|word| word == **name));
    let family = match family {
        Some(&"rhel") => "RedHat".to_owned(),
        Some(&"arch") => "Archlinux".to_owned(),
        Some(name) => name[..1].to_uppercase() + &name[1..],
        None => distribution.clone(),
    };
    let version = os("VERSION_ID");
    facts.insert("distribution".into(), json!(distribution));
    facts.insert("distribution_version".into(), json!(version));
    facts.insert("distribution_major_version".into(), json!(version.split('.').next().unwrap_or_default()));
    facts.insert("distribution_release".into(), json!(os("VERSION_CODENAME")));
    facts.insert("os_family".into(), json!(family));
    facts.insert("all_ipv4_addresses".into(), json!(addresses));
    // The kernel lists routes to the same network in the order of their metric.
    let default = routes.iter().find(|route| route.mask == 0 && route.interface != "*");
    facts.insert(
        "default_ipv4".into(),
        json!({
            "address": default.and_then(|default| default.address(&routes, &addresses)),
            "gateway": default.map(|default| Ipv4Addr::from_bits(default.gateway)),
            "interface": default.map(|default| default.interface),
        }),
    );
    Ok(Value::Object(facts))
}

/// A route as `/proc/net/route` lists it.
#[derive(Debug)]
struct Route<'a> {
    interface: &'a str,
    destination: u32,
    /// 0 for a route without a gateway.
    gateway: u32,
    mask: u32,
}

impl<'a> Route<'a> {
    /// Parses `Iface Destination Gateway Flags RefCnt Use Metric Mask ...`. Numbers are hexadecimal, in the byte order of the node's processor; all
    /// supported processors are little-endian.
    fn parse(row: &'a str) -> Option<Self> {
        let fields: Vec<&str> = row.split_ascii_whitespace().collect();
        let number = |at: usize| Some(u32::from_str_radix(fields.get(at)?, 16).ok()?.swap_bytes());
        Some(Self { interface: fields.first()?, destination: number(1)?, gateway: number(2)?, mask: number(7)? })
    }

    /// Returns whether the route leads directly to the address, without a gateway.
    fn reaches(&self, address: u32) -> bool {
        self.mask != 0 && self.gateway == 0 && address & self.mask == self.destination
    }

    /// Returns the node's address on this route's interface. Of several addresses, the one in the gateway's network takes precedence.
    fn address(&self, routes: &[Self], addresses: &[Ipv4Addr]) -> Option<Ipv4Addr> {
        let mut networks: Vec<&Self> = routes.iter().filter(|route| route.interface == self.interface).collect();
        networks.sort_by_key(|network| !network.reaches(self.gateway));
        let on = |network: &&Self| addresses.iter().find(|address| network.reaches(address.to_bits()));
        // A provider may assign an address without a network and a gateway outside of it. The address is unambiguous when the node has only one.
        let only = || addresses.first().filter(|_| addresses.len() == 1);
        networks.iter().find_map(on).or_else(only).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::trial;
    use std::{fs, process::Command};

    #[test]
    fn parses_the_output_of_a_node() {
        let text = "os.ID=ubuntu\nos.ID_LIKE=debian\nos.VERSION_ID=\"22.04\"\nos.VERSION_CODENAME=jammy\nnumber.memtotal_mb=7976\n\
                    text.hostname=db; rm\naddress.0=10.0.0.1\nroute.=eth0 00000000 FE00000A 3 0 0 0 00000000 0 0 0\n\
                    route.=eth0 0000000A 00000000 1 0 0 0 00FFFFFF 0 0 0\n";
        insta::assert_snapshot!(serde_json::to_string_pretty(&parse(text).unwrap()).unwrap(), @r#"
        {
          "memtotal_mb": 7976,
          "hostname": "db; rm",
          "distribution": "Ubuntu",
          "distribution_version": "22.04",
          "distribution_major_version": "22",
          "distribution_release": "jammy",
          "os_family": "Debian",
          "all_ipv4_addresses": [
            "10.0.0.1"
          ],
          "default_ipv4": {
            "address": "10.0.0.1",
            "gateway": "10.0.0.254",
            "interface": "eth0"
          }
        }
        "#);
    }

    #[test]
    fn every_fact_of_a_node_is_declared() {
        let output = Command::new("sh").arg("-c").arg(script_below("").render().unwrap()).output().unwrap();
        let facts = parse(&String::from_utf8_lossy(&output.stdout)).unwrap();
        let known: std::collections::BTreeSet<&str> = facts.as_object().unwrap().keys().map(String::as_str).collect();
        let declared: std::collections::BTreeSet<&str> = FACTS.iter().map(|(name, ..)| *name).collect();
        assert_eq!(declared, known);
    }

    #[test]
    fn a_real_machine_answers() {
        let script = Facts::script(&[&()]).render().unwrap();
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        let facts = Facts::read(&[&()], &Output { status: 0, stdout: output.stdout }).remove(0).unwrap();
        assert!(facts["memtotal_mb"].as_u64().unwrap() > 0, "{facts}");
        assert!(facts["processor_vcpus"].as_u64().unwrap() > 0, "{facts}");
        assert!(!facts["hostname"].as_str().unwrap().is_empty(), "{facts}");
    }

    /// Returns the facts of a node with these files.
    fn with_files(files: &[(&str, &str)]) -> Value {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let script = script_below(root.path().to_str().unwrap());
        let done = trial::run(&script, root.path());
        Facts::read(&[&()], &Output { status: done.status, stdout: done.stdout }).remove(0).unwrap()
    }

    const RELEASE: (&str, &str) = ("etc/os-release", "NAME=x\nID=debian\nVERSION_ID=\"12\"\n");
    const ROUTES: &str = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT   \n";
    const DEFAULT: &str = "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0   \n";
    const NEAR: &str = "eth0\t0001A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0   \n";
    /// docker0 172.17.0.1/16, eth0 192.168.1.5/24.
    const TRIE: &str = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n     +-- 172.17.0.0/16 2 0 2\n        |-- 172.17.0.0\n           /16 link UNICAST\n        |-- 172.17.0.1\n           /32 host LOCAL\n        |-- 172.17.255.255\n           /32 link BROADCAST\n     +-- 192.168.1.0/24 2 0 2\n        |-- 192.168.1.0\n           /24 link UNICAST\n        |-- 192.168.1.5\n           /32 host LOCAL\n        |-- 192.168.1.255\n           /32 link BROADCAST\nLocal:\n     |-- 10.9.9.9\n        /32 host LOCAL\n";

    fn default_address(routes: &[&str]) -> Value {
        let routes = format!("{ROUTES}docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0   \n{}", routes.concat());
        let facts = with_files(&[RELEASE, ("proc/net/route", &routes), ("proc/net/fib_trie", TRIE)]);
        assert_eq!(facts["all_ipv4_addresses"], json!(["172.17.0.1", "192.168.1.5"]));
        facts["default_ipv4"].clone()
    }

    #[test]
    fn the_default_address_belongs_to_the_interface_of_the_default_route() {
        let eth0 = |address: Option<&str>| json!({"address": address, "gateway": "192.168.1.1", "interface": "eth0"});
        assert_eq!(default_address(&[DEFAULT, NEAR]), eth0(Some("192.168.1.5")));
        assert_eq!(default_address(&[NEAR, DEFAULT]), eth0(Some("192.168.1.5")));
        // 172.16.0.0/12 is routed to a gateway on eth0: docker0's address is not eth0's.
        let far = "eth0\t000010AC\t0901A8C0\t0003\t0\t0\t0\t0000F0FF\t0\t0\t0   \n";
        assert_eq!(default_address(&[DEFAULT, far]), eth0(None));
        // That network is also connected directly and has an address, but the gateway's network takes precedence.
        let second = "eth0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0   \n";
        assert_eq!(default_address(&[DEFAULT, second, NEAR]), eth0(Some("192.168.1.5")));
        // A route to half of all addresses (as VPNs use) is not a default route. Without a default route there is no default address.
        let half = "tun0\t00000000\t0108000A\t0003\t0\t0\t0\t00000080\t0\t0\t0   \n";
        assert_eq!(default_address(&[half, DEFAULT, NEAR]), eth0(Some("192.168.1.5")));
        assert_eq!(default_address(&[NEAR]), json!({"address": null, "gateway": null, "interface": null}));
    }

    #[test]
    fn an_address_without_a_network_is_the_default_if_it_is_the_only_one() {
        let routes =
            "route.=eth0 00000000 01011FAC 3 0 0 0 00000000 0 0 0\nroute.=eth0 01011FAC 00000000 5 0 0 0 FFFFFFFF 0 0 0\n";
        let facts = parse(&format!("os.ID=debian\n{routes}address.0=203.0.113.9\n")).unwrap();
        assert_eq!(facts["default_ipv4"]["address"], "203.0.113.9");
    }

    #[test]
    fn names_and_processors_are_read_from_the_kernel() {
        let facts = with_files(&[
            RELEASE,
            ("proc/self/status", "Name:\thead\nCpus_allowed:\tff\nCpus_allowed_list:\t0-2,5,7-8\nMems_allowed_list:\t0\n"),
            ("proc/sys/kernel/hostname", "db1.example.org\n"),
            ("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n"),
            ("proc/sys/kernel/ostype", "Linux\n"),
            ("proc/sys/kernel/arch", "riscv64\n"),
        ]);
        assert_eq!(facts["processor_vcpus"], 6);
        assert_eq!(
            (&facts["hostname"], &facts["nodename"], &facts["fqdn"]),
            (&json!("db1"), &json!("db1.example.org"), &json!("db1.example.org"))
        );
        assert_eq!(
            (&facts["kernel"], &facts["system"], &facts["architecture"]),
            (&json!("6.1.0-18-amd64"), &json!("Linux"), &json!("riscv64"))
        );
    }

    #[test]
    fn uname_provides_the_architecture_where_the_kernel_has_no_file_for_it() {
        let uname = Command::new("uname").arg("-m").output().unwrap();
        assert_eq!(with_files(&[RELEASE])["architecture"], String::from_utf8(uname.stdout).unwrap().trim());
    }

    #[test]
    fn a_node_without_os_release_is_an_error() {
        assert!(parse("text.hostname=x\n").is_err());
    }
}
