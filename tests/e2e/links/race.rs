//! An unprivileged process swaps files and directories for links, and back, while root deploys again and again.

use crate::harness::{Project, TestNode, eventually};

use super::with_mallory;

/// How many deploys; `LINK_DEPLOYS` in the environment says otherwise.
const DEPLOYS: u32 = 6;

/// What root does in mallory's directories, and in what all may write to.
const ROLE: &str = "description: t
tasks:
  - {name: Directory, file: {path: /home/mallory/app/cache, state: directory, owner: mallory, mode: \"0755\"}}
  - {name: Copy, copy: {dest: /home/mallory/app/shadow, content: \"{{ word }}\", owner: mallory, mode: \"0644\", backup: true}}
  - {name: Line, lineinfile: {path: /home/mallory/app/motd, line: \"{{ word }}\", owner: mallory, mode: \"0666\", create: true}}
  - {name: Access, file: {path: /home/mallory/app/passwd, state: touch, owner: mallory, mode: \"0666\"}}
  - {name: Tree, file: {path: /home/mallory/tree, state: directory, recurse: true, owner: mallory, mode: \"0777\"}}
  - {name: In tmp, copy: {dest: /tmp/shadow, content: \"{{ word }}\"}}
";

/// Swaps as fast as it can, until its directory is gone. `mv -T` renames, so that each of the names always leads somewhere.
const SWAPPER: &str = r#"cd "$HOME"
mkdir -p app real tree/real
for file in shadow motd passwd; do cp /etc/motd-of-the-test real/$file; done
while [ -e swapping ]; do
    ln -s /etc l && mv -T app kept 2>/dev/null && mv -T l app
    rm -rf app l; mv -T kept app 2>/dev/null || mkdir app
    for file in shadow motd passwd; do
        ln -s /etc/$file l && mv -T l app/$file
        ln -s /etc/$file l2 && mv -T l2 tree/$file
        cp real/$file copy && mv -T copy app/$file
        cp real/$file copy && mv -T copy tree/$file
    done
    ln -s /etc/shadow /tmp/l && mv -T /tmp/l /tmp/shadow; rm -f /tmp/l /tmp/shadow
    mv -T tree/real tree/moved && ln -s /etc tree/real; rm -f tree/real; mv -T tree/moved tree/real
    echo round >>rounds
done 2>/dev/null"#;

fn state(node: &TestNode) -> String {
    // Times of use are nobody's concern; the rest of /etc must stay, names and contents.
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
    let project = Project::toy(&[("node", &node)], ROLE);
    std::fs::write(node.upper.join("home/mallory/swap.sh"), SWAPPER).unwrap();
    let before = state(&node);
    node.sh("systemd-run -q --uid mallory -E HOME=/home/mallory --unit swapper sh /home/mallory/swap.sh");
    eventually("mallory swaps", 30, || rounds(&node) > 3);
    let (mut refused, mut made) = (0, 0);
    for number in 0..deploys {
        let begun = rounds(&node);
        let run = project.json(&["deploy", "-e", &format!("word=w{number}")]);
        assert!([Some(0), Some(1)].contains(&run.code), "{}", run.said());
        assert!(!run.said().contains("root:"), "nothing of /etc/shadow shows: {}", run.said());
        if run.code == Some(0) {
            made += 1
        } else {
            refused += 1
        }
        assert!(rounds(&node) > begun, "mallory swaps during the deploy");
    }
    node.sh("rm /home/mallory/swapping");
    eventually("mallory ends", 30, || !node.try_sh("systemctl is-active --quiet swapper").status.success());
    assert_eq!(state(&node), before);
    eprintln!("{deploys} deploys during {} rounds of swaps: {made} made, {refused} refused", rounds(&node));
}
