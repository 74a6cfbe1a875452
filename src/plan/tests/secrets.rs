//! Secrets are tokens that can only be passed on.

use super::*;
use crate::secret::SecretRef;

const HEAD: &str = "secrets:\n  TOKEN: {file: /etc/app/secrets.env}\ndefaults:\n  url: \"db://u:{{ secrets.TOKEN | urlencode }}@h\"\n  on: true\ntasks:\n";

fn app(tasks: &str) -> Sample {
    Sample::role(&format!("{HEAD}{tasks}"))
}

#[test]
fn a_secret_reaches_the_content_of_files_as_a_token() {
    let sample =
        app("  - {name: A, note: {path: /a, content: \"p={{ secrets.TOKEN }} {{ url }} {{ secrets['TOKEN'] ~ '!' }}\"}}\n");
    let plan = sample.load().unwrap();
    let tasks = plan.hosts[0].roles[0].steps[0].expand(&World::stand_in()).unwrap();
    let Action::Do(resource) = &tasks[0].action else { panic!("skipped") };
    let token = SecretRef { host: "db".into(), name: "TOKEN".into() }.token(crate::secret::Encoding::Plain);
    let url = SecretRef { host: "db".into(), name: "TOKEN".into() }.token(crate::secret::Encoding::Url);
    let content = serde_json::Value::String(format!("p={token} db://u:{url}@h {token}!")).to_string();
    assert!(format!("{resource:?}").contains(&format!("{content:?}")[1..40]), "{resource:?}");
    let spec = &plan.hosts[0].secrets[0];
    assert_eq!((spec.file.as_str(), spec.length), ("/etc/app/secrets.env", 32));
    let expected = r#"Access { owner: Some(AccountName("root")), group: Some(AccountName("root")), mode: Some(0600) }"#;
    assert_eq!(format!("{:?}", spec.access), expected);
}

#[test]
fn nothing_can_be_computed_from_a_secret_or_depend_on_it() {
    let sample = app(
        "  - {name: A, note: {path: /a, content: \"{{ secrets.TOKEN | upper }}\"}}\n  - {name: B, note: {path: /a, content: \"{% if secrets.TOKEN == 'x' %}y{% endif %}\"}}\n\
         \x20 - {name: C, note: {path: /a, content: \"{{ url | length }}\"}}\n  - {name: D, note: {path: /a, content: \"{{ url | b64encode }}\"}}\n\
         \x20 - {name: E, note: {path: /a, content: \"{{ url | truncate(length=9) }}\"}}\n  - {name: F, note: {path: /a, content: \"{{ secrets | to_json }}\"}}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r"
    roles/app/role.yml:7:61: `upper` cannot be used on the secret `TOKEN` [`urlencode` is the only filter for secrets: their values are inserted on the node]
    roles/app/role.yml:8:56: nothing can depend on the value of the secret `TOKEN` [its value is inserted on the node]
    roles/app/role.yml:9:41: a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it [`urlencode` is the only filter for secrets: their values are inserted on the node]
    roles/app/role.yml:10:41: a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it [`urlencode` is the only filter for secrets: their values are inserted on the node]
    roles/app/role.yml:11:41: a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it [`urlencode` is the only filter for secrets: their values are inserted on the node]
    roles/app/role.yml:12:45: a secret must be used by its name [write `secrets.NAME`]
    ");
}

#[test]
fn a_secret_is_refused_everywhere_else() {
    let sample = app(
        "  - {name: \"A {{ secrets.TOKEN }}\", note: {path: /a}}\n  - {name: B, when: secrets.TOKEN != '', note: {path: /a}}\n  - {name: C, loop: [\"{{ secrets.TOKEN }}\"], note: {path: /a}}\n\
         \x20 - {name: D, note: {path: \"/{{ secrets.TOKEN }}\"}}\n  - {name: E, run: \"echo {{ url }}\"}\n  - {name: F, run: {cmd: x, stdin: \"{{ url }}\"}}\n  - {name: G, note: {path: /a, content: \"{{ secrets.TOKN }}\"}}\n\
         \x20 - {name: H, when: \"url != ''\", note: {path: /a}}\n  - {name: I, claim: \"secrets.TOKEN == 'x'\"}\n",
    );
    insta::assert_snapshot!(sample.errors(), @r"
    roles/app/role.yml:7:26: a secret cannot be used in a name [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:8:29: a secret cannot be used in `when` [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:9:34: a secret cannot be used in `loop` [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:10:28: a secret cannot be used in `path` of `note` [it may be in: content]
    roles/app/role.yml:11:20: a secret cannot be used in `cmd` of `run` [it may be in: stdin]
    roles/app/role.yml:13:53: undeclared secret `TOKN` [did you mean `TOKEN`?]
    roles/app/role.yml:14:21: a secret cannot be used in `when` [secrets go into the content of files, and into parameters that take a password]
    roles/app/role.yml:15:31: a secret cannot be used in an expression [secrets go into the content of files, and into parameters that take a password]
    ");
}

#[test]
fn a_template_file_may_contain_secrets_but_not_depend_on_them() {
    let role = format!("{HEAD}  - {{name: A, sheet: {{src: a.tera, dest: /a}}}}\n");
    let with = |text: &str| Sample::new(&[("roles/app/role.yml", role.as_str()), ("templates/app/a.tera", text)]);
    insta::assert_snapshot!(with("x {{ secrets.TOKEN }} {{ url }}\n").stand_in_tasks(), @r#"app/A: Toy("x ‹TOKEN› db://u:‹TOKEN›@hn")"#);
    insta::assert_snapshot!([
        with("{% if url | length > 5 %}\nx\n{% endif %}\n{{ url | length }}").errors(), with("{{ secrets.TOKEN | lower }}").errors(),
        with("\n{{ secrets.NOPE }}").errors(), with("a\u{F5EC0}b").errors(),
    ].join("\n"), @r"
    templates/app/a.tera:1:1: a secret can only be passed on unchanged: nothing may be computed from its value, and nothing may depend on it [`urlencode` is the only filter for secrets: their values are inserted on the node]
    templates/app/a.tera:1:20: `lower` cannot be used on the secret `TOKEN` [`urlencode` is the only filter for secrets: their values are inserted on the node]
    templates/app/a.tera:2:12: undeclared secret `NOPE` [declare it under `secrets:` of the role]
    templates/app/a.tera:1:2: a character that is reserved for secrets
    ");
}

#[test]
fn reserved_characters_are_refused_wherever_they_come_from() {
    let mut sample = Sample::role("defaults: {a: \"\u{F5EC1}\"}\ntasks: []\n");
    sample.request.extra_vars = vec!["b=\u{F5EC2}".to_owned()];
    insta::assert_snapshot!(sample.errors(), @r"
    -e:1:3: a character that is reserved for secrets
    roles/app/role.yml:1:16: a character that is reserved for secrets
    ");
    let sample = app("  - {name: A, note: {path: /a, content: \"{{ ansible_facts.hostname }}\"}}\n");
    let plan = sample.load().unwrap();
    let mut world = World::stand_in();
    world.facts["hostname"] = json!(SecretRef { host: "db".into(), name: "TOKEN".into() }.token(crate::secret::Encoding::Plain));
    let errors = plan.hosts[0].roles[0].steps[0].expand(&world).unwrap_err();
    assert!(errors.0[0].title.contains("contains a reserved character"), "{errors}");
}

#[test]
fn excluded_characters_must_not_be_letters_or_digits() {
    let sample = Sample::role("secrets: {TOKEN: {file: /etc/x, without: \"\\\"\\\\\"}}\ntasks: []\n");
    assert_eq!(sample.load().unwrap().hosts[0].secrets[0].without, "\"\\");
    let sample = Sample::role("secrets: {TOKEN: {file: /etc/x, without: \"$x\"}}\ntasks: []\n");
    insta::assert_snapshot!(sample.errors(), @"roles/app/role.yml:1:42: secrets consist of letters and digits, which cannot be excluded");
}
