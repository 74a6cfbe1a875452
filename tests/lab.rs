//! Tests of the real lab: nodes boot, networks are cut, processes are killed, and nothing is left behind. Needs root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "clippy knows tests by their attribute; these helpers are theirs")]

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use autobot_provision::{
    controller::Controller,
    lab::{self, FileServer, Lab, LabOptions, NewNode, Power, RedisRepo},
};

/// Set in the environment of the process that boots a lab and is killed.
const BOOT: &str = "AUTOBOT_LAB_TEST_BOOT";
/// Set in the environment of the process that is a file server.
const SERVE: &str = "AUTOBOT_LAB_TEST_SERVE";

/// A lab that goes down at the end of its test, even if the test fails.
struct TemporaryLab(Lab);

impl TemporaryLab {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self(lab(&format!("t{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))))
    }
}

impl Drop for TemporaryLab {
    fn drop(&mut self) {
        if let Err(error) = self.0.down() {
            log(&format!("{error:#}"));
        }
    }
}

impl std::ops::Deref for TemporaryLab {
    type Target = Lab;
    fn deref(&self) -> &Lab {
        &self.0
    }
}

/// The options of a lab whose programs have the environment of this process, such as its proxies.
fn options() -> LabOptions {
    let controller = Controller { variables: std::env::vars_os().collect(), ..Controller::default() };
    LabOptions { controller: Arc::new(controller), ..LabOptions::default() }
}

fn lab(id: &str) -> Lab {
    Lab::new(LabOptions { id: id.to_owned(), ..options() }).unwrap()
}

fn log(line: &str) {
    eprintln!("{line}");
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    text(&Command::new(program).args(arguments).output().unwrap())
}

fn ssh(lab: &Lab, node: &str, script: &str) -> Output {
    lab.ssh(node, &["--".to_owned(), script.to_owned()]).unwrap().output().unwrap()
}

fn on(lab: &Lab, node: &str, script: &str) -> String {
    text(&lab.shell(node, script).unwrap())
}

/// Returns the traces of a lab that can still be found on this machine.
fn traces(lab: &Lab, id: &str) -> Vec<String> {
    let directory = lab.directory();
    let directory = directory.to_str().unwrap();
    let mut found = Vec::new();
    let mut search = |what: &str, text: String, pattern: &str| {
        found.extend(text.lines().filter(|line| line.contains(pattern)).map(|line| format!("{what}: {line}")));
    };
    search("mount", fs::read_to_string("/proc/mounts").unwrap(), directory);
    search("namespace", run("ip", &["netns", "list"]), &format!("lab.{id}."));
    search("table", run("nft", &["list", "tables"]), &format!("autobot_lab_{}", id.replace('-', "_")));
    search("process", run("ps", &["-eo", "pid,args"]), directory);
    search("registration", run("ls", &["/run/autobot-provision-lab"]), &format!("{id}.lab"));
    search(
        "control group",
        run("find", &["/sys/fs/cgroup", "-maxdepth", "2", "-name", "autobot-lab.*"]),
        &format!("autobot-lab.{id}"),
    );
    if Path::new(directory).exists() {
        found.push(format!("directory: {directory}"));
    }
    found
}

/// Returns the interfaces and addresses of a network, which `down` frees.
fn interfaces_of(network: &str) -> String {
    let number = network.split('.').nth(2).unwrap();
    let links = run("ip", &["-o", "link", "show"]);
    let links = links.lines().filter(|line| line.contains(&format!(" lab{number}n")));
    let loopback = run("ip", &["-o", "address", "show", "dev", "lo"]);
    links.chain(loopback.lines().filter(|line| line.contains(&format!(" {network}.")))).collect()
}

#[test]
fn two_nodes_and_a_client_behave_as_real_machines() {
    let lab = TemporaryLab::new();
    let nodes = lab.up(&[NewNode::bare("database_vm"), NewNode::bare("slm")], &log).unwrap();
    let client = lab.client("outsider", &log).unwrap();

    // A running node is not reported as booting.
    let messages = std::sync::Mutex::new(Vec::new());
    lab.up(&[NewNode::bare("slm")], &|line| messages.lock().unwrap().push(line.to_owned())).unwrap();
    assert_eq!(messages.into_inner().unwrap(), [format!("slm is up at {}", nodes[1].address)]);

    // The configuration is strict, so that a login proves the host keys; a different key is refused.
    assert_eq!(text(&ssh(&lab, "database_vm", "id -un; sudo -n id -un; hostname")), "autobot\nroot\ndatabase-vm");
    let known = fs::read_to_string(lab.known_hosts()).unwrap();
    let (first, second) = known.split_once('\n').unwrap();
    let swapped = format!("{} {}\n", first.rsplit_once(' ').unwrap().0, second.trim().rsplit_once(' ').unwrap().1);
    let imposter = lab.directory().join("imposter");
    fs::write(&imposter, swapped).unwrap();
    let option = format!("UserKnownHostsFile={}", imposter.display());
    let refused = lab.ssh("database_vm", &["true".to_owned()]).unwrap();
    let refused = Command::new("ssh").args(["-o", &option]).args(refused.get_args()).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("verification failed"), "{refused:?}");

    for absent in ["python3", "ufw", "gpg", "curl"] {
        assert!(!lab.shell("slm", &format!("command -v {absent}")).unwrap().status.success(), "{absent}");
    }
    assert_eq!(
        on(&lab, "slm", "systemctl is-system-running; stat -f -c %T /tmp; systemctl --failed --no-legend"),
        "running\noverlayfs"
    );
    assert!(on(&lab, "slm", "apt-get -o APT::Update::Error-Mode=any update").contains("Reading package lists"));

    // Nodes reach each other, the client reaches them, and a cut link is cut for all of them.
    let probe = |address| format!("exec 3</dev/tcp/{address}/22; head -c 7 <&3");
    let from_client = |address| {
        let probe = lab.run_in_client(&client.name, &["timeout", "2", "bash", "-c", &probe(address)]).unwrap();
        String::from_utf8(probe.stdout).unwrap()
    };
    let slm = nodes[1].address;
    let from_node = || {
        let probe = lab.shell("database_vm", &format!("timeout 2 bash -c '{}'", probe(slm))).unwrap();
        String::from_utf8(probe.stdout).unwrap()
    };
    assert_eq!((from_client(slm).as_str(), from_node().as_str()), ("SSH-2.0", "SSH-2.0"));
    lab.cut_link("slm").unwrap();
    assert_eq!((from_client(slm).as_str(), from_node().as_str()), ("", ""));
    lab.restore_link("slm").unwrap();
    assert_eq!((from_client(slm).as_str(), from_node().as_str()), ("SSH-2.0", "SSH-2.0"));

    // The upper directory contains exactly what the node wrote.
    on(&lab, "slm", "echo kept >/root/file; sync");
    assert_eq!(fs::read_to_string(nodes[1].upper.join("root/file")).unwrap(), "kept\n");
    assert!(!nodes[0].upper.join("root").exists());
}

#[test]
fn a_disk_survives_reboots_and_power_cuts_and_can_be_copied() {
    let lab = TemporaryLab::new();
    lab.up(&[NewNode::bare("a")], &log).unwrap();
    let boot_id = || text(&ssh(&lab, "a", "cat /proc/sys/kernel/random/boot_id"));
    let before = boot_id();
    on(&lab, "a", "echo kept >/root/file; mv /root/.bashrc /root/moved; mv /usr/share/keyrings /usr/share/renamed");
    lab.reboot("a").unwrap();
    assert_ne!(boot_id(), before);
    assert_eq!(on(&lab, "a", "cat /root/file"), "kept");

    lab.cut_power("a").unwrap();
    assert_eq!(lab.status().unwrap().nodes[0].1, Power::Off);
    lab.start("a").unwrap();
    assert_eq!(on(&lab, "a", "cat /root/file"), "kept");

    lab.freeze("a", "converged").unwrap();
    let copies = lab.up(&[NewNode::copy("b", "converged"), NewNode::bare("c")], &log).unwrap();
    lab.start("a").unwrap();
    assert_eq!(
        on(&lab, "b", "cat /root/file; ls /usr/share/renamed | head -1; cat /etc/hostname"),
        on(&lab, "a", "cat /root/file; ls /usr/share/renamed | head -1; echo b")
    );
    assert!(!lab.shell("c", "cat /root/file").unwrap().status.success());
    on(&lab, "b", "echo changed >/root/file");
    assert_eq!(on(&lab, "a", "cat /root/file"), "kept");
    assert!(copies[0].upper.join("root/file").exists());
    assert_ne!(on(&lab, "a", "cat /etc/machine-id"), on(&lab, "b", "cat /etc/machine-id"));
    assert!(
        lab.up(&[NewNode::copy("d", "nothing")], &log).unwrap_err().to_string().contains("there is no frozen disk `nothing`")
    );

    // The node whose disk was frozen and a copy of it are removed while they run; the frozen disk stays.
    lab.cut_link("b").unwrap();
    let nodes = copies[0].upper.parent().unwrap().parent().unwrap();
    let left = || fs::read_dir(nodes).unwrap().count();
    assert_eq!(left(), 3);
    lab.remove(&["a".to_owned(), "b".to_owned()]).unwrap();
    assert_eq!(left(), 1);
    assert_eq!(lab.status().unwrap().nodes.iter().map(|(node, _)| node.name.as_str()).collect::<Vec<_>>(), ["c"]);
    let id = lab.directory().file_name().unwrap().to_string_lossy().into_owned();
    let of_lab = |namespace: &&str| namespace.starts_with(&format!("lab.{id}."));
    assert_eq!(run("ip", &["netns", "list"]).split_whitespace().filter(of_lab).count(), 1);
    let again = lab.up(&[NewNode::copy("d", "converged"), NewNode::copy("e", "converged")], &log).unwrap();
    assert_eq!(again[1].address, copies[0].address, "the address of the node whose link was cut");
    assert_eq!(on(&lab, "e", "cat /root/file"), "kept");
    assert!(lab.remove(&["a".to_owned()]).unwrap_err().to_string().starts_with("`a` is not in the lab"));
}

#[test]
fn the_stand_in_for_redis_installs_runs_and_has_the_vendors_defects() {
    let lab = TemporaryLab::new();
    lab.up(&[NewNode::bare("db")], &log).unwrap();
    let first = lab.redis_repo(&RedisRepo::default(), &log).unwrap();
    let published = lab.publish(&first, FileServer::Within).unwrap();
    let url = &published.url;
    assert_eq!(lab.status().unwrap().url.as_ref(), Some(url));

    // A node has no curl: the key is written from here, as roles do.
    let key = fs::read_to_string(first.join("gpg")).unwrap();
    on(&lab, "db", &format!("cat >/usr/share/keyrings/redis.asc <<'E'\n{key}\nE"));
    on(
        &lab,
        "db",
        &format!(
            "echo 'deb [signed-by=/usr/share/keyrings/redis.asc] {url}/deb bookworm main' >/etc/apt/sources.list.d/redis.list"
        ),
    );
    let update = "apt-get -qq -o APT::Update::Error-Mode=any update";
    on(&lab, "db", &format!("{update} && DEBIAN_FRONTEND=noninteractive apt-get -qq install redis-stack-server"));
    on(&lab, "db", "echo 'requirepass secret' >>/etc/redis-stack.conf; systemctl start redis-stack-server");
    on(&lab, "db", "timeout 20 sh -c 'until redis-cli ping | grep -q PONG; do :; done'");
    assert_eq!(
        on(&lab, "db", "redis-cli config get dir | tail -1; redis-cli ft.create i schema t text; redis-cli json.set k . 1"),
        "/var/lib/redis-stack\nOK\nOK"
    );
    assert_eq!(on(&lab, "db", "ps -o comm= -p $(systemctl show -P MainPID redis-stack-server)"), "redis-stack-ser");

    // A newer version at the same URL, signed with the same key: the upgrade stops the server and removes its unit.
    let newer = RedisRepo { versions: vec!["7.4.0-v1".to_owned(), "7.4.0-v2".to_owned()], ..RedisRepo::default() };
    let second = lab.publish(&lab.redis_repo(&newer, &log).unwrap(), FileServer::Within).unwrap();
    assert_eq!(&second.url, url);
    on(
        &lab,
        "db",
        &format!(
            "{update} && DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Options::=--force-confold install redis-stack-server"
        ),
    );
    assert_eq!(on(&lab, "db", "dpkg-query -W -f '${Version}' redis-stack-server"), "7.4.0-v2");
    assert_eq!(
        on(&lab, "db", "ls /etc/systemd/system | grep -c redis-stack-server; systemctl is-active redis-stack-server; true")
            .lines()
            .next(),
        Some("0")
    );
}

#[test]
fn a_killed_lab_leaves_nothing_after_down() {
    for moment in ["booting", "is up at"] {
        let lab = TemporaryLab::new();
        let directory = lab.directory();
        let id = directory.file_name().and_then(OsStr::to_str).unwrap();
        let exe = std::env::current_exe().unwrap();
        let mut child = Command::new(&exe)
            .args(["--exact", "helper_that_boots_a_lab", "--nocapture"])
            .env(BOOT, id)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains(moment)), "it never reached `{moment}`");
        child.kill().unwrap();
        child.wait().unwrap();
        let status = lab.status().unwrap();
        assert_eq!(status.nodes.len(), 2);
        let network = status.nodes[0].0.address.to_string();
        let network = network.rsplit_once('.').unwrap().0;
        assert!(!traces(&lab, id).is_empty() && !interfaces_of(network).is_empty(), "the kill came too early to show anything");

        lab.down().unwrap();
        assert_eq!(traces(&lab, id), Vec::<String>::new());
        assert_eq!(interfaces_of(network), "");
        lab.down().unwrap();
    }
}

#[test]
fn the_detached_server_outlives_its_creator_and_stops_with_the_lab() {
    let lab = TemporaryLab::new();
    let client = lab.client("reader", &log).unwrap();
    let site = tempfile::tempdir().unwrap();
    fs::write(site.path().join("file"), "content").unwrap();
    let exe = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
    let command = ["env".to_owned(), format!("{SERVE}=1"), exe, "--exact".to_owned(), "helper_that_serves_files".to_owned()];
    let published = lab.publish(site.path(), FileServer::Detached(&command)).unwrap();
    let address = published.url.strip_prefix("http://").unwrap().replace(':', "/");
    drop(published);
    let get = format!("exec 3<>/dev/tcp/{address}; printf 'GET /file HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3");
    let answer = text(&lab.run_in_client(&client.name, &["bash", "-c", &get]).unwrap());
    assert!(answer.ends_with("\r\n\r\ncontent"), "{answer}");
    let directory = lab.directory();
    let id = directory.file_name().and_then(OsStr::to_str).unwrap();
    assert!(traces(&lab, id).iter().any(|trace| trace.starts_with("process: ")));
    lab.down().unwrap();
    assert_eq!(traces(&lab, id), Vec::<String>::new());
}

#[test]
fn two_labs_can_coexist() {
    let (one, other) = (TemporaryLab::new(), TemporaryLab::new());
    let nodes: Vec<_> = std::thread::scope(|scope| {
        let boots: Vec<_> =
            [&one, &other].map(|lab| scope.spawn(|| lab.up(&[NewNode::bare("same")], &log).unwrap())).into_iter().collect();
        boots.into_iter().flat_map(|boot| boot.join().unwrap()).collect()
    });
    assert_ne!(nodes[0].address.octets()[2], nodes[1].address.octets()[2]);
    one.down().unwrap();
    assert_eq!(text(&ssh(&other, "same", "hostname")), "same");
    let labs = lab::labs().unwrap();
    assert!(labs.iter().any(|(_, directory)| *directory == other.directory()));
    assert!(!labs.iter().any(|(_, directory)| *directory == one.directory()));
}

#[test]
fn an_error_about_a_node_that_does_not_come_up_shows_its_console() {
    let lab = TemporaryLab::new();
    lab.up(&[NewNode::bare("a")], &log).unwrap();
    on(&lab, "a", "systemctl mask -q ssh.service");
    let impatient = LabOptions {
        id: lab.directory().file_name().unwrap().to_str().unwrap().to_owned(),
        boot_limit: std::time::Duration::from_secs(3),
        ..options()
    };
    let error = Lab::new(impatient).unwrap().reboot("a").unwrap_err().to_string();
    assert!(error.starts_with("node `a` did not come up within 3 s; the end of `"), "{error}");
    assert!(error.contains("Reached target"), "{error}");
}

/// Not a test: a process that another test starts and kills.
#[test]
fn helper_that_boots_a_lab() {
    if let Ok(id) = std::env::var(BOOT) {
        lab(&id).up(&[NewNode::bare("a"), NewNode::bare("b")], &log).unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
}

/// Not a test: the file server that another test starts, with the directory and the address as its last arguments.
#[test]
fn helper_that_serves_files() {
    if std::env::var_os(SERVE).is_some() {
        let arguments: Vec<String> = std::env::args().collect();
        let [.., root, address] = arguments.as_slice() else { unreachable!("it is started with both") };
        let address: SocketAddr = address.parse().unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(lab::serve(root.into(), address)).unwrap();
    }
}

#[test]
fn a_node_reaches_only_its_lab_and_package_servers() {
    let lab = TemporaryLab::new();
    lab.up(&[NewNode::bare("a")], &log).unwrap();
    // An address for documentation (RFC 5737), which is not in use; the packets are dropped by the lab's own table.
    let connect = |port: u16| format!("timeout 1 bash -c 'echo >/dev/tcp/203.0.113.7/{port}'");
    let dropped = || {
        let table = format!("autobot_lab_{}", lab.directory().file_name().unwrap().to_str().unwrap().replace('-', "_"));
        let rules = run("nft", &["list", "table", "ip", &table]);
        let counted = |line: &str| line.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        rules.lines().filter(|line| line.contains("tcp dport !=")).filter_map(counted).sum::<u32>()
    };
    assert_eq!(dropped(), 0);
    assert!(!lab.shell("a", &connect(6379)).unwrap().status.success());
    assert!(dropped() > 0, "the packet was not stopped");
    // An unused address of the lab's network is unreachable; its packets do not follow the default route.
    let [first, second, third, _] = lab.node("a").unwrap().address.octets();
    let route = Command::new("ip").args(["route", "get", &format!("{first}.{second}.{third}.250")]).output().unwrap();
    assert!(!route.status.success(), "{}", String::from_utf8_lossy(&route.stdout));
}
