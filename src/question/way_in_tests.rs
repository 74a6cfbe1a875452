use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

use super::*;

/// In seconds.
const LEASE_OF_TEST: u32 = 4;

/// A scratch root with the program of a node. Its unit cannot be armed there, and the firewall and the kernel's settings are this machine's, which the
/// programs in `bin` hide.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for (path, text) in [
            ("etc/ssh/sshd_config", "Port 22\n"),
            ("etc/sudoers", "root ALL=(ALL) ALL\n"),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nour:x:1:1::/home/our:/bin/sh\n"),
            ("etc/shadow", "root:*:1::::::\nour:$6$hash:1::::::\n"),
            ("bin/systemctl", "#!/bin/sh\ncase $1 in show) ;; *) echo \"$*\" >>\"${0%/*}/../calls\" ;; esac\n"),
            ("bin/sysctl", "#!/bin/sh\n"),
            ("bin/iptables-save", "#!/bin/sh\nexit 1\n"),
            ("bin/ip6tables-save", "#!/bin/sh\nexit 1\n"),
            ("bin/nft", "#!/bin/sh\nexit 1\n"),
            ("bin/ip", "#!/bin/sh\n"),
            ("etc/group", "root:x:0:\nour:x:1:\n"),
        ] {
            node.write(path, text, if path.starts_with("bin") { 0o755 } else { 0o640 });
        }
        let home = node.path("home/our").display().to_string();
        node.write("bin/getent", &format!("#!/bin/sh\necho 'our:x:1:1::{home}:/bin/sh'\n"), 0o755);
        node.write("bin/id", "#!/bin/sh\necho our\n", 0o755);
        node.write("home/our/.ssh/authorized_keys", "key\n", 0o600);
        node.write("state/way-in/revert", &program(&node.0.path().display().to_string(), LEASE_OF_TEST), 0o600);
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn read(&self, name: &str) -> Option<(String, u32)> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        Some((text, fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777))
    }

    /// Copies everything, as the run `run-1` does.
    fn keep(&self) {
        self.run("keep");
        self.run("note");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        self.write("state/way-in/holder", &format!("1 2 3 run-1 ann@ci\n{boot}"), 0o600);
        self.write("state/way-in/kept", "", 0o600);
    }

    fn run(&self, verb: &str) -> String {
        self.run_with(&[verb])
    }

    fn run_with(&self, arguments: &[&str]) -> String {
        let path = format!("PATH={}:", self.path("bin").display());
        let program = self.path("state/way-in/revert");
        let text = fs::read_to_string(&program).unwrap();
        if !text.contains(&path) {
            fs::write(&program, text.replacen("PATH=", &path, 1)).unwrap();
        }
        let output = Command::new("dash").arg(&program).args(arguments).env_remove("SUDO_UID").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{:?}: {errors}", output.status);
        String::from_utf8(output.stdout).unwrap().replace(&self.0.path().display().to_string(), "")
    }
}

#[test]
fn what_lets_the_account_in_goes_back_and_nothing_else() {
    let node = Node::new();
    std::os::unix::fs::symlink("../run/resolv.conf", node.path("etc/resolv.conf")).unwrap();
    node.write("etc/sudoers.d/old", "old\n", 0o440);
    node.keep();
    assert_eq!(fs::metadata(node.path("state/way-in/shadow")).unwrap().permissions().mode() & 0o7777, 0o600);

    node.write("etc/ssh/sshd_config", "Port 2200\n", 0o640);
    node.write("etc/ssh/sshd_config.d/new.conf", "AllowUsers other\n", 0o644);
    node.write("etc/sudoers.d/old", "old\n", 0o666);
    fs::remove_file(node.path("etc/resolv.conf")).unwrap();
    node.write("etc/resolv.conf", "nameserver 0.0.0.0\n", 0o644);
    node.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnew:x:2:2::/:/bin/sh\nour:x:1:1::/home/our:/bin/false\n", 0o640);
    node.write("etc/shadow", "root:*:2::::::\n", 0o640);
    fs::remove_dir_all(node.path("home/our/.ssh")).unwrap();
    node.write("home/our/.profile", "exit\n", 0o644);
    node.write("etc/other", "other\n", 0o644);

    let mut changed: Vec<String> = node.run("now").lines().map(str::to_owned).collect();
    changed.sort();
    assert_eq!(
        changed,
        [
            "/etc/resolv.conf",
            "/etc/ssh/sshd_config",
            "/etc/ssh/sshd_config.d/new.conf",
            "/etc/sudoers.d/old",
            "/home/our/.profile",
            "/home/our/.ssh",
            "/home/our/.ssh/authorized_keys",
            "the account our in /etc/passwd",
            "the account our in /etc/shadow",
        ]
    );
    assert_eq!(node.read("etc/ssh/sshd_config"), Some(("Port 22\n".into(), 0o640)));
    assert_eq!(node.read("etc/ssh/sshd_config.d/new.conf"), None);
    assert_eq!(node.read("etc/sudoers.d/old"), Some(("old\n".into(), 0o440)));
    assert_eq!(fs::read_link(node.path("etc/resolv.conf")).unwrap(), PathBuf::from("../run/resolv.conf"));
    assert_eq!(
        node.read("etc/passwd").unwrap().0,
        "root:x:0:0:root:/root:/bin/sh\nnew:x:2:2::/:/bin/sh\nour:x:1:1::/home/our:/bin/sh\n"
    );
    assert_eq!(node.read("etc/shadow").unwrap(), ("root:*:2::::::\nour:$6$hash:1::::::\n".into(), 0o640));
    assert_eq!(node.read("home/our/.ssh/authorized_keys"), Some(("key\n".into(), 0o600)));
    assert_eq!((node.read("home/our/.profile"), node.read("etc/other").unwrap().0.as_str()), (None, "other\n"));
    assert!(!node.path("state/way-in").exists(), "the copies are gone");
}

/// Writes the lock of the run as its loop does at each beat.
fn beat(node: &Node) {
    let now = fs::read_to_string("/proc/uptime").unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    node.write(
        "run/autobot-provision/lock",
        &format!("1 2 3 run-1 ann@ci\n{} {}\n", boot.trim(), now.split(' ').next().unwrap()),
        0o600,
    );
}

#[test]
fn beats_extend_the_lease_and_without_them_the_node_puts_everything_back_and_holds_itself_meanwhile() {
    let node = Node::new();
    // What restarts a unit sees who holds the node.
    let root = node.0.path().display().to_string();
    let units = "Id=ssh.service\\nActiveState=active\\nUnitFileState=enabled\\n";
    node.write("bin/systemctl", &format!("#!/bin/sh\ncase $1 in show) printf '{units}' ;; restart) cat {root}/run/autobot-provision/lock >>{root}/calls ;; esac\n"), 0o755);
    node.keep();
    beat(&node);
    node.write("state/way-in/armed", "", 0o600);
    node.write("etc/ssh/sshd_config", "Port 2200\n", 0o640);
    let mut watch = Command::new("dash").arg(node.path("state/way-in/revert")).arg("watch").spawn().unwrap();
    let began = std::time::Instant::now();
    while began.elapsed().as_secs() < 2 * u64::from(LEASE_OF_TEST) {
        beat(&node);
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(node.read("etc/ssh/sshd_config").unwrap().0, "Port 2200\n", "after {:?} of beats", began.elapsed());
    }
    assert!(watch.wait().unwrap().success());
    assert_eq!(node.read("etc/ssh/sshd_config").unwrap().0, "Port 22\n");
    let holder = node.read("calls").unwrap().0;
    let words: Vec<&str> = holder.lines().next().unwrap().split(' ').skip(2).collect();
    assert_eq!(words, ["3", "run-1", "ann@ci", "way-in", "revert"], "{holder}");
    assert_eq!(
        node.read("state/way-in.reverted").unwrap(),
        ("run-1 ann@ci\n/etc/ssh/sshd_config\nssh.service was restarted\n".into(), 0o600)
    );
    assert!(!node.path("state/way-in").exists() && !node.path("run/autobot-provision").exists());
}

#[test]
fn what_is_to_stay_and_what_a_package_has_brought_stays() {
    let node = Node::new();
    node.keep();
    node.write("etc/ssh/sshd_config", "Port 22\nDenyUsers other\n", 0o600);
    node.write("etc/sudoers.d/new/file", "x\n", 0o440);
    node.write("etc/nftables.conf", "flush ruleset\n", 0o644);
    node.write("var/lib/dpkg/info/nftables.conffiles", "/etc/nftables.conf\n", 0o644);
    node.write("etc/hosts.deny", "all\n", 0o644);
    for path in ["/etc/ssh/sshd_config", "/etc/sudoers.d/new/file"] {
        node.run_with(&["accept", path]);
    }
    assert_eq!(node.run("now"), "/etc/hosts.deny\n");
    assert_eq!(node.read("etc/ssh/sshd_config"), Some(("Port 22\nDenyUsers other\n".into(), 0o600)));
    assert!(node.read("etc/sudoers.d/new/file").is_some() && node.read("etc/nftables.conf").is_some());
}

#[test]
fn rules_and_tables_of_iptables_that_are_new_go_away() {
    let node = Node::new();
    let save = "*filter\n:INPUT ACCEPT [1:2]\n-A INPUT -j ACCEPT\nCOMMIT\n";
    let show = |rules: &str| format!("#!/bin/sh\nprintf '{}'\n", rules.replace('\n', "\\n"));
    node.write("bin/iptables-save", &show(save), 0o755);
    node.write("bin/iptables-restore", "#!/bin/sh\ncat >\"${0%/*}/../restored\"\n", 0o755);
    node.keep();
    let counted = save.replace("[1:2]", "[7:9]");
    node.write("bin/iptables-save", &show(&format!("*raw\n:PREROUTING DROP [0:0]\n:mine - [0:0]\nCOMMIT\n{counted}")), 0o755);
    assert_eq!(node.run("now"), "the rules of iptables\n");
    assert_eq!(node.read("restored").unwrap().0, format!("{save}\n*raw\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n"));

    let node = Node::new();
    node.write("bin/iptables-save", &show(save), 0o755);
    node.keep();
    node.write("bin/iptables-save", &show(&counted), 0o755);
    assert_eq!(node.run("now"), "", "counters are no rules");
}

#[test]
fn where_nothing_has_changed_nothing_is_put_back() {
    let node = Node::new();
    node.keep();
    assert_eq!(node.run("now"), "");
}

#[test]
fn what_a_node_says_of_it_is_read() {
    assert_eq!(read([].into_iter()), WayInState::default());
    let state = read(
        ["kept", "owed toy.restart-ssh", "reverted", "run-1 ann@ci", "/etc/ssh/a b", "ssh.service was restarted"].into_iter(),
    );
    assert!(state.kept && !state.armed && state.owed.contains("toy.restart-ssh"));
    let reverted = state.reverted.unwrap();
    assert_eq!((reverted.run_id.as_str(), reverted.who.as_str()), ("run-1", "ann@ci"));
    assert_eq!(reverted.list(), "`/etc/ssh/a b`, ssh.service was restarted");
}
