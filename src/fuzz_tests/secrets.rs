//! Files of secrets.

use super::{Target, spans::check_text};
use crate::secret::{EnvFile, EnvLine, SecretRef};

const PUMPS: &[(&str, &str, &str)] = &[("", "#\n", ""), ("A=", "'", ""), ("", "A=1\n", "")];

#[test]
fn fuzz_secrets() {
    let words =
        &["A=", "B=", "PASSWORD=", "\n", "='", "=\"", "'\n", "\"\n", "#", "export ", "\r\n", " = ", "A_1=\\", "${X}", "$(id)"];
    Target { name: "secrets", words, pumps: PUMPS, property }.fuzz();
}

const NEW: &str = "FUZZ_NEW";

fn property(input: &[u8]) {
    any_value_that_can_be_quoted_is_read_back(&String::from_utf8_lossy(input));
    let file = match EnvFile::parse(input) {
        Ok(file) => file,
        Err(error) => return check_text(&error.to_string()),
    };
    // Written again without a change, it is the same file.
    assert_eq!(written(&file, &[], "").as_bytes(), input);
    let known: Vec<(String, Option<String>)> = values(&file);
    let new = |name: &str| SecretRef { host: "db".into(), name: name.into() };
    let first = known.first().map_or(NEW, |(key, _)| key.as_str());
    for name in [NEW, first] {
        let text = written(&file, &[new(name)], "the value");
        let again = EnvFile::parse(text.as_bytes()).unwrap();
        assert_eq!(again.get(name).map(|value| value.expose().to_owned()).as_deref(), Some("the value"));
        let others =
            |values: &[(String, Option<String>)]| values.iter().filter(|(key, _)| key != name).cloned().collect::<Vec<_>>();
        assert_eq!(others(&values(&again)), others(&known), "another secret has changed");
    }
}

fn values(file: &EnvFile) -> Vec<(String, Option<String>)> {
    // Finding each of very many keys is the test's own work.
    file.keys().take(200).map(|key| (key.to_owned(), file.get(key).map(|value| value.expose().to_owned()))).collect()
}

/// What a node would write.
fn written(file: &EnvFile, secrets: &[SecretRef], value: &str) -> String {
    let line = |line: EnvLine| match line {
        EnvLine::Kept(text) => format!("{}\n", text.expose()),
        EnvLine::Added(secret) => format!("{}='{value}'\n", secret.name),
    };
    file.with(secrets).into_iter().map(line).collect()
}

fn any_value_that_can_be_quoted_is_read_back(value: &str) {
    let Some(quotes) = EnvFile::quotes(value) else { return };
    // A value of several lines is refused before.
    if value.contains(['\n', '\r']) || value.is_empty() {
        return;
    }
    let text = format!("A={quotes}{value}{quotes}\n");
    let read = EnvFile::parse(text.as_bytes()).unwrap();
    assert_eq!(read.get("A").map(|secret| secret.expose().to_owned()).as_deref(), Some(value), "in {quotes}");
}
