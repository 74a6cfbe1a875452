//! Tests that values are fetched, or that the error gives the reason without the value.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use super::*;
use crate::{
    controller::Limits,
    outside::Program,
    secret::SecretRef,
    source::{Boundary, SourceFile, Span},
};

const INLINE: &str = include_str!("../../vault/fixture/inline");

fn keys() -> Keyring {
    let mut keys = Keyring::default();
    keys.add("default", Zeroizing::new(b"the-fixture-password".to_vec()));
    keys
}

/// The surroundings of a project, without variables.
fn here(project: &Path) -> Here<'_> {
    static SURROUNDINGS: std::sync::LazyLock<(Keyring, Controller)> =
        std::sync::LazyLock::new(|| (keys(), Controller::default()));
    Here { project, keys: &SURROUNDINGS.0, controller: &SURROUNDINGS.1 }
}

fn job(source: Source) -> Job {
    let span = Span::new(&SourceFile::new("inventory/hosts.yml", "here"), 0..4);
    let secret = SecretRef { host: "db".into(), name: "TOKEN".into() }.into();
    Job { outside: ExternalValue { source, span }, is_line: true, users: vec![secret] }
}

fn fetched(source: Source) -> Result<String, String> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pw"), "from-a-file\n").unwrap();
    fs::write(directory.path().join("vaulted"), INLINE).unwrap();
    fs::write(directory.path().join("empty"), "\n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let variables =
        [("TOKEN_GIVEN", "from-a-variable"), ("PATH", "/usr/bin:/bin")].map(|(name, value)| (name.into(), value.into()));
    let controller = Controller { variables: variables.into(), ..Controller::default() };
    let (keys, mut known) = (keys(), SecretValues::default());
    let here = Here { project: directory.path(), keys: &keys, controller: &controller };
    known.insert(SecretRef { host: "db".into(), name: "KNOWN".into() }, Secret::new("kn0wn-value".into()));
    let value = runtime.block_on(job(source).value(here, &known));
    value.map(|value| value.expose().to_owned()).map_err(|error| format!("{} [{}]", error.title, error.help.unwrap_or_default()))
}

fn shell(line: &str) -> Source {
    Source::Command(Program::Shell(line.to_owned()))
}

fn words(words: &[&str]) -> Source {
    Source::Command(Program::Words(words.iter().map(|word| (*word).to_owned()).collect()))
}

#[test]
fn every_source_gives_its_value() {
    assert_eq!(fetched(Source::Env("TOKEN_GIVEN".into())).unwrap(), "from-a-variable");
    assert!(fetched(Source::Env("CARGO_MANIFEST_DIR".into())).is_err(), "this process's own variables are not read");
    assert_eq!(
        fetched(shell("echo \"<$CARGO_MANIFEST_DIR>$TOKEN_GIVEN\"")).unwrap(),
        "<>from-a-variable",
        "programs get the same variables"
    );
    assert_eq!(fetched(Source::File("pw".into())).unwrap(), "from-a-file");
    assert_eq!(fetched(Source::File("vaulted".into())).unwrap(), "sn0wman-☃-value");
    assert_eq!(fetched(words(&["printf", "%s\\n", "$HOME; `id`"])).unwrap(), "$HOME; `id`");
    assert_eq!(fetched(shell("printf 'a%s\\n' b | tr b c; echo chatter >&2")).unwrap(), "ac");
    assert_eq!(fetched(shell("cat pw")).unwrap(), "from-a-file", "relative to the project");
    assert_eq!(fetched(Source::Vaulted(Vaulted::Encrypted(INLINE.into()))).unwrap(), "sn0wman-☃-value");
    assert_eq!(fetched(Source::Vaulted(Vaulted::Decrypted(Secret::new("opened".into())))).unwrap(), "opened");
}

#[test]
fn a_source_without_a_value_is_an_error_with_help() {
    let cases = [
        Source::Env("AUTOBOT_NOT_SET_ANYWHERE".into()),
        Source::File("nowhere".into()),
        Source::File("empty".into()),
        Source::File("/proc/self/root".into()),
        words(&["/nowhere/vault"]),
        shell("echo first >&2; echo 'permission denied' >&2; exit 3"),
        shell("exit 1"),
        shell("true"),
        shell("printf 'pass\\nuser: x\\n'"),
        shell("printf 'a\\000b'"),
        shell("printf 'a\\377b'"),
        shell("kill -9 $$"),
        Source::Vaulted(Vaulted::Encrypted(INLINE.replace("39", "40").into())),
    ];
    let errors: Vec<String> = cases.into_iter().map(|source| fetched(source).unwrap_err()).collect();
    insta::assert_snapshot!(errors.join("\n"), @"
    no value for `TOKEN` of `db` from the environment variable `AUTOBOT_NOT_SET_ANYWHERE`: it is not set [set it for this run, such as with `read -rs AUTOBOT_NOT_SET_ANYWHERE && export AUTOBOT_NOT_SET_ANYWHERE`]
    no value for `TOKEN` of `db` from the file `nowhere`: No such file or directory (os error 2) [the path is on this machine; a relative path starts at the project directory]
    no value for `TOKEN` of `db` from the file `empty`: it is empty []
    no value for `TOKEN` of `db` from the file `/proc/self/root`: it is a directory, and only regular files are read [the path is on this machine; a relative path starts at the project directory]
    no value for `TOKEN` of `db` from the command `/nowhere/vault`: it cannot be started: No such file or directory (os error 2) [it printed nothing on standard error]
    no value for `TOKEN` of `db` from the command `echo`: it ended with exit status: 3 [it printed: first
    permission denied]
    no value for `TOKEN` of `db` from the command `exit`: it ended with exit status: 1 [it printed nothing on standard error]
    no value for `TOKEN` of `db` from the command `true`: it is empty []
    no value for `TOKEN` of `db` from the command `printf`: it has more than one line [a value is a single line; select one line of a program's output, such as with `| head -n 1`]
    no value for `TOKEN` of `db` from the command `printf`: it contains a control character []
    no value for `TOKEN` of `db` from the command `printf`: it is not UTF-8 text []
    no value for `TOKEN` of `db` from the command `kill`: it ended with signal: 9 (SIGKILL) [it printed nothing on standard error]
    no value for `TOKEN` of `db` from Ansible Vault: it is damaged: it was truncated [restore it, or encrypt the value again with `ansible-vault`]
    ");
}

#[test]
fn the_error_of_a_failing_program_hides_its_output_and_known_secrets() {
    let error =
        fetched(shell("echo pr1nted-value; echo 'got pr1nted-value and kn0wn-value \x1b[31mred' >&2; exit 1")).unwrap_err();
    assert!(!error.contains("pr1nted") && !error.contains("kn0wn") && !error.contains('\x1b'), "{error}");
    assert!(error.contains("it printed: got ‹what it printed› and ‹KNOWN›  [31mred"), "{error}");
}

#[test]
fn a_program_that_exceeds_its_limit_is_killed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let program = Program::Shell("echo $$ >pid; exec sleep 1000".into());
    let directory = tempfile::tempdir().unwrap();
    let failure = runtime.block_on(program::output(&program, here(directory.path()), Duration::from_millis(300))).unwrap_err();
    assert_eq!(failure.reason, "it did not end within 0 s");
    let pid = fs::read_to_string(directory.path().join("pid")).unwrap();
    let gone = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).map_or(true, |stat| stat.contains(") Z "));
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !gone() {
        assert!(std::time::Instant::now() < deadline, "{pid} is still running");
        std::thread::yield_now();
    }
}

#[test]
fn a_vault_script_that_does_not_end_is_ended_with_what_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    let controller =
        Controller { limits: Limits { program: Duration::from_millis(300), ..Limits::default() }, ..Controller::default() };
    for text in ["sleep 1000 & echo $! >\"${0%/*}/pid\"; wait", "exec >&-; sleep 1000 & echo $! >\"${0%/*}/pid\"; wait"] {
        crate::inventory::tests::write_program(&script, &format!("#!/bin/sh\n{text}\n"));
        let error = read_password(&script, "x", "vault password", &controller, &Boundary::default()).unwrap_err();
        assert!(error.title.ends_with("it did not end within 0 s"), "{error}");
        let pid = fs::read_to_string(directory.path().join("pid")).unwrap();
        let stat = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        while !stat().is_empty() && !stat().contains(") Z ") {
            assert!(std::time::Instant::now() < deadline, "{pid} is still running");
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_short_value_and_an_accessible_file_cause_warnings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pw");
    fs::write(&path, "short").unwrap();
    let warnings = |mode: u32, value: &str| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = job(Source::File("pw".into())).warnings(here(directory.path()), &Secret::new(value.into()));
        warnings.into_iter().map(|warning| warning.title).collect::<Vec<_>>()
    };
    assert_eq!(warnings(0o640, "long enough"), Vec::<String>::new());
    assert_eq!(
        warnings(0o644, "short"),
        ["the value of `TOKEN` of `db` is shorter than 8 characters", "the file `pw` is accessible to all users of this machine"]
    );
}

#[test]
fn a_vault_password_comes_from_a_file_or_from_a_program() {
    let directory = tempfile::tempdir().unwrap();
    let password = |name: &str, text: &str, mode: u32| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let password = read_password(&path, "prod", "vault password", &Controller::default(), &Boundary::default())
            .map_err(|error| error.title.replace(&*directory.path().to_string_lossy(), ""));
        password.map(|password| String::from_utf8_lossy(&password).into_owned())
    };
    assert_eq!(password("file", "  two words \r\n", 0o600).unwrap(), "two words");
    assert_eq!(password("program", "#!/bin/sh\necho \"$# arguments\"\n", 0o700).unwrap(), "0 arguments");
    assert_eq!(password("a-client.sh", "#!/bin/sh\necho \"$1=$2\"\n", 0o700).unwrap(), "--vault-id=prod");
    assert_eq!(password("empty", "\n", 0o600).unwrap_err(), "no vault password from `/empty`: it is empty");
    assert_eq!(
        password("fails", "#!/bin/sh\nexit 7\n", 0o700).unwrap_err(),
        "no vault password from `/fails`: it ended with exit status: 7"
    );
    let large = password("large", &"x".repeat((64 << 10) + 1), 0o600);
    assert_eq!(large.unwrap_err(), "no vault password from `/large`: it is longer than 64 KiB");
    let nowhere = directory.path().join("nowhere");
    assert!(read_password(&nowhere, "x", "vault password", &Controller::default(), &Boundary::default()).is_err());
}

/// A plan of two hosts whose only secret comes from a program that notes each of its runs.
fn plan(directory: &std::path::Path) -> Plan {
    let write = |path: &str, text: &str| {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let role = "secrets:\n  TOKEN: {file: /etc/app.env, from: {command: \"echo ran >>ran; echo real-value\"}}\n\
                tasks:\n  - {name: A, copy: {dest: /a, content: \"{{ secrets.TOKEN }} {{ x }}\"}}\n";
    write("roles/app/role.yml", role);
    let vaulted = INLINE.trim_end().replace('\n', "\n      ");
    write(
        "hosts.yml",
        &format!("all:\n  vars:\n    autobot_roles: [app]\n    x: !vault |\n      {vaulted}\n  hosts: {{one: , two: }}\n"),
    );
    let inventories = vec![crate::inventory::InventorySource::Path(directory.join("hosts.yml"))];
    let request = crate::plan::Request { project: directory.to_owned(), inventories, ..crate::plan::Request::default() };
    crate::plan::load(&request).unwrap_or_else(|errors| panic!("{errors}"))
}

fn given(plan: &Plan, provided: &ProvidedValues) -> Vec<String> {
    let value = |host: &HostPlan, secret: SecretId| {
        provided.of(&host.name).get(&secret).map(|value| value.expose().to_owned()).unwrap_or_default()
    };
    let values = |host: &HostPlan| {
        let token = SecretRef { host: host.name.clone(), name: "TOKEN".to_owned() };
        let x = SecretId::Vaulted { host: host.name.clone(), variable: "x".to_owned(), number: 1 };
        [value(host, token.into()), value(host, x)]
    };
    plan.hosts.iter().flat_map(values).collect()
}

#[test]
fn a_program_runs_once_for_all_hosts_and_not_for_health() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fetched = |purpose: Purpose| {
        let plan = plan(directory.path());
        let (provided, _) = runtime.block_on(fetch(&plan, purpose, here(directory.path()))).unwrap();
        given(&plan, &provided)
    };
    assert_eq!(fetched(Purpose::HEALTH), [""; 4]);
    assert!(!directory.path().join("ran").exists());
    assert_eq!(fetched(Purpose::CHECK), ["real-value", "sn0wman-☃-value", "real-value", "sn0wman-☃-value"]);
    assert_eq!(fs::read_to_string(directory.path().join("ran")).unwrap(), "ran\n");
}

#[test]
fn rehearsals_generate_the_same_values_in_every_pass() {
    let directory = tempfile::tempdir().unwrap();
    let mut stand_ins = StandIns::default();
    let mut pass = || {
        let plan = plan(directory.path());
        let provided = stand_ins.values(&plan).unwrap();
        given(&plan, &provided)
    };
    let first = pass();
    assert_eq!(first, pass());
    assert_eq!((&first[0], &first[1]), (&first[2], &first[3]));
    assert!(first.iter().all(|value| value.len() == 32) && first[0] != first[1], "{first:?}");
    assert!(!directory.path().join("ran").exists());
}
