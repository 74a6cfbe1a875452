//! Names that stand for something else: a unit's without its suffix, a group's for its one host, a handler's former name.

use super::*;

/// Returns what the only handler of a role does, or the errors.
fn handler(state: &str, unit: &str) -> String {
    let sample = Sample::role(&format!(
        "defaults: {{unit: redis-server}}\ntasks:\n  - {{name: A, note: {{path: /a}}, notify: it}}\nhandlers:\n  - {{name: it, systemd: {{name: {unit}, state: {state}}}}}\n"
    ));
    match sample.load() {
        Ok(plan) => format!("{:?}", plan.hosts[0].roles[0].handlers[0].expand(&World::stand_in()).unwrap().action),
        Err(_) => sample.errors(),
    }
}

#[test]
fn the_unit_of_a_handler_gets_its_full_name() {
    for (unit, full) in [
        ("redis-server", "redis-server.service"),
        ("\"{{ unit }}\"", "redis-server.service"),
        ("redis-server.service", "redis-server.service"),
        ("backup.timer", "backup.timer"),
        ("docker.socket", "docker.socket"),
        ("postgresql@15-main", "postgresql@15-main.service"),
        ("\"app@{{ inventory_hostname }}.timer\"", "app@db.timer"),
        ("org.example.app", "org.example.app.service"),
    ] {
        assert_eq!(handler("restarted", unit), format!("Restart({full:?})"));
        assert_eq!(handler("reloaded", unit), format!("Reload({full:?})"));
        assert_eq!(handler("restarted, if_running: true", unit), format!("RestartIfRunning({full:?})"));
        assert_eq!(handler("restarted, if_running: false", unit), format!("Restart({full:?})"));
    }
    insta::assert_snapshot!(handler("reloaded, if_running: true", "app"), @"roles/app/role.yml:5:66: `if_running` is for `state: restarted` only");
    insta::assert_snapshot!(handler("restarted", "app@"), @"roles/app/role.yml:5:32: `app@.service` is a template; name an instance of it, such as `app@main.service`");
    insta::assert_snapshot!(handler("restarted", "\"{{ unit }} x\""), @"roles/app/role.yml:5:32: `redis-server x` is not a valid unit name");
}

const INVENTORY: &str = "all:
  vars: {autobot_roles: [app]}
  children:
    keeper: {hosts: {node-7: {ansible_host: 198.18.0.2}}}
    several: {hosts: {node-8: {ansible_host: 198.18.0.3}, node-9: }}
    nothing: {}
";

const ROLE: &str = "defaults: {keeper_host: {type: host, default: keeper}}
secrets: {TOKEN: {host: \"{{ keeper_host }}\", file: /etc/app.env}}
tasks:
  - {name: Keep, when: inventory_hostname == keeper_host, note: {path: /kept}}
  - {name: Use, note: {path: \"/on-{{ keeper_host }}-at-{{ hostvars[keeper_host].ansible_host }}\", content: \"{{ secrets.TOKEN }}\"}}
health:
  - {name: Kept, when: inventory_hostname == keeper_host, read: {note: {path: /kept}}}
";

fn fleet(extra: &[&str]) -> Sample {
    let mut sample = Sample::new(&[("inventory/hosts.yml", INVENTORY), ("roles/app/role.yml", ROLE)]);
    sample.request.extra_vars = extra.iter().map(|&text| text.to_owned()).collect();
    sample
}

#[test]
fn a_group_of_one_host_stands_for_that_host() {
    let sample = fleet(&[]);
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let kept = |host: &HostPlan| {
        let world = World::stand_in();
        let tasks = host.roles[0].steps[0].expand(&world).unwrap();
        (matches!(tasks[0].action, Action::Do(_)), host.roles[0].health[0].expand(&world).unwrap().is_some())
    };
    let shown: Vec<String> =
        plan.hosts.iter().map(|host| format!("{} {:?} lends {}", host.name, kept(host), host.lent.len())).collect();
    assert_eq!(shown, ["node-7 (true, true) lends 1", "node-8 (false, false) lends 0", "node-9 (false, false) lends 0"]);
    assert!(plan.hosts[1].borrowed.iter().all(|spec| spec.secret.host == "node-7"));
    assert!(sample.stand_in_tasks().contains("/on-node-7-at-198.18.0.2"), "{}", sample.stand_in_tasks());
    assert_eq!(fleet(&["keeper_host=node-8"]).load().unwrap().hosts[1].lent.len(), 1, "a host is itself");
    let results = explain(&sample.request, "node-9", Some("keeper_host")).unwrap();
    assert!(format!("{results:?}").contains("Known(String(\"node-7\"))"), "{results:?}");
}

#[test]
fn a_host_variable_must_name_exactly_one_host() {
    let errors = |value: &str| fleet(&[&format!("keeper_host={value}")]).errors();
    insta::assert_snapshot!(errors("several"), @"-e:1:13: wrong value of `keeper_host`: the group `several` has 2 hosts: node-8, node-9 [name one of them; a group stands for a host only where it has exactly one]");
    insta::assert_snapshot!(errors("nothing"), @"-e:1:13: wrong value of `keeper_host`: the group `nothing` has no hosts [name a host of the inventory]");
    insta::assert_snapshot!(errors("keper"), @"-e:1:13: wrong value of `keeper_host`: the inventory has no host `keper`, and no group of that name [did you mean `keeper`?]");
    insta::assert_snapshot!(errors("elsewhere.example.net"), @"-e:1:13: wrong value of `keeper_host`: the inventory has no host `elsewhere.example.net`, and no group of that name [it must be a host of the inventory, or a group that has exactly one host]");
}

#[test]
fn former_names_must_not_be_in_use() {
    let role = |head: &str, first: &str, second: &str| {
        Sample::new(&[
            (
                "roles/app/role.yml",
                &format!(
                    "{head}tasks:\n  - {{name: A, note: {{path: /a}}, notify: [start over, reread]}}\nhandlers:\n  - {{name: start over, {first}command: 'true'}}\n  - {{name: reread, {second}command: 'true'}}\n"
                ),
            ),
            ("roles/theirs/role.yml", "tasks: []\n"),
        ])
    };
    let sample = role("was: [old, older]\n", "was: [restart, \"re start\"], ", "");
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let marks = |number: usize| plan.hosts[0].roles[0].handlers[number].expand(&World::stand_in()).unwrap().marks.join(" ");
    assert_eq!(
        marks(0),
        "app.start-over app.restart app.re-start old.start-over old.restart old.re-start older.start-over older.restart older.re-start"
    );
    assert_eq!(marks(1), "app.reread old.reread older.reread");
    insta::assert_snapshot!(role("was: theirs\n", "", "").errors(), @"roles/app/role.yml:1:6: `app` cannot have had the name `theirs`: there is a role `theirs` [a pending handler on a node could not be assigned to one of the two roles]");
    insta::assert_snapshot!(role("", "was: reread, ", "").errors(), @"roles/app/role.yml:5:12: `start over` and `reread` both have the name `reread` [a handler that is pending on a node under a former name must be exactly one of the role's]");
    insta::assert_snapshot!(role("", "was: restart, ", "was: re-start, ").errors(), @"");
    insta::assert_snapshot!(role("", "was: re start, ", "was: re-start, ").errors(), @"roles/app/role.yml:5:25: the handlers `re start` and `re-start` would share one pending mark on the node [their names must differ in letters, digits, `_` or `-`: in a mark, every other character becomes `-`]");
    insta::assert_snapshot!(role("", "was: {a: b}, ", "").errors(), @"roles/app/role.yml:4:29: `was` must be text");
}
