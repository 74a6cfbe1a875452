//! Secrets from outside the node, and values encrypted with Ansible Vault: they are tokens, like all secrets.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Sample;
use crate::{
    outside::{Program, Source},
    plan::{Action, World},
    secret::{Encoding, SecretId},
    source::Vaulted,
    vault::Keyring,
};

const INLINE: &str = include_str!("../../vault/fixture/inline");
const FILE: &str = include_str!("../../vault/fixture/vars.yml");

const ROLE: &str =
    "secrets:\n  TOKEN: {file: /etc/app/secrets.env}\n  OTHER: {file: /etc/app/secrets.env, from: {env: OTHER}}\ntasks:\n";
const USE: &str = "  - {name: A, note: {path: /a, content: \"{{ secrets.TOKEN }}\"}}\n";

fn app(tasks: &str) -> Sample {
    Sample::role(&format!("{ROLE}{tasks}"))
}

/// `name: !vault …`, indented below a key.
fn inline(name: &str) -> String {
    format!("{name}: !vault |\n  {}\n", INLINE.trim_end().replace('\n', "\n  "))
}

fn keys(password: &str) -> Arc<Keyring> {
    let mut keys = Keyring::default();
    keys.add("default", Zeroizing::new(password.as_bytes().to_vec()));
    Arc::new(keys)
}

/// The token of an encrypted value.
fn token(variable: &str, encoding: Encoding) -> String {
    SecretId::Vaulted { host: "db".into(), variable: variable.into(), number: 1 }.token(encoding)
}

/// Returns the sources of the secrets of `db`, in order.
fn sources(sample: &Sample) -> String {
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let line = |name: &str, source: Option<&Source>| {
        format!("{name}: {}\n", source.map_or_else(|| "the node".to_owned(), Source::describe))
    };
    plan.hosts[0]
        .secrets
        .iter()
        .map(|spec| line(&spec.secret.name, spec.outside.as_ref().map(|outside| &outside.source)))
        .collect()
}

#[test]
fn sources_of_secrets_in_the_inventory_win_over_the_role() {
    let sample = app(USE);
    assert_eq!(sources(&sample), "TOKEN: the node\nOTHER: the environment variable `OTHER`\n");
    let vars =
        "autobot_secrets:\n  TOKEN: {command: [vault, kv, get, \"secret/{{ inventory_hostname }}\"]}\n  OTHER: {file: ~/pw}\n";
    sample.write("inventory/group_vars/all.yml", vars);
    assert_eq!(sources(&sample), "TOKEN: the command `vault`\nOTHER: the file `~/pw`\n");
    sample.write("inventory/host_vars/db.yml", "autobot_secrets: {TOKEN: {command: \"pass show db | head -n 1\"}}\n");
    assert_eq!(sources(&sample), "TOKEN: the command `pass`\nOTHER: the environment variable `OTHER`\n");
    let mut sample = sample;
    sample.request.extra_vars = vec![r#"{"autobot_secrets": {"TOKEN": {"env": "T"}}}"#.to_owned()];
    assert_eq!(sources(&sample), "TOKEN: the environment variable `T`\nOTHER: the environment variable `OTHER`\n");
    assert!(sample.load().unwrap().warnings.is_empty());
}

#[test]
fn an_encrypted_value_is_the_value_of_a_secret_or_a_secret_itself() {
    let mut sample = app(
        "  - {name: A, note: {path: /a, content: \"{{ vault_x }} {{ vault_redis_password | urlencode }} {{ vault_pin }}\"}}\n\
             \x20 - {name: B, note: {path: /b, content: \"{{ nested[0].password }}\"}, when: vault_flag}\n",
    );
    sample.write("inventory/group_vars/all/vault.yml", FILE);
    sample.write(
        "inventory/group_vars/all/vars.yml",
        &format!(
            "{}autobot_secrets:\n  TOKEN: {{value: \"{{{{ vault_x }}}}\"}}\n  OTHER: {{value: \"{{{{ vault_pin }}}}\"}}\n",
            inline("vault_x")
        ),
    );
    sample.request.vault = keys("the-fixture-password");
    assert_eq!(sources(&sample), "TOKEN: Ansible Vault\nOTHER: Ansible Vault\n");
    let plan = sample.load().unwrap();
    let tasks = plan.hosts[0].roles[0].steps[0].expand(&World::stand_in()).unwrap();
    let Action::Do(resource) = &tasks[0].action else { panic!("skipped") };
    let (x, redis, pin) =
        (token("vault_x", Encoding::Plain), token("vault_redis_password", Encoding::Url), token("vault_pin", Encoding::Plain));
    let content = serde_json::Value::String(format!("{x} {redis} {pin}")).to_string();
    let shown = format!("{resource:?}");
    assert!(shown.contains(&format!("{content:?}")[1..40]), "{shown}");
    assert!(
        plan.hosts[0].roles[0].steps[1]
            .expand(&World::stand_in())
            .unwrap()
            .iter()
            .all(|task| matches!(task.action, Action::Do(_)))
    );
    let named: Vec<String> = plan.hosts[0].vaulted.iter().map(|(secret, _)| secret.to_string()).collect();
    assert_eq!(
        named,
        ["vault_x (vault)", "vault_pin (vault)", "vault_redis_password (vault)", "nested (vault)", "nested (vault 2)"]
    );
    let Source::Vaulted(Vaulted::Decrypted(value)) = &plan.hosts[0].vaulted[4].1.source else { panic!("not opened") };
    assert_eq!(value.expose(), "line 1\nline 2\n");
    assert_eq!(plan.hosts[0].vaulted[2].1.span.to_string(), "inventory/group_vars/all/vault.yml:1:23");
    // Nothing of it is printed.
    assert!(!format!("{plan:?}").contains("p@ss"), "{plan:?}");
}

#[test]
fn two_encrypted_values_never_share_a_name() {
    let sample = app("  - {name: A, note: {path: /a, content: \"{{ x.a }} {{ x.b }}\"}}\n");
    let indented = |name: &str| inline(name).replace('\n', "\n  ");
    sample
        .write("inventory/group_vars/all.yml", &format!("x:\n  {}\n  {}\n", indented("a").trim_end(), indented("b").trim_end()));
    let plan = sample.load().unwrap();
    let named: Vec<String> = plan.hosts[0].vaulted.iter().map(|(secret, _)| secret.to_string()).collect();
    assert_eq!(named, ["x (vault)", "x (vault 2)"]);
}

#[test]
fn an_encrypted_value_may_be_used_only_where_a_secret_may() {
    let mut sample = app(
        "  - {name: \"A {{ vault_x }}\", note: {path: /a}}\n  - {name: B, note: {path: /a}, when: \"vault_x != ''\"}\n\
         \x20 - {name: C, note: {path: /a}, loop: \"{{ [vault_x] }}\"}\n  - {name: D, note: {path: \"/{{ vault_x }}\"}}\n\
         \x20 - {name: E, note: {path: /a, content: \"{{ vault_x | upper }}\"}}\n  - {name: F, note: {path: /a, content: \"{% if vault_x == 'x' %}y{% endif %}\"}}\n\
         \x20 - {name: G, claim: {that: \"vault_x | length > 7\"}}\n  - {name: H, note: {path: /a, content: \"{{ hostvars.db.vault_x }}\"}}\n\
         \x20 - {name: I, note: {path: /a, content: \"{{ vault_x | default(value='x') }} {{ vault_x if on else 'x' }}\"}}\ndefaults: {on: true}\n",
    );
    sample.write("inventory/group_vars/all.yml", &format!("{}ansible_user: \"{{{{ vault_x }}}}\"\n", inline("vault_x")));
    sample.request.vault = keys("the-fixture-password");
    insta::assert_snapshot!(sample.errors(), @"
    inventory/group_vars/all.yml:2:3: a secret cannot be used to connect [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:5:12: a secret cannot be used in a name [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:6:39: a secret cannot be used in `when` [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:7:39: a secret cannot be used in `loop` [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:8:28: a secret cannot be used in `path` of `note` [it may be in: content]
    roles/app/role.yml:9:41: a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it [`urlencode` is the only filter for secrets: their values are inserted on the node]
    roles/app/role.yml:10:48: `vault_x` holds a secret: nothing can depend on its value [its value is inserted on the node]
    roles/app/role.yml:11:29: a secret cannot be used in an expression [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:12:57: `hostvars.db` has no `vault_x` [if it may be missing, write `?.vault_x` or give it a `default`]
    ");
}

#[test]
fn errors_in_a_secret_source_have_their_span() {
    let sample = app(USE);
    let errors = |text: &str| {
        sample.write("inventory/group_vars/all.yml", text);
        sample.errors()
    };
    let cases = [
        "autobot_secrets: [TOKEN]\n",
        "autobot_secrets: {TOKN: {env: X}}\n",
        "autobot_secrets: {TOKEN: hunter2hunter2}\n",
        "autobot_secrets: {TOKEN: {value: hunter2hunter2}}\n",
        "plain: hunter2hunter2\nautobot_secrets: {TOKEN: {value: \"{{ plain }}\"}}\n",
        "autobot_secrets: {TOKEN: {enviroment: X}}\n",
        "autobot_secrets: {TOKEN: {envv: X}}\n",
        "autobot_secrets: {TOKEN: {}}\n",
        "autobot_secrets: {TOKEN: {env: X, file: ~/pw}}\n",
        "autobot_secrets: {TOKEN: {env: \"A=B\"}}\n",
        "autobot_secrets: {TOKEN: {file: \"\"}}\n",
        "autobot_secrets: {TOKEN: {command: []}}\n",
        "autobot_secrets: {TOKEN: {command: [echo, [x]]}}\n",
        "autobot_secrets: {TOKEN: {env: \"{{ secrets.OTHER }}\"}}\n",
    ];
    let messages: Vec<String> = cases.into_iter().map(errors).collect();
    assert!(messages.iter().all(|messages| !messages.contains("hunter2")), "{messages:?}");
    insta::assert_snapshot!(messages.join("\n"), @"
    inventory/group_vars/all.yml:1:18: `autobot_secrets` must be a map from the names of secrets to their sources, but this is a list [`autobot_secrets: {REDIS_PASSWORD: {env: REDIS_PASSWORD}}`]
    inventory/group_vars/all.yml:1:19: no role declares the secret `TOKN` [did you mean `TOKEN`?]
    inventory/group_vars/all.yml:1:26: the source of the secret `TOKEN` must be a map, but this is text [the inventory must not hold passwords in plain text; give `env: VARIABLE`, `file: PATH`, `command: [PROGRAM, ARGUMENT]` or an encrypted `value`]
    inventory/group_vars/all.yml:1:34: the value of the secret `TOKEN` is in plain text here [encrypt it with `ansible-vault encrypt_string`, or give `env`, `file` or `command`]
    inventory/group_vars/all.yml:2:34: the value of the secret `TOKEN` is in plain text here [encrypt it with `ansible-vault encrypt_string`, or give `env`, `file` or `command`]
    inventory/group_vars/all.yml:1:27: unknown source `enviroment` of the secret `TOKEN` [give `env: VARIABLE`, `file: PATH`, `command: [PROGRAM, ARGUMENT]` or an encrypted `value`]
    inventory/group_vars/all.yml:1:27: unknown source `envv` of the secret `TOKEN` [did you mean `env`?]
    inventory/group_vars/all.yml:1:26: the secret `TOKEN` needs exactly one source [give `env: VARIABLE`, `file: PATH`, `command: [PROGRAM, ARGUMENT]` or an encrypted `value`]
    inventory/group_vars/all.yml:1:26: the secret `TOKEN` needs exactly one source [give `env: VARIABLE`, `file: PATH`, `command: [PROGRAM, ARGUMENT]` or an encrypted `value`]
    inventory/group_vars/all.yml:1:32: `env` of the secret `TOKEN` must be the name of an environment variable
    inventory/group_vars/all.yml:1:33: `file` of the secret `TOKEN` must be a path on this machine
    inventory/group_vars/all.yml:1:36: `command` of the secret `TOKEN` must be a program and its arguments, each as text
    inventory/group_vars/all.yml:1:36: `command` of the secret `TOKEN` must be a program and its arguments, each as text
    inventory/group_vars/all.yml:1:44: undeclared secret `OTHER` [declare it under `secrets:` of the role]
    ");
    let in_argument = format!("{}autobot_secrets: {{TOKEN: {{command: [echo, \"{{{{ x }}}}\"]}}}}\n", inline("x"));
    assert!(errors(&in_argument).contains("a secret cannot be used in `command` of the secret `TOKEN`"));
    let other =
        Sample::role("secrets:\n  TOKEN: {file: /etc/app/secrets.env, from: {value: hunter2hunter2}, frm: 1}\ntasks: []\n");
    insta::assert_snapshot!(other.errors(), @"
    roles/app/role.yml:2:53: the value of the secret `TOKEN` is in plain text here [encrypt it with `ansible-vault encrypt_string`, or give `env`, `file` or `command`]
    roles/app/role.yml:2:70: unknown key of a secret: `frm` [did you mean `from`?]
    ");
}

#[test]
fn a_failed_decryption_has_a_span_and_help() {
    let mut sample = app(USE);
    sample.write("inventory/group_vars/all/vault.yml", FILE);
    let mut messages = vec![sample.errors()];
    sample.request.vault = keys("no");
    messages.push(sample.errors());
    sample.request.vault = keys("the-fixture-password");
    sample.write("inventory/group_vars/all/vault.yml", FILE.split_at(300).0);
    messages.push(sample.errors());
    sample.write("inventory/group_vars/all/vault.yml", INLINE);
    messages.push(sample.errors());
    sample.write("inventory/group_vars/all/vault.yml", &format!("{}token: \"{{{{ x }}}}\"\n", inline("x").replace("256", "128")));
    sample.write("roles/app/role.yml", &format!("{ROLE}  - {{name: A, note: {{path: /a, content: \"{{{{ token }}}}\"}}}}\n"));
    messages.push(sample.errors());
    sample.write("templates/app/a.tera", FILE);
    sample.write("roles/app/role.yml", &format!("{ROLE}  - {{name: A, sheet: {{src: a.tera, dest: /a}}}}\n"));
    sample.write("inventory/group_vars/all/vault.yml", "");
    messages.push(sample.errors());
    insta::assert_snapshot!(messages.join("\n"), @"
    inventory/group_vars/all/vault.yml:1:1: `inventory/group_vars/all/vault.yml` cannot be decrypted: no vault password was given [use `--vault-password-file FILE` or `--ask-vault-pass`, or set ANSIBLE_VAULT_PASSWORD_FILE]
    inventory/group_vars/all/vault.yml:1:1: `inventory/group_vars/all/vault.yml` cannot be decrypted: the vault password is wrong, or the text is damaged [see --vault-password-file, --ask-vault-pass and --vault-id; try a password with `ansible-vault view`]
    inventory/group_vars/all/vault.yml:1:1: `inventory/group_vars/all/vault.yml` cannot be decrypted: it is damaged: the text after the first line is not hexadecimal, or was truncated [restore it, or encrypt the value again with `ansible-vault`]
    inventory/group_vars/all/vault.yml:1:1: a variables file must be a map of names and values, not an encrypted value
    inventory/group_vars/all/vault.yml:2:3: this value is not what `ansible-vault` writes: cipher `AES128` of Ansible Vault is not supported; `AES256` is [encrypt it again with a current `ansible-vault`]
    roles/app/role.yml:5:28: `templates/app/a.tera` is encrypted with Ansible Vault, but a template is never decrypted [encrypt the secret values in a variables file, and use those variables]
    ");
}

#[test]
fn an_encrypted_file_of_extra_variables_is_read() {
    let mut sample = app("  - {name: A, note: {path: /a, content: \"{{ vault_redis_password }}\"}}\n");
    sample.write("extra.yml", FILE);
    sample.request.extra_vars = vec![format!("@{}", sample.request.project.join("extra.yml").display())];
    sample.request.vault = keys("the-fixture-password");
    let plan = sample.load().unwrap();
    assert_eq!(plan.hosts[0].vaulted[0].0.to_string(), "vault_redis_password (vault)");
}

#[test]
fn errors_in_an_encrypted_file_show_no_values() {
    let mut sample = Sample::role("defaults: {vault_pin: {type: port, default: 1}}\ntasks: []\n");
    sample.request.vault = keys("the-fixture-password");
    let shown = |file: &str| {
        sample.write("inventory/group_vars/all/vault.yml", file);
        sample.load().unwrap_err().render(false)
    };
    let messages =
        [FILE, include_str!("../../vault/fixture/broken.yml"), include_str!("../../vault/fixture/template.yml")].map(shown);
    assert!(messages.iter().all(|messages| !messages.contains("123456") && !messages.contains("hunter2")), "{messages:?}");
    insta::assert_snapshot!(messages.join("\n\n"), @"
    error: wrong type for `vault_pin`: expected a port from 1 to 65535, found text
     --> inventory/group_vars/all/vault.yml:2:12
      |
    2 | vault_pin: ********
      |            ^^^^^^^^
      |
     ::: roles/app/role.yml:1:12
      |
    1 | defaults: {vault_pin: ********
      |            --------- declared here

    1 error

    error: the plain text of `inventory/group_vars/all/vault.yml` is not valid YAML
     --> inventory/group_vars/all/vault.yml:2:1
      |
    2 |
      | ^ here
      |
      = help: inspect it with `ansible-vault edit inventory/group_vars/all/vault.yml`

    1 error

    error: a template in an encrypted file: its whole text is a secret, and a secret cannot be rendered
     --> inventory/group_vars/all/vault.yml:2:6
      |
    2 | url: **************** **** ***
      |      ^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: move the template to an unencrypted file and keep only its secret parts here; or, if the braces are part of the value, tag it `!unsafe`

    1 error
    ");
}

/// Returns the source of the password for sudo of `db`, with these variables.
fn for_sudo(vars: &str) -> String {
    let sample = app(USE);
    sample.write("inventory/group_vars/all/vars.yml", &format!("{}{vars}\n", inline("vault_become")));
    match sample.load() {
        Ok(plan) => {
            let found = plan.hosts[0].connection().become_password.as_ref();
            found.map_or_else(|| "none".to_owned(), |found| format!("{} at {}", found.source.describe(), found.span))
        }
        Err(_) => sample.errors(),
    }
}

#[test]
fn the_sudo_password_is_encrypted_or_external() {
    let vars = [
        "",
        "ansible_become_password: \"\"",
        "ansible_become_password: \"{{ vault_become }}\"",
        &inline("ansible_become_pass"),
        "ansible_become_password: {env: BECOME}",
        "ansible_become_pass: {command: [pass, show, \"sudo/{{ inventory_hostname }}\"]}",
        // The last name wins, as in Ansible.
        "ansible_become_password: {env: ONE}\nansible_sudo_pass: {env: TWO}",
        "ansible_become: false\nansible_become_password: hunter2",
        "ansible_become_password: hunter2",
        "ansible_become_pass: \"{{ vault_become }}x\"",
        "ansible_become_password: 12345678",
        "ansible_become_password: {envv: BECOME}",
        "ansible_become_password: {value: hunter2}",
        "ansible_become_password: \"{{ nowhere }}\"",
    ];
    let results: Vec<String> = vars.iter().map(|vars| for_sudo(vars)).collect();
    assert!(!results.concat().contains("hunter2") && !results.concat().contains("12345678"));
    insta::assert_snapshot!(results.join("\n"), @"
    none
    none
    Ansible Vault at inventory/group_vars/all/vars.yml:8:26
    Ansible Vault at inventory/group_vars/all/vars.yml:9:3
    the environment variable `BECOME` at inventory/group_vars/all/vars.yml:8:26
    the command `pass` at inventory/group_vars/all/vars.yml:8:22
    the environment variable `TWO` at inventory/group_vars/all/vars.yml:9:20
    none
    inventory/group_vars/all/vars.yml:8:26: the password for sudo is in plain text here: `ansible_become_password` [encrypt it with `ansible-vault encrypt_string`, or leave it out and type it: `--ask-become-pass`]
    inventory/group_vars/all/vars.yml:8:22: the password for sudo is in plain text here: `ansible_become_pass` [encrypt it with `ansible-vault encrypt_string`, or leave it out and type it: `--ask-become-pass`]
    inventory/group_vars/all/vars.yml:8:26: the password for sudo is in plain text here: `ansible_become_password` [encrypt it with `ansible-vault encrypt_string`, or leave it out and type it: `--ask-become-pass`]
    inventory/group_vars/all/vars.yml:8:27: unknown source `envv` of the secret `ansible_become_password` [did you mean `env`?]
    inventory/group_vars/all/vars.yml:8:34: the value of the secret `ansible_become_password` is in plain text here [encrypt it with `ansible-vault encrypt_string`, or give `env`, `file` or `command`]
    inventory/group_vars/all/vars.yml:8:30: undefined variable `nowhere` [declare it under `defaults:` of the role, or set it in the inventory]
    ");
}

#[test]
fn a_value_in_the_shell_form_of_the_sudo_password_is_one_word() {
    let sample = app(USE);
    let vars = "who: \"a; touch /HOLE; echo b\"\nansible_become_password: {command: \"printf %s {{ who }}\"}\n";
    sample.write("inventory/group_vars/all/vars.yml", vars);
    let plan = sample.load().unwrap_or_else(|errors| panic!("{errors}"));
    let password = plan.hosts[0].connection().become_password.as_ref().expect("a source");
    assert_eq!(password.source, Source::Command(Program::Shell("printf %s 'a; touch /HOLE; echo b'".to_owned())));
}

#[test]
fn a_plain_text_sudo_password_on_the_command_line_is_refused() {
    let mut sample = app(USE);
    sample.request.extra_vars = vec!["ansible_become_password=hunter2".to_owned()];
    insta::assert_snapshot!(
        sample.errors(),
        @"-e:1:25: the password for sudo is in plain text here: `ansible_become_password` [encrypt it with `ansible-vault encrypt_string`, or leave it out and type it: `--ask-become-pass`]"
    );
}
