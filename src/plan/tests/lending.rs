//! Secrets that live on other hosts.

use super::*;

const INVENTORY: &str = "all: {vars: {autobot_roles: [app]}, children: {keepers: {hosts: {db: {ansible_host: 198.18.0.2, file: /etc/db.env}}}, others: {hosts: {web: {ansible_port: 2222}, app: }}}}\n";

fn sample(secret: &str, tasks: &str) -> Sample {
    let role = format!("defaults: {{file: /etc/app.env, keeper: db}}\nsecrets:\n  TOKEN: {secret}\ntasks:\n{tasks}");
    Sample::new(&[("inventory/hosts.yml", INVENTORY), ("roles/app/role.yml", &role)])
}

const USE: &str = "  - {name: A, note: {path: /a, content: \"{{ secrets.TOKEN }}\"}}\n";
const THEIRS: &str = "{host: \"{{ keeper }}\", file: \"{{ file }}\"}";

/// Returns a line for each host, `host: own secrets | borrowed | lent`, and one for each lender.
fn arranged(sample: &Sample) -> String {
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let list = |specs: &[SecretSpec]| {
        let one = |spec: &SecretSpec| format!("{}@{} in {}", spec.secret.name, spec.secret.host, spec.file);
        specs.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let hosts = plan
        .hosts
        .iter()
        .map(|host| format!("{}: {} | {} | {}", host.name, list(&host.secrets), list(&host.borrowed), list(&host.lent)));
    let lenders = plan.lenders.iter().map(|lender| format!("read {}: {}", lender.connection().host, list(&lender.secrets)));
    hosts.chain(lenders).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_shared_secret_is_generated_on_its_owner_and_read_elsewhere() {
    insta::assert_snapshot!(arranged(&sample(THEIRS, USE)), @"
    db: TOKEN@db in /etc/db.env |  | TOKEN@db in /etc/db.env
    web:  | TOKEN@db in /etc/db.env | 
    app:  | TOKEN@db in /etc/db.env |
    ");
}

#[test]
fn a_group_of_one_host_may_be_the_owner() {
    let mut sample = sample(THEIRS, USE);
    sample.request.extra_vars = vec!["keeper=keepers".to_owned()];
    sample.request.limit = Some("web".to_owned());
    insta::assert_snapshot!(arranged(&sample), @"
    web:  | TOKEN@db in /etc/db.env | 
    read 198.18.0.2: TOKEN@db in /etc/db.env
    ");
}

#[test]
fn a_host_reads_no_secret_that_it_does_not_use() {
    let own = "  - {name: A, when: inventory_hostname == 'db', note: {path: /a, content: \"{{ secrets.TOKEN }}\"}}\n";
    insta::assert_snapshot!(arranged(&sample(THEIRS, own)), @"
    db: TOKEN@db in /etc/db.env |  | 
    web:  |  | 
    app:  |  |
    ");
    let perhaps =
        "  - {name: A, when: \"ansible_facts.distribution == 'Ubuntu'\", note: {path: /a, content: \"{{ secrets.TOKEN }}\"}}\n";
    assert!(arranged(&sample(THEIRS, perhaps)).contains("app:  | TOKEN@db in /etc/db.env"));
}

#[test]
fn the_token_of_a_shared_secret_names_its_owner() {
    let plan = sample(THEIRS, USE).load().unwrap();
    for host in &plan.hosts {
        let tasks = host.roles[0].steps[0].expand(&World::stand_in()).unwrap();
        let Action::Do(resource) = &tasks[0].action else { panic!("skipped") };
        assert!(format!("{resource:?}").contains("db\\u{f5ec1}TOKEN"), "{}: {resource:?}", host.name);
    }
}

#[test]
fn a_secret_has_exactly_one_owner() {
    let errors = |host: &str| sample(&format!("{{host: {host}, file: /etc/x}}"), USE).errors();
    insta::assert_snapshot!([errors("dv"), errors("others"), errors("\"{{ nope }}\""), errors("\"{{ ansible_facts.hostname }}\"")].join("\n"), @"
    roles/app/role.yml:3:17: the secret lives on `dv`, but no host or group matches `dv` [did you mean `db`?]
    roles/app/role.yml:3:17: a secret lives on one host, but `others` matches 2: web, app [name the host on which it is generated]
    roles/app/role.yml:3:21: undefined variable `nope` [declare it under `defaults:` of the role, or set it in the inventory]
    roles/app/role.yml:3:21: undefined variable `ansible_facts` [this value is needed before the facts of the node are known]
    ");
}

#[test]
fn hosts_that_need_each_others_secrets_are_reported() {
    let role = "secrets:\n  ONE: {host: db, file: /etc/x}\n  TWO: {host: web, file: /etc/x}\ntasks:\n  - {name: A, note: {path: /a, content: \"{{ secrets.ONE }}{{ secrets.TWO }}\"}}\n";
    let sample = Sample::new(&[("inventory/hosts.yml", INVENTORY), ("roles/app/role.yml", role)]);
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:2:3: `db` and `web` read each other's secrets, so neither can go first [declare both on the same host]");
}

#[test]
fn a_lab_node_reads_no_secret_of_a_real_node() {
    let mut sample = sample(THEIRS, USE);
    let lab = INVENTORY.replace("ansible_port: 2222", "ansible_port: 2222, autobot_lab: /l/labs/lab");
    sample.write("inventory/hosts.yml", &lab);
    sample.request.limit = Some("web".to_owned());
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:3:3: `web` reads a secret of `db`, and only one of them is a node of the lab [boot copies of both: `lab up` without names boots one of each host]");
    sample.write("inventory/hosts.yml", &lab.replace("ansible_host: 198.18.0.2", "autobot_lab: /l/labs/lab"));
    assert_eq!(sample.errors(), "");
}

#[test]
fn a_secret_that_only_a_health_check_uses_is_read() {
    let health = "  - {name: Ask, run: {cmd: x, reads: true}, register: said}\nhealth:\n  - {name: H, read: {note: {path: /a, content: \"{{ secrets.TOKEN }}{{ said.stdout }}\"}}}\n";
    let mut sample = sample(THEIRS, health);
    sample.write("roles/later/role.yml", "tasks: []\n");
    sample.write("inventory/hosts.yml", &INVENTORY.replace("[app]", "[app, later]"));
    sample.request.limit = Some("web".to_owned());
    assert_eq!(arranged(&sample), "web:  | TOKEN@db in /etc/db.env | \nread 198.18.0.2: TOKEN@db in /etc/db.env");
    sample.request.only_health = true;
    let plan = sample.load().unwrap();
    assert_eq!((plan.hosts[0].borrowed.len(), plan.lenders.len()), (1, 1));
}

#[test]
fn a_secret_that_no_health_check_uses_is_not_read_for_the_health() {
    let mut sample = sample(THEIRS, USE);
    sample.request.limit = Some("web".to_owned());
    assert_eq!(arranged(&sample), "web:  | TOKEN@db in /etc/db.env | \nread 198.18.0.2: TOKEN@db in /etc/db.env");
    sample.request.only_health = true;
    assert_eq!(arranged(&sample), "web:  |  | ");
}
