use super::*;

/// Returns what a line does, for people: its target, its connections, and its further conditions.
fn described(text: &str) -> String {
    let line = Line::parse(&format!("-A INPUT {text}"), false).unwrap();
    let target = match &line.target {
        Target::Decision(action) => action.as_str().to_owned(),
        Target::Return => "return".to_owned(),
        Target::Chain { name, goto } => format!("{} {name}", if *goto { "goto" } else { "jump" }),
        Target::Next => "next".to_owned(),
    };
    let matches: Vec<String> = line.matches.iter().map(|rule| rule.words().split_once(' ').unwrap().1.to_owned()).collect();
    let further = match (&line.unknown, line.is_sure) {
        (Some(word), _) => format!(", unknown: {word}"),
        (None, false) => ", now and then".to_owned(),
        (None, true) => String::new(),
    };
    format!("{target}: {}{further}", if matches.is_empty() { "nothing".to_owned() } else { matches.join(" | ") })
}

/// Lines that iptables 1.8.9 printed.
#[test]
fn every_form_that_iptables_prints_is_read() {
    let lines = [
        "-j ACCEPT",
        "-p tcp -m tcp --dport 6379 --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        "-p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG NONE -j DROP",
        "! -s 240.0.0.0/4 -p tcp -m tcp --dport 6379 -j ACCEPT",
        "-p tcp -m tcp --dport 6379 -m limit --limit 100/sec -j ACCEPT",
        "-p tcp -m tcp ! --dport 22 -j ACCEPT",
        "! -i lo -j ACCEPT",
        "! -i eth0 -j DROP",
        "-i eth+ -j ACCEPT",
        "-p tcp -m tcp --sport 6379 -j ACCEPT",
        "-p tcp -m tcp --dport 0:6500 -j ACCEPT",
        "-p tcp -m multiport --ports 6379,22 -j ACCEPT",
        "-p tcp -m multiport ! --dports 6379,22 -j ACCEPT",
        "-p tcp -m multiport --dports 80,6000:7000 -m comment --comment \"my \\\" -j web\" -j ACCEPT",
        "-p tcp -m comment --comment -j -j DROP",
        "-p esp -j ACCEPT",
        "! -p udp -j ACCEPT",
        "! -p tcp -j ACCEPT",
        "-d 10.0.0.2/32 -i eth1 -p tcp -m tcp --dport 6379 -j REJECT --reject-with tcp-reset",
        "-m state --state NEW,ESTABLISHED -j ACCEPT",
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m conntrack ! --ctstate NEW -j ACCEPT",
        "-m conntrack ! --ctstate ESTABLISHED -j DROP",
        "-m conntrack --ctstate UNTRACKED -j ACCEPT",
        "-m pkttype --pkt-type multicast -j ACCEPT",
        "-m addrtype --dst-type LOCAL -j RETURN",
        "-m addrtype --dst-type MULTICAST -j DROP",
        "-m addrtype --src-type LOCAL -j ACCEPT",
        "-d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT",
        "-s 127.0.0.0/8 ! -i lo -j DROP",
        "-f -j ACCEPT",
        "-m iprange --src-range 10.0.0.1-10.0.0.9 -j ACCEPT",
        "-m set --match-set friends src -j ACCEPT",
        "-m mark --mark 0x1 -j ACCEPT",
        "-s 10.0.0.0/255.0.255.0 -p tcp -m tcp --dport 6379 -j ACCEPT",
        "-m limit --limit 1/sec -s 10.0.0.0/255.0.255.0 -j ACCEPT",
        "-p tcp -m string --string \"a b\" --algo bm -j ACCEPT",
        "-m conntrack --ctproto 6 --ctorigdstport 6379 -j ACCEPT",
        "-m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5 --hashlimit-name h -j ACCEPT",
        "-p tcp -m tcp --dport 22 -m recent --update --seconds 30 --hitcount 6 --name DEFAULT --mask 255.255.255.255 --rsource -j ufw-user-limit",
        "-p tcp -m tcp --dport 22 -m recent --set --name x --mask 255.255.255.255 --rsource",
        "-p tcp -m multiport --dports 22 -j f2b-sshd",
        "-p tcp -g ufw-user-input",
        "-p tcp -m tcp --dport 6379 -j NFQUEUE --queue-num 0",
        "-p tcp -m tcp --dport 6379 -j LOG --log-prefix \"-j ACCEPT \"",
        "-p tcp -m tcp --dport 6379 -j MARK --set-xmark 0x1/0xffffffff",
        "-m comment --comment \"open",
    ];
    insta::assert_snapshot!(lines.map(described).join("\n"), @"
    allow: to any
    allow: 6379/tcp
    deny: nothing
    allow: from 0.0.0.0/1 to any port 6379 proto tcp | from 128.0.0.0/2 to any port 6379 proto tcp | from 192.0.0.0/3 to any port 6379 proto tcp
    allow: 6379/tcp, now and then
    allow: 1:21,23:65535/tcp
    allow: to any
    deny: to any, now and then
    allow: in on eth+
    allow: from any port 6379 proto tcp
    allow: 1:6500/tcp
    allow: 22,6379/tcp | from any port 22,6379 proto tcp
    allow: 1:21,23:6378,6380:65535/tcp
    allow: 80,6000:7000/tcp
    deny: to any proto tcp
    allow: to any proto esp
    allow: to any proto tcp
    allow: to any proto udp
    reject: in on eth1 to 10.0.0.2 port 6379 proto tcp
    allow: to any
    allow: nothing
    allow: nothing
    deny: to any
    allow: to any, unknown: --ctstate UNTRACKED
    allow: nothing
    return: to any
    deny: nothing
    allow: nothing
    allow: nothing
    deny: nothing
    allow: nothing
    allow: to any, unknown: -m iprange
    allow: to any, unknown: -m set
    allow: to any, unknown: -m mark
    allow: 6379/tcp, unknown: -s
    allow: to any, unknown: -s
    allow: to any proto tcp, unknown: -m string
    allow: to any, unknown: --ctproto
    allow: to any, now and then
    jump ufw-user-limit: 22/tcp, now and then
    next: 22/tcp, now and then
    jump f2b-sshd: 22/tcp
    goto ufw-user-input: to any proto tcp
    jump NFQUEUE: 6379/tcp
    next: 6379/tcp
    next: 6379/tcp
    allow: to any, unknown: a quote that is not closed
    ");
    assert_eq!(Line::parse("-N f2b-sshd", false), None);
}

#[test]
fn a_line_of_a_file_is_found_in_the_kernel_in_other_words() {
    let line = |text: &str| Line::parse(text, false).unwrap();
    for (file, kernel) in [
        ("-A c -p tcp --dport 22 -s 10.0.0.1 -j ACCEPT", "-A c -s 10.0.0.1/32 -p tcp -m tcp --dport 22 -j ACCEPT"),
        ("-I c 3 -p tcp --syn -j REJECT", "-A c -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j REJECT --reject-with tcp-reset"),
        ("-A c -s 10.0.0.1,10.0.0.2 -j ACCEPT", "-A c -s 10.0.0.2/32 -j ACCEPT"),
        (
            "-A c -p tcp -m state --state NEW --dport 22: -j ACCEPT",
            "-A c -p tcp -m state --state NEW -m tcp --dport 22:65535 -j ACCEPT",
        ),
        (
            "-A c -p tcp --dport ssh -m comment --comment 'a b' -j ACCEPT",
            "-A c -p tcp -m tcp --dport 22 -m comment --comment \"a b\" -j ACCEPT",
        ),
        ("-A c -m limit --limit 3/minute -j ACCEPT", "-A c -m limit --limit 3/min -j ACCEPT"),
    ] {
        assert!(line(file).is_in_kernel_as(&line(kernel)), "{file}");
        for other in [kernel.replace("-A c", "-A d"), kernel.replace("ACCEPT", "DROP").replace("REJECT", "ACCEPT")] {
            assert!(!line(file).is_in_kernel_as(&line(&other)), "{file} {other}");
        }
    }
    let ssh = line("-A c -p tcp --dport 22 -j ACCEPT");
    for other in ["-A c -p tcp -m tcp --dport 6379 -j ACCEPT", "-A c -j ACCEPT", "-A c -m set --match-set a src -j ACCEPT"] {
        assert!(!ssh.is_in_kernel_as(&line(other)), "{other}");
    }
}
