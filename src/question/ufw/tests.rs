use super::*;

fn read(status: i32, stdout: &[u8]) -> Result<Answer, Unanswered> {
    Ufw::read(&[&()], &Output { status, stdout: stdout.to_vec() }).remove(0)
}

use said::{FORMS, PLAIN, after, firewall};

#[test]
fn reads_what_real_nodes_say() {
    let plain = firewall(PLAIN);
    assert!(plain.enabled && plain.ipv6 && plain.loaded && !plain.is_broken(), "{:?}", plain.gaps);
    assert_eq!((plain.incoming, plain.outgoing, plain.routed), (Policy::Deny, Policy::Allow, Policy::Deny));
    assert_eq!((plain.logging.as_str(), plain.rules.len()), ("low", 3));
    let forms = firewall(FORMS);
    assert!(forms.gaps.is_empty(), "{:?}", forms.gaps);
    assert_eq!(forms.rules.len(), 39);
    // What ufw has of itself and lets new connections in by.
    for firewall in [&plain, &forms] {
        let accepting = firewall.others.iter().filter(|other| other.rule.action.accepts());
        let lines: Vec<&str> = accepting.map(|other| other.line.text.as_str()).collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(lines.join("\n"), @"
            -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
            -A ufw6-before-input -s fe80::/10 -d fe80::/10 -p udp -m udp --sport 547 --dport 546 -j ACCEPT
            ");
        }
    }
}

#[test]
fn each_gap_between_ufws_files_and_the_kernel_is_named() {
    let without = |part: &str| {
        let text: String = PLAIN.split_inclusive('\n').filter(|line| !line.starts_with(part)).collect();
        firewall(&text)
    };
    let policy = |text: &str| firewall(&text.replace("-P INPUT DROP", "-P INPUT ACCEPT"));
    let open = "-p tcp -m tcp --dport 6379 -j ACCEPT";
    let four = |line: &str| firewall(&after(PLAIN, false, line));
    let old = "-A ufw-user-input -s 198.18.0.0/16 -p tcp -m tcp --dport 6379 -j ACCEPT\n";
    let reject = PLAIN.replace("INPUT_POLICY=\"DROP\"", "INPUT_POLICY=\"REJECT\"");
    let allow = PLAIN.replace("INPUT_POLICY=\"DROP\"", "INPUT_POLICY=\"ACCEPT\"");
    let all = [
        firewall(&PLAIN.replace("ufw-user-input", "other-user-input")),
        without("-A INPUT"),
        without("-A ufw6-before-input -j ufw6-user-input"),
        four("-I ufw-before-input -j RETURN"),
        policy(PLAIN),
        firewall(&allow),
        firewall(&PLAIN.replace(old, "")),
        firewall(&PLAIN.replace(old, &old.replace("-s 198.18.0.0/16 ", ""))),
        four(&format!("-I ufw-user-input {open}")),
        four(&format!("-A ufw-user-input {open}")),
        firewall(&after(PLAIN, true, &format!("-I ufw6-before-input {open}"))),
        four("-A ufw-track-input -p tcp -m set --match-set friends src -j ACCEPT"),
        four("-I ufw-before-input -p tcp -j NFQUEUE --queue-num 0"),
        firewall(&after(FORMS, false, "-I ufw-user-logging-input -j ACCEPT")),
        firewall(&after(FORMS, false, "-I ufw-user-limit-accept -j DROP")),
    ];
    assert!(all.iter().all(Firewall::is_broken));
    insta::assert_snapshot!(all.map(|firewall| firewall.gaps.join("; ")).join("\n"), @"
    ufw's IPv4 chains are not in the kernel
    INPUT does not lead to ufw's IPv4 rules in the kernel; INPUT does not lead to ufw's IPv6 rules in the kernel
    INPUT does not lead to ufw's IPv6 rules in the kernel
    INPUT does not lead to ufw's IPv4 rules in the kernel
    the IPv4 policy of INPUT is ACCEPT in the kernel; the IPv6 policy of INPUT is ACCEPT in the kernel
    the IPv4 policy of INPUT is DROP in the kernel; the IPv6 policy of INPUT is DROP in the kernel
    the kernel lacks `-A ufw-user-input -p tcp --dport 6379 -s 198.18.0.0/16 -j ACCEPT` of /etc/ufw/user.rules
    the kernel has `-A ufw-user-input -p tcp -m tcp --dport 6379 -j ACCEPT` in place of `-A ufw-user-input -p tcp --dport 6379 -s 198.18.0.0/16 -j ACCEPT` of /etc/ufw/user.rules
    the kernel has `-A ufw-user-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not in /etc/ufw/user.rules
    the kernel has `-A ufw-user-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is not in /etc/ufw/user.rules
    the kernel has `-A ufw6-before-input -p tcp -m tcp --dport 6379 -j ACCEPT`, which is in no file of ufw
    the kernel has `-A ufw-track-input -p tcp -m set --match-set friends src -j ACCEPT`, which is in no file of ufw
    the kernel has `-A ufw-before-input -p tcp -j NFQUEUE --queue-num 0`, which is in no file of ufw
    the kernel has `-A ufw-user-logging-input -j ACCEPT`, which is not in /etc/ufw/user.rules
    the kernel has `-A ufw-user-limit-accept -j DROP`, which is not in /etc/ufw/user.rules
    ");
    let fine = [
        four("-I ufw-before-input -s 203.0.113.9/32 -j DROP"),
        four("-I ufw-before-input -i lo -p tcp -j ACCEPT"),
        four("-I ufw-before-input -p tcp -m tcp --dport 6379 -m conntrack --ctstate ESTABLISHED -j ACCEPT"),
        four("-I ufw-before-input -p tcp -j LOG --log-prefix \"-j ACCEPT \""),
        four(&format!("-A INPUT {open}")),
        firewall(&after(&reject, false, "-A ufw-reject-input -j REJECT --reject-with icmp-port-unreachable")),
        firewall(&after(
            &allow.replace("-P INPUT DROP", "-P INPUT ACCEPT"),
            false,
            "-A ufw-track-input -p tcp -m conntrack --ctstate NEW -j ACCEPT",
        )),
    ];
    assert_eq!(fine.map(|firewall| firewall.gaps.join("; ")).join(""), "");
}

#[test]
fn without_rules_for_ipv6_its_policy_alone_decides() {
    let files = PLAIN.split_once("kernel 4").unwrap().0.replace("IPV6=yes", "IPV6=no");
    let four = PLAIN.split_once("kernel 4\n").unwrap().1.split_once("kernel 6\n").unwrap().0;
    let six = |text: &str| firewall(&format!("{files}kernel 4\n{four}kernel 6\n{text}"));
    let lo = "-A INPUT -i lo -j ACCEPT\n";
    let closed = six(&format!("-P INPUT DROP\n{lo}"));
    assert!(!closed.ipv6 && !closed.is_broken());
    for open in
        [String::new(), lo.to_owned(), format!("{lo}-A INPUT -p tcp -j DROP\n"), format!("{lo}-A INPUT -i eth0 -j DROP\n")]
    {
        let gaps = six(&format!("-P INPUT ACCEPT\n{open}")).gaps;
        assert_eq!(gaps, ["every IPv6 packet is let in, although `IPV6=no` means that none is"], "{open}");
    }
    assert!(!six(&format!("-P INPUT ACCEPT\n{lo}-A INPUT -j DROP\n")).is_broken(), "another program drops all");
    assert!(!six("absent\n").is_broken());
    let hole = six(&format!("-P INPUT DROP\n{lo}-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT\n"));
    assert_eq!(hole.others.last().unwrap().line.text, "-A INPUT -p tcp -m tcp --dport 6379 -j ACCEPT");
    let left = firewall(&PLAIN.replace("IPV6=yes", "IPV6=no"));
    assert!(!left.is_broken() && !left.ipv6, "what is left of IPv6 drops all the same");
}

#[test]
fn chains_that_lead_to_each_other_are_not_read_for_ever() {
    let mut text = after(PLAIN, false, "-A INPUT -j a0");
    for level in 0..30 {
        for condition in ["-s 10.0.0.0/8", "-p tcp"] {
            text = after(&text, false, &format!("-A a{level} {condition} -j a{}", level + 1));
        }
    }
    let text = after(&text, false, "-A a30 -j a0");
    let others = firewall(&text).others;
    let found = others.iter().find(|other| other.unknown.is_some()).unwrap();
    assert_eq!(found.unknown.as_deref(), Some("more than 50000 rules"));
}

#[test]
fn a_firewall_that_is_off_lacks_nothing_in_the_kernel() {
    let bare = "kernel 4\n-P INPUT ACCEPT\nkernel 6\n-P INPUT ACCEPT\n";
    let files = PLAIN.split_once("kernel 4").unwrap().0;
    assert_eq!(firewall(&format!("{files}{bare}")).gaps.len(), 2);
    assert_eq!(firewall(&format!("{files}kernel 4\n-P INPUT ACCEPT\nkernel 6\nabsent\n")).gaps.len(), 1);
    let off = files.replace("ENABLED=yes", "ENABLED=no");
    assert!(!firewall(&format!("{off}{bare}")).is_broken());
    assert!(firewall(&PLAIN.replace("ENABLED=yes", "ENABLED=no")).loaded, "the kernel still has it");
}

#[test]
fn a_kernel_that_cannot_be_asked_is_no_answer_for_an_enabled_firewall() {
    let failed = "kernel 4\nfailed iptables: not found\n";
    assert!(read(0, format!("ENABLED=yes\n{failed}").as_bytes()).unwrap_err().0.contains("iptables: not found"));
    assert!(!firewall(&format!("ENABLED=no\n{failed}")).enabled);
    assert!(read(0, b"kernel 4\nsideways\n").unwrap_err().0.contains("sideways"));
}

fn ask(root: &std::path::Path) -> Result<Answer, Unanswered> {
    let shell = script_below(root.to_str().unwrap()).render().unwrap();
    let path = format!("{}:/usr/bin:/bin", root.display());
    let output = std::process::Command::new("sh").arg("-c").arg(shell).env("LC_ALL", "C").env("PATH", path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    read(output.status.code().unwrap(), &output.stdout)
}

#[test]
fn a_real_shell_extracts_the_lines_from_the_files() {
    use std::{fs, os::unix::fs::PermissionsExt as _};
    let node = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = node.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    assert_eq!(ask(node.path()), Ok(Answer::NotInstalled));
    write("usr/sbin/ufw", "");
    assert!(ask(node.path()).unwrap_err().0.contains("No such file or directory"));
    write(
        "etc/ufw/user.rules",
        "*filter\n\n### tuple ### allow tcp 22 0.0.0.0/0 any 0.0.0.0/0 in\n-A ufw-user-input * $(reboot)\n",
    );
    write("etc/ufw/user6.rules", "### RULES ###\n### tuple ### allow tcp 22 ::/0 any ::/0 in\n");
    write("etc/default/ufw", "# IPV6=maybe\nIPV6=no\nDEFAULT_INPUT_POLICY=\"ACCEPT\"");
    write("etc/ufw/ufw.conf", "ENABLED=yes\nLOGLEVEL=off");
    for file in ["before.rules", "before6.rules", "after.rules"] {
        write(&format!("etc/ufw/{file}"), "-A ufw-before-input -p icmp --icmp-type 8 -j ACCEPT\n");
    }
    assert!(ask(node.path()).unwrap_err().0.contains("after6.rules"));
    write("etc/ufw/after6.rules", "");
    write("iptables", "#!/bin/sh\necho 'iptables: no permission'; echo second; exit 3");
    assert!(ask(node.path()).unwrap_err().0.ends_with("could not be read: iptables: no permission"));
    // What leads to a chain may stand behind it, and what no packet to the node comes to is not printed.
    let kernel = "#!/bin/sh
[ \"$*\" = '-w 5 -S' ] || exit 9
cat <<'END'
-P INPUT ACCEPT
-P OUTPUT DROP
-N ufwV-before-input
-N ufwV-user-input
-N f2b
-N a2b
-N c2b
-N DOCKER
-A INPUT -p tcp -m comment --comment \"* $(reboot)\" -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A INPUT ! -p icmp -j f2b
-A INPUT -j ufwV-before-input
-A FORWARD -j DOCKER
-A DOCKER -j ACCEPT
-A a2b -p tcp -m tcp --dport 6379 -j c2b
-A c2b -j ACCEPT
-A f2b -s NET -j DROP
-A f2b -g a2b
-A ufwV-before-input -j ufwV-user-input
-A ufwV-user-input -p tcp -m tcp --dport 22 -j ACCEPT
END";
    let user = "### tuple ### allow tcp 22 ANY any ANY in\n-A ufwV-user-input -p tcp --dport 22 -j ACCEPT\n";
    write("iptables", &kernel.replace('V', "").replace("NET", "10.0.0.0/8"));
    write("etc/ufw/user.rules", &user.replace('V', "").replace("ANY", "0.0.0.0/0"));
    let Ok(Answer::State(firewall)) = ask(node.path()) else { panic!() };
    assert!(firewall.enabled && !firewall.ipv6 && firewall.incoming == Policy::Allow && firewall.logging == "off");
    assert_eq!(firewall.rules.len(), 2);
    let lines = |firewall: &Firewall| {
        let lines: Vec<String> = firewall.others.iter().map(|other| other.line.text.clone()).collect();
        lines.join("\n")
    };
    insta::assert_snapshot!(lines(&firewall), @r#"
    -A INPUT -p tcp -m comment --comment "* $(reboot)" -j ACCEPT
    -A f2b -s 10.0.0.0/8 -j DROP
    -A c2b -j ACCEPT
    "#);
    assert!(firewall.loaded && firewall.gaps.is_empty(), "{:?}", firewall.gaps);
    // With IPv6, the second program is asked.
    write("proc/sys/net/ipv6/x", "");
    write("ip6tables", &kernel.replace('V', "6").replace("NET", "2001:db8::/32"));
    write("etc/ufw/user6.rules", &user.replace('V', "6").replace("ANY", "::/0"));
    write("etc/default/ufw", "IPV6=yes\nDEFAULT_INPUT_POLICY=DROP\n");
    let Ok(Answer::State(firewall)) = ask(node.path()) else { panic!() };
    assert_eq!(
        firewall.gaps,
        ["the IPv4 policy of INPUT is ACCEPT in the kernel", "the IPv6 policy of INPUT is ACCEPT in the kernel"]
    );
    assert_eq!(firewall.others.len(), 6);
}

#[test]
fn unreadable_files_are_no_answer() {
    for (status, stdout, reason) in [
        (1, b"cat: /etc/ufw/user.rules: No such file or directory\n".as_slice(), "No such file"),
        (0, b"### tuple ### something new\n", "`something new`"),
        (0, b"DEFAULT_INPUT_POLICY=MAYBE\n", "MAYBE"),
        (0, b"ENABLED=yes\xff\n", "not UTF-8 text"),
    ] {
        assert!(read(status, stdout).unwrap_err().0.contains(reason));
    }
    assert_eq!(read(0, b"absent\n"), Ok(Answer::NotInstalled));
}
