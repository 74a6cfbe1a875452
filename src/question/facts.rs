//! What kind of machine it is: operating system, hardware, network. Never anything that a task can change.

use serde_json::{Value, json};

use super::{Company, Kind, Output, Unanswered};
use crate::script::Script;

/// Ansible's facts, those that this tool knows, under Ansible's names. The answer is the object `ansible_facts`.
#[derive(Debug)]
pub struct Facts;

impl Kind for Facts {
    type Key = ();
    type Answer = Value;
    const NAME: &'static str = "facts";
    const COMPANY: Company = Company::Files;

    fn script(_: &[&()]) -> Script {
        Script::new(include_str!("facts.sh"))
    }

    fn read(keys: &[&()], output: &Output) -> Vec<Result<Value, Unanswered>> {
        if output.status != 0 {
            return output.unanswered("facts", keys.len());
        }
        keys.iter().map(|()| parse(&String::from_utf8_lossy(&output.stdout))).collect()
    }
}

fn parse(text: &str) -> Result<Value, Unanswered> {
    let mut facts = serde_json::Map::new();
    let mut release = std::collections::HashMap::new();
    let mut addresses = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        match key.split_once('.') {
            Some(("os", key)) => {
                release.insert(key.to_owned(), value.trim_matches(['"', '\'']).to_owned());
            }
            Some(("number", key)) => {
                let number: u64 = value.parse().map_err(|_| Unanswered(format!("the node's {key} is not a number")))?;
                facts.insert(key.to_owned(), json!(number));
            }
            Some(("text", key)) => {
                facts.insert(key.to_owned(), json!(value));
            }
            Some(("address", _)) => addresses.push(value.to_owned()),
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
    let default = |facts: &mut serde_json::Map<String, Value>, key: &str| facts.remove(key).unwrap_or(Value::Null);
    let interface = default(&mut facts, "default_interface");
    let address = default(&mut facts, "default_address");
    let gateway = default(&mut facts, "default_gateway");
    facts.insert("default_ipv4".into(), json!({ "address": address, "gateway": gateway, "interface": interface }));
    Ok(Value::Object(facts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn reads_what_a_node_prints() {
        let text = "os.ID=ubuntu\nos.ID_LIKE=debian\nos.VERSION_ID=\"22.04\"\nos.VERSION_CODENAME=jammy\nnumber.memtotal_mb=7976\n\
                    text.hostname=db; rm\naddress.0=10.0.0.1\ntext.default_interface=eth0\ntext.default_address=10.0.0.1\n";
        insta::assert_snapshot!(serde_json::to_string_pretty(&parse(text).unwrap()).unwrap(), @r#"
        {
          "memtotal_mb": 7976,
          "hostname": "db; rm",
          "all_ipv4_addresses": [
            "10.0.0.1"
          ],
          "os_family": "Debian",
          "distribution": "Ubuntu",
          "distribution_version": "22.04",
          "distribution_major_version": "22",
          "distribution_release": "jammy",
          "default_ipv4": {
            "address": "10.0.0.1",
            "gateway": null,
            "interface": "eth0"
          }
        }
        "#);
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

    #[test]
    fn a_node_without_os_release_is_an_error() {
        assert!(parse("text.hostname=x\n").is_err());
    }
}
