//! An unprivileged process swaps files and directories for links, and back, while root deploys again and again.

use crate::harness::{Project, TestNode, eventually};

use super::with_mallory;

/// How many deploys; `LINK_DEPLOYS` in the environment says otherwise.
const DEPLOYS: u32 = 6;

/// What root does in mallory's directories, and in what all may write to; one of these in each deploy, so that none keeps another from its turn.
const TASKS: &[&str] = &[
    "copy: {dest: /home/mallory/app/shadow, content: \"{{ word }}\", owner: mallory, mode: \"0644\", backup: true}",
    "lineinfile: {path: /home/mallory/app/motd, line: \"{{ word }}\", owner: mallory, mode: \"0666\", create: true}",
    "file: {path: /home/mallory/app/passwd, state: touch, owner: mallory, mode: \"{{ mode }}\"}",
    "file: {path: /home/mallory/app, state: directory, recurse: true, owner: mallory, mode: \"{{ mode }}\"}",
    "file: {path: \"/home/mallory/app/d/{{ word }}\", state: directory, owner: mallory}",
    "copy: {dest: /tmp/shadow, content: \"{{ word }}\"}",
];

/// Swaps in bursts of a tenth of a second, with as much rest, in which root may find all in order: what it then writes meets the next burst.
const SWAPPER: &str = r#"use Time::HiRes "time";
chdir $ENV{HOME};
sub link_for { my ($name, $to) = @_; symlink $to, "l"; rename "l", $name; }
sub file_for { my ($name) = @_; open my $file, ">", "f"; print $file "mine\n"; close $file; rename "f", $name; }
sub entries {
    my ($in) = @_;
    rename "$in/d", "$in/e"; symlink "/etc", "$in/d"; unlink "$in/d"; rename "$in/e", "$in/d";
    for my $name ("shadow", "motd", "passwd") { link_for("$in/$name", "/etc/$name"); file_for("$in/$name"); }
    symlink "/etc/shadow", "/tmp/shadow"; unlink "/tmp/shadow";
}
mkdir "app"; mkdir "app/d"; file_for("app/$_") for ("shadow", "motd", "passwd");
while (-e "swapping") {
    my $end = time + 0.1;
    while (time < $end) {
        rename "app", "kept"; symlink "/etc", "app";
        entries("kept") for 1 .. 20;
        unlink "app"; rename "kept", "app";
        entries("app") for 1 .. 10;
    }
    open my $rounds, ">>", "rounds"; print $rounds "round\n"; close $rounds;
    select undef, undef, undef, 0.1;
}
"#;

fn state(node: &TestNode) -> String {
    // Names, owners and contents; times of use may change.
    node.sh("find /etc /var/cache /usr/local -xdev -printf '%p %y %m %U:%G %s %i %l\\n' | sort; find /etc -xdev -type f -exec sha256sum {} + | sort")
}

fn rounds(node: &TestNode) -> u32 {
    node.sh("cat /home/mallory/rounds 2>/dev/null | wc -l").parse().unwrap()
}

#[test]
fn swapping_links_and_directories_during_many_deploys_changes_nothing_outside_of_their_own() {
    let deploys = std::env::var("LINK_DEPLOYS").map_or(DEPLOYS, |number| number.parse().unwrap());
    let node = with_mallory();
    node.sh("echo root:canary | chpasswd; echo motd >/etc/motd-of-the-test; touch /home/mallory/swapping; chown -R mallory: /home/mallory");
    let project = Project::toy(&[("node", &node)], super::EMPTY);
    std::fs::write(node.upper.join("home/mallory/swap.pl"), SWAPPER).unwrap();
    let before = state(&node);
    node.sh("systemd-run -q --uid mallory -E HOME=/home/mallory --unit swapper perl /home/mallory/swap.pl");
    eventually("mallory swaps", 30, || rounds(&node) > 3);
    let (mut refused, mut made) = (0, 0);
    for number in 0..deploys {
        let begun = rounds(&node);
        let task = TASKS[number as usize % TASKS.len()];
        let task = task.replace("{{ mode }}", if (number as usize / TASKS.len()).is_multiple_of(2) { "0755" } else { "0777" });
        project.write("roles/toy/role.yml", &super::task(&task.replace("{{ word }}", &format!("w{number}"))));
        let run = project.json(&["deploy"]);
        assert!([Some(0), Some(1)].contains(&run.code), "{}", run.said());
        assert!(!run.said().contains("root:"), "nothing of /etc/shadow shows: {}", run.said());
        if run.code == Some(0) {
            made += 1;
        } else {
            refused += 1;
        }
        assert!(rounds(&node) > begun, "mallory swaps during the deploy");
    }
    node.sh("rm /home/mallory/swapping");
    eventually("mallory ends", 30, || !node.try_sh("systemctl is-active --quiet swapper").status.success());
    assert_eq!(state(&node), before);
    assert!(deploys < 50 || made > 0 && refused > 0, "{made} made, {refused} refused: the swaps met no question or no write");
    eprintln!("{deploys} deploys during {} rounds of swaps: {made} made, {refused} refused", rounds(&node));
}
