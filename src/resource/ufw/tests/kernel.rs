//! The rules in the kernel that ufw does not show, on what a node of Debian 12 says.

use super::{obstacles::*, *};
use crate::question::ufw::said::{PLAIN, after, firewall};

/// What role `redis` declares on that node.
fn fleet() -> Value {
    json!({"rule": "allow", "port": 6379, "proto": "tcp", "from_ip": "198.18.0.0/16", "only": true})
}

fn accepting(words: &str) -> Value {
    let mut wanted = fleet();
    wanted["accepted"] = json!([words]);
    wanted
}

const OPEN: &str = "-p tcp -m tcp --dport 6379 -j ACCEPT";

/// Returns what the node says after these `iptables` commands.
fn four(lines: &[&str]) -> String {
    lines.iter().fold(PLAIN.to_owned(), |text, line| after(&text, false, line))
}

#[test]
fn what_ufw_has_of_itself_is_harmless() {
    assert_eq!(refusal(fleet(), &firewall(PLAIN)), None);
    assert!(converged(fleet(), firewall(PLAIN)));
    for port in [22, 53, 139, 1900, 5353] {
        let wanted = json!({"rule": "allow", "port": port, "from_ip": "10.0.0.1", "only": true});
        assert_eq!(refusal(wanted, &firewall(PLAIN)), None, "{port}");
    }
}

#[test]
fn a_rule_that_opens_the_port_is_named_wherever_it_is_and_in_whatever_form() {
    for lines in [
        &[&format!("-A INPUT {OPEN}")[..]][..],
        &[&format!("-I INPUT {OPEN}")],
        &["-A INPUT -p tcp -m tcp --dport 6379 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT"],
        &["-A INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 6379 -j ACCEPT"],
        &["-A INPUT -p tcp -m tcp --dport 6379 -m limit --limit 100/sec -j ACCEPT"],
        &["-A INPUT -p tcp -m tcp ! --dport 22 -j ACCEPT"],
        &["-A INPUT -p tcp -m multiport --ports 22,443 -j ACCEPT"],
        &["-A INPUT ! -i lo -j ACCEPT"],
        &["-A INPUT -i tailscale0 -j ACCEPT"],
        &["-A INPUT -m set --match-set friends src -j ACCEPT"],
        &["-A INPUT -p tcp -m tcp --dport 6379 -j NFQUEUE --queue-num 0"],
        &["-A INPUT -m conntrack --ctstate NEW -j ACCEPT"],
        // In a chain of others, by conditions of both rules.
        &["-A INPUT -p tcp -j mine", "-A mine -s 203.0.113.0/24 -j ACCEPT"],
        &["-A INPUT -s 203.0.113.0/24 -g mine", "-A mine -p tcp -m tcp --dport 6379 -j deeper", "-A deeper -j ACCEPT"],
        // What goes back before it is something else.
        &["-A INPUT -j mine", "-A mine -p udp -j RETURN", &format!("-A mine {OPEN}")],
        &["-A INPUT -p tcp -m tcp --dport 22 -j DROP", &format!("-A INPUT {OPEN}")],
    ] {
        let firewall = firewall(&four(lines));
        assert!(!firewall.is_broken(), "{lines:?}");
        let refusal = refusal(fleet(), &firewall).unwrap_or_else(|| panic!("{lines:?}"));
        let words = lines.iter().find(|line| refusal.contains(&format!(" by `{}`", line.replace("-I ", "-A "))));
        let words = words.unwrap_or_else(|| panic!("{refusal}")).replace("-I ", "-A ");
        assert!(refusal.contains("`, which is not ufw's") && refusal.contains("delete it where it is made"), "{refusal}");
        assert!(!refusal.contains("; 6379"), "it is named once: {refusal}");
        assert_eq!(unhealthy(fleet(), firewall.clone()), refusal);
        assert!(converged(accepting(&words), firewall), "{words}");
    }
}

#[test]
fn what_cannot_open_the_port_is_not_named() {
    for lines in [
        &["-A INPUT -p tcp -m tcp --dport 6380 -j ACCEPT"][..],
        &["-A INPUT -p udp -m udp --dport 6379 -j ACCEPT"],
        &["-A INPUT ! -p tcp -j ACCEPT"],
        &["-A INPUT -i lo -j ACCEPT"],
        &["-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"],
        &["-A INPUT -m conntrack ! --ctstate NEW -j ACCEPT"],
        &["-A INPUT -p tcp -m tcp --dport 6379 --tcp-flags FIN,SYN,RST,ACK ACK -j ACCEPT"],
        &["-A INPUT -d 224.0.0.0/4 -j ACCEPT"],
        &["-A INPUT -m addrtype --dst-type BROADCAST -j ACCEPT"],
        &["-A INPUT -m pkttype --pkt-type multicast -j ACCEPT"],
        &["-A INPUT -p tcp -m multiport ! --dports 22,6379 -j ACCEPT"],
        &["-A INPUT -s 198.18.7.0/24 -j ACCEPT"],
        &["-A INPUT -p tcp -j LOG --log-prefix \"-j ACCEPT \""],
        &["-A INPUT -p tcp -j MARK --set-xmark 0x1/0xffffffff"],
        &["-A INPUT -p tcp -m multiport --dports 22 -j mine", "-A mine -j ACCEPT"],
        // It comes to no packet.
        &["-A mine -j ACCEPT"],
        &["-A INPUT -p tcp -j REJECT --reject-with tcp-reset", &format!("-A INPUT {OPEN}")],
        &["-A INPUT -j mine", "-A mine -p tcp -j RETURN", &format!("-A mine {OPEN}")],
        &["-A INPUT -p tcp -g mine", "-A mine -p udp -j DROP", &format!("-A INPUT {OPEN}")],
        &["-A INPUT -p tcp -j ufw-user-input"],
    ] {
        let firewall = firewall(&four(lines));
        assert_eq!(refusal(fleet(), &firewall), None, "{lines:?}");
        assert!(converged(fleet(), firewall), "{lines:?}");
    }
    // Where ufw rejects what no rule lets in, nothing comes behind it.
    let reject = PLAIN.replace("INPUT_POLICY=\"DROP\"", "INPUT_POLICY=\"REJECT\"");
    let reject = after(&reject, false, "-A ufw-reject-input -j REJECT --reject-with icmp-port-unreachable");
    let reject = after(&reject, false, &format!("-A INPUT {OPEN}"));
    assert_eq!(refusal(fleet(), &firewall(&reject)), None);
}

#[test]
fn the_ways_out_name_what_the_rule_is_in() {
    let of = |text: &str| refusal(fleet(), &firewall(text)).unwrap();
    let appended = four(&[&format!("-A INPUT {OPEN}")]);
    let six = after(PLAIN, true, "-A INPUT ! -s 2001:db8::/32 -p tcp -m tcp --dport 6379 -j ACCEPT");
    let unknown = four(&["-A INPUT -m set --match-set friends src -j ACCEPT"]);
    let file = "file /etc/ufw/before.rules\n";
    let before = PLAIN.replace(file, &format!("{file}-A ufw-before-input -p tcp --dport 6379 -j ACCEPT\n"));
    let loaded = after(&before, false, &format!("-I ufw-before-input {OPEN}"));
    // Without a rule above it that ufw would show.
    let file = "file /etc/ufw/user.rules\n";
    let user = PLAIN.replace(file, &format!("{file}-A ufw-user-input -p tcp --dport 6379 -j ACCEPT\n"));
    let by_hand = after(&user, false, &format!("-I ufw-user-input {OPEN}"));
    assert!(!firewall(&by_hand).is_broken());
    insta::assert_snapshot!([&appended, &six, &unknown, &loaded, &by_hand].map(|text| of(text)).join("\n"), @r#"
    6379 is open to Anywhere by `-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not ufw's: delete it where it is made, and now (`iptables -D INPUT -p tcp -m tcp --dport 6379 -j ACCEPT`), or accept it with `accepted: ["-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)
    6379 is open to all but 2001:db8::/32 by `-A INPUT ! -s 2001:db8::/32 -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not ufw's: delete it where it is made, and now (`ip6tables -D INPUT ! -s 2001:db8::/32 -p tcp -m tcp --dport 6379 -j ACCEPT`), or accept it with `accepted: ["-A INPUT ! -s 2001:db8::/32 -p tcp -m tcp --dport 6379 -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)
    6379 is open to Anywhere by `-A INPUT -m set --match-set friends src -j ACCEPT`, which is not ufw's, unless its condition or target `-m set`, which is not known here, keeps packets out: delete it where it is made, and now (`iptables -D INPUT -m set --match-set friends src -j ACCEPT`), or accept it with `accepted: ["-A INPUT -m set --match-set friends src -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)
    6379 is open to Anywhere by `-A ufw-before-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is in /etc/ufw/before.rules: delete it there, then `ufw reload`, or accept it with `accepted: ["-A ufw-before-input -p tcp -m tcp --dport 6379 -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)
    6379 is open to Anywhere by `-A ufw-user-input -p tcp --dport 6379 -j ACCEPT`, which is in /etc/ufw/user.rules: delete it there, then `ufw reload`, or accept it with `accepted: ["-A ufw-user-input -p tcp --dport 6379 -j ACCEPT"]` (in the shipped roles the variable `firewall_accepted`)
    "#);
    // What a file of ufw has counts before it is in the kernel: ufw is off, or its chains are flushed.
    let flushed = format!("{}kernel 4\n-P INPUT ACCEPT\nkernel 6\n-P INPUT ACCEPT\n", before.split_once("kernel 4").unwrap().0);
    for text in [before.replace("ENABLED=yes", "ENABLED=no"), flushed.replace("ENABLED=yes", "ENABLED=no"), flushed] {
        assert!(
            of(&text).contains("by `-A ufw-before-input -p tcp --dport 6379 -j ACCEPT`, which is in /etc/ufw/before.rules: ")
        );
    }
    // In the words of the command that made it, it is accepted as well; an unknown condition in its own words only.
    assert!(converged(accepting("-A INPUT -p tcp --dport 6379 -j ACCEPT"), firewall(&appended)));
    assert!(!converged(accepting("-A INPUT -m set --match-set others src -j ACCEPT"), firewall(&unknown)));
}

#[test]
fn what_shuts_clients_out_before_ufws_rules_is_named_wherever_it_is() {
    for lines in [
        &["-I INPUT -p tcp -m tcp --dport 6379 -j DROP"][..],
        &["-I INPUT ! -s 10.0.0.0/8 -p tcp -m tcp --dport 6379 -j DROP"],
        &["-I INPUT -j mine", "-A mine -s 198.18.0.7/32 -j REJECT --reject-with icmp-port-unreachable"],
        &["-I ufw-before-input -p tcp -m tcp --dport 6379 -j DROP"],
        &["-I ufw-before-input -p tcp -m tcp --dport 6379 -j RETURN"],
        &["-I INPUT -p tcp -m tcp --dport 6379 -j RETURN"],
        &["-I INPUT -p tcp -g mine", "-A mine -p udp -j ACCEPT"],
    ] {
        let firewall = firewall(&four(lines));
        let refusal = refusal(fleet(), &firewall).unwrap_or_else(|| panic!("{lines:?}"));
        assert!(refusal.starts_with("6379 is shut to ") && refusal.contains(" by `-A "), "{refusal}");
        assert!(!refusal.contains("; 6379"), "it is named once: {refusal}");
        assert_eq!(unhealthy(fleet(), firewall), refusal);
    }
    for harmless in [
        &["-I INPUT ! -s 198.18.0.0/15 -p tcp -m tcp --dport 6379 -j DROP"][..],
        &["-I INPUT -m set --match-set blocked src -j DROP"],
        &["-I INPUT -p tcp -m conntrack --ctstate INVALID -j DROP"],
        &["-I INPUT -p tcp -m limit --limit 1/min -j DROP"],
        &["-I INPUT -s 203.0.113.9/32 -j DROP"],
        &["-I INPUT -j mine", "-A mine -p tcp -j RETURN", "-A mine -j DROP"],
        &["-A INPUT -j DROP"],
        &["-A ufw-before-input -p tcp -j RETURN"],
        &["-A ufw-after-input -j DROP"],
    ] {
        assert_eq!(refusal(fleet(), &firewall(&four(harmless))), None, "{harmless:?}");
    }
}
