//! Projects that would take all of the controller's time or memory.

use std::{os::unix::fs::symlink, process::Command, time::Duration};

use super::*;
use crate::controller::{Controller, Limits};

fn within(mut sample: Sample, seconds: u64) -> Sample {
    let limits = Limits { rendering: Duration::from_secs(seconds), ..Limits::default() };
    sample.request.controller = Arc::new(Controller { limits, ..Controller::default() });
    sample
}

const ROLE: &str = "tasks:\n- {name: Write, template: {src: a.tera, dest: /etc/a, mode: \"0644\"}}\n";

#[test]
fn a_template_that_takes_too_much_is_an_error_with_its_place() {
    let errors = |template: &str, seconds: u64| {
        within(Sample::new(&[("roles/app/role.yml", ROLE), ("templates/app/a.tera", template)]), seconds).errors()
    };
    let help = "[loop over less, or make a variable of it that is given]";
    assert_eq!(
        errors("a\n{% for i in range(end=10000) %}{% for j in range(end=10000) %}{% endfor %}{% endfor %}", 1),
        format!("templates/app/a.tera:2:4: rendering took longer than 1 s {help}")
    );
    let doubled = "{% set_global s = 'xxxxxxxx' %}".to_owned() + &"{% set_global s = s ~ s %}".repeat(30);
    let much = format!("templates/app/a.tera:1:4: rendering needs more than 128 MiB of memory, or nests too deeply {help}");
    assert_eq!(errors(&doubled, 30), much);
    assert_eq!(errors("{% for i in range(end=100000) %}0123456789{% endfor %}", 30), "", "one megabyte");
    let long = errors(&format!("{{% for i in range(end=100000) %}}{}{{% endfor %}}", "x".repeat(400)), 30);
    assert!(long.starts_with("templates/app/a.tera:1:4: the template makes more than 16 MiB of text ["), "{long}");
}

#[test]
fn variables_that_double_each_other_and_long_loops_end() {
    let variables =
        (1..40).map(|number| format!("  v{number}: \"{{{{ v{0} }}}}{{{{ v{0} }}}}\"\n", number - 1)).collect::<Vec<_>>().concat();
    let errors = within(Sample::role(&format!("defaults:\n  v0: 0123456789\n{variables}tasks: []\n")), 30).errors();
    assert!(errors.contains("the template makes more than 16 MiB of text"), "{errors}");
    let each = "tasks:\n- {name: Long, copy: {content: \"{{ 'x' | indent(width=1000) }}{{ item }}\", dest: /etc/a}, loop: \"{{ range(end=20000) }}\"}\n";
    let errors = within(Sample::role(each), 30).errors();
    assert!(
        errors.starts_with("roles/app/role.yml:2:") && errors.contains("`loop` has 20000 items, and 10000 is the most"),
        "{errors}"
    );
    let large = "x".repeat(1 << 20);
    let each = format!(
        "defaults:\n  large: {large}\ntasks:\n- {{name: Long, copy: {{content: \"{{{{ large }}}}\", dest: \"/etc/{{{{ item }}}}\"}}, loop: \"{{{{ range(end=70) }}}}\"}}\n"
    );
    let errors = within(Sample::role(&each), 30).errors();
    assert!(errors.contains("the values of one task make more than 64 MiB of text together"), "{}", errors.len());
}

#[test]
fn what_is_no_regular_file_is_named_wherever_it_lies() {
    for path in ["inventory/hosts.yml", "inventory/group_vars/all.yml", "host_vars/db.yml", "roles/app/role.yml"] {
        let sample = Sample::role("tasks: []\n");
        let place = sample.dir.path().join(path);
        let _ = std::fs::remove_file(&place);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
        let errors = sample.errors();
        assert!(
            errors.contains(&format!("cannot read `{path}`: it is a named pipe, and only regular files are read")),
            "{errors}"
        );
        std::fs::remove_file(&place).unwrap();
        symlink("/dev/zero", &place).unwrap();
        let errors = sample.errors();
        assert!(errors.contains(&format!("cannot read `{path}`: it is a device, and only regular files are read")), "{errors}");
    }
    for path in ["templates/app/a.tera", "roles/app/files/a"] {
        let sample = Sample::role(
            "tasks:\n- {name: Copy, copy: {src: a, dest: /etc/a}}\n- {name: Write, template: {src: a.tera, dest: /etc/b}}\n",
        );
        let place = sample.dir.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
        let errors = sample.errors();
        assert!(errors.contains(&format!("`{path}`")), "{errors}");
    }
}

#[test]
fn the_operator_may_name_a_pipe_and_no_role_names_a_file_of_hosts() {
    let mut sample = Sample::role("defaults: {x: 1}\ntasks: []\n");
    let pipe = |text: &'static str| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let other = path.clone();
        std::thread::spawn(move || std::fs::write(other, text));
        (directory, path)
    };
    let (_extra, path) = pipe("x: 2\n");
    sample.request.extra_vars = vec![format!("@{}", path.display())];
    let (_hosts, path) = pipe(INVENTORY);
    sample.request.inventories = vec![InventorySource::Path(path)];
    assert_eq!(sample.errors(), "");
    let named = "secrets:\n  TOKEN: {file: /etc/a, host: \"@/etc/passwd\"}\ntasks: []\n";
    let errors = Sample::role(named).errors();
    assert!(errors.contains("only `--limit` reads patterns from a file"), "{errors}");
}
