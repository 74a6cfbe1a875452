//! What hands type that know Ansible, Terraform, kubectl or `deploy.sh`: it does what was meant, or is answered with one line that says what to
//! type. Add a line here for every command line that somebody typed in vain.

use super::{ROLE, project, run, run_in};

/// Command lines that do what was meant, and the same in this program's words.
const MEANT: &[(&str, &str)] = &[
    ("check --list-hosts", "deploy --check --list-hosts"),
    ("check -D -l bear --list-tasks", "deploy --check -D -l bear --list-tasks"),
    ("deploy --syntax-check", "validate"),
    ("deploy --syntax-check -i inventory -l bear", "validate -i inventory -l bear"),
    ("deploy -b --list-hosts", "deploy --list-hosts"),
    ("deploy --become --list-hosts", "deploy --list-hosts"),
    ("deploy -T 30 --list-hosts", "deploy --connect-timeout 30 --list-hosts"),
    ("deploy --timeout 30 --list-hosts", "deploy --connect-timeout 30 --list-hosts"),
    ("deploy --inventory-file inventory --list-hosts", "deploy -i inventory --list-hosts"),
    ("deploy -u root --list-hosts", "deploy -e ansible_user=root --list-hosts"),
    ("deploy --user root --list-hosts", "deploy -e ansible_user=root --list-hosts"),
    ("deploy --private-key id --list-hosts", "deploy -e ansible_ssh_private_key_file=id --list-hosts"),
    ("deploy --ssh-common-args=-4 --list-hosts", "deploy -e ansible_ssh_common_args=-4 --list-hosts"),
    ("deploy --ssh-extra-args -4 --list-hosts", "deploy -e ansible_ssh_extra_args=-4 --list-hosts"),
    ("deploy -c local --list-hosts", "deploy -e ansible_connection=local --list-hosts"),
    (
        "deploy -i inventory -l bear -t always --skip-tags x -C -D -f 5 -vvv --list-tags",
        "deploy -t always --skip-tags x -l bear --list-tags -vvv",
    ),
    ("inventory --list", "inventory list"),
    ("inventory -i inventory --list", "inventory list"),
    ("inventory --graph", "inventory graph"),
    ("inventory --host bear", "inventory host bear"),
    ("inventory --host=bear", "inventory host bear"),
    ("ansible-inventory -i inventory --graph", "inventory graph"),
    ("all -m ping -i missing", "ping -i missing"),
    ("ansible all -m ping -i missing", "ping -i missing"),
    ("-i missing all -m ping", "ping -i missing"),
    ("-m ping all -i missing", "ping -i missing"),
    ("bear -m ansible.builtin.ping -i missing", "ping bear -i missing"),
    ("bear -mping -i missing", "ping bear -i missing"),
    ("ping -m ping all -i missing", "ping -i missing"),
    ("ping bear -m ping -i missing", "ping bear -i missing"),
    ("help", "--help"),
    ("help deploy", "deploy --help"),
    ("help ping", "ping --help"),
    ("help redis cleanup", "redis cleanup --help"),
    ("redis help info", "redis info --help"),
    ("version", "--version"),
    ("deploy -K --list-hosts", "deploy --ask-become-pass --list-hosts"),
    ("ansible-doc file", "doc file"),
];

/// Command lines that are answered with one line.
const ANSWERED: &str = "
reach
all
explain bear --facts
playbook deploy-full.yml --tags redis
playbook playbooks/deploy-full.yml --tags redis --limit database_vm
playbooks/deploy-full.yml --tags redis
ansible-playbook playbooks/deploy-full.yml
-i inventory playbooks/deploy-full.yml
deploy playbooks/deploy-full.yml
deploy database_vm
health database_vm
-i inventory deploy
-i hosts.yml deploy
-i hosts.yml site.yaml
--limit database_vm
--check
--syntax-check
deploy --become-user postgres
deploy --become-method su
deploy --connection-password-file pass
deploy -k
deploy --ask-pass
deploy --start-at-task Configure
deploy --start-at-task=Configure
deploy --step
deploy --flush-cache
deploy --force-handlers
deploy --scp-extra-args x
deploy -M library
deploy --list
deploy --dry-run
deploy --yes
deploy -auto-approve
deploy --host bear
deploy --var a=b
deploy --var-file vars.yml
deploy --no-color
deploy -q
deploy --json
deploy --debug
deploy --parallelism=3
deploy --playbook-dir .
health --ask-pass
validate --check
validate -u root
validate --private-key id
validate -b
explain bear -c local
all -m shell -a uptime
all -a uptime
database_vm -m command -a uptime -b
redis -m shell -a uptime
all -m systemd -a name=redis
all -m service -a name=redis
all -m reboot
all -m setup
all -m copy -a src=x
all -m ansible.builtin.apt -a name=redis
-m shell all -a uptime
facts database_vm
setup
inventory --list --yaml
inventory list --yaml
inventory --list --export
inventory --graph --vars
inventory show
vault view secrets.yml
vault-view secrets.yml
explain
explain --role toy
deploy --roles toy
vault encrypt secrets.yml
vault edit secrets.yml
ansible-vault encrypt_string x
resources
module redis
galaxy install -r requirements.yml
ansible-galaxy collection install x
pull
ansible-pull -U x
console
ansible-console
lint
ansible-lint roles
plan
plan -out=x
apply
apply -f x.yml
diff
list
ls
roles
tags
tasks
hosts
get nodes
describe node bear
vars bear
state list
graph
history
resume
attach
cancel
unlock
run uptime
exec bear -- uptime
ssh bear
restart redis
reboot bear
upgrade
update
backup
restore
rollback
destroy
delete bear
import playbooks
init
serve
mcp
logs bear
top
cp x bear:/
config
completions bash
man
dry-run
ping bear rabbit
ping --role redis
--full
--services
--base-system
--health-check
--validate
--test-connectivity
--use-vault
--vault-file x
--start redis
--rollback
--patch-redis
--data-migration
--setup-sudo
--install-reqs
--ask-pass
--flush-cache
";

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn habits_do_what_was_meant() {
    let project = project(ROLE);
    for (line, meant) in MEANT {
        let (came, wanted) = (run_in(project.path(), &words(line)), run_in(project.path(), &words(meant)));
        assert_eq!(came, wanted, "{line}");
        assert_ne!(came.0, Some(64), "{line}: {}", came.2);
    }
}

#[test]
fn habits_that_do_not_fit_are_answered_with_what_to_type() {
    let lines: Vec<&str> = ANSWERED.lines().filter(|line| !line.is_empty()).collect();
    assert!(lines.len() + MEANT.len() >= 83);
    let mut answers = String::new();
    for line in lines {
        let (code, text, errors) = run(&words(line));
        assert_eq!((code, text.as_str()), (Some(64), ""), "{line}: {errors}");
        let answer = errors.strip_prefix("error: ").unwrap_or_else(|| panic!("{line}: {errors}")).trim_end();
        assert!(!answer.contains('\n') && !answer.contains("Usage") && !answer.contains("tip:"), "{line}: {errors}");
        assert!(answer.chars().count() <= 140, "{line}: {} characters: {answer}", answer.chars().count());
        answers.extend([line, "\n    ", answer, "\n"]);
    }
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "../snapshots", omit_expression => true}, {
        insta::assert_snapshot!("muscle-memory", answers);
    });
}

#[test]
fn an_answer_does_not_repeat_what_may_be_secret() {
    for line in ["deploy -e password=hunter2 --step", "x.yml -e password=hunter2", "all -m shell -a hunter2"] {
        let (code, _, errors) = run(&words(line));
        assert_eq!(code, Some(64), "{line}");
        assert!(!errors.contains("hunter2"), "{errors}");
    }
}
