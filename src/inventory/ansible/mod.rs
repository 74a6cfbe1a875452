//! Values as Ansible reads and prints them: `inventory list` and `inventory host` print them exactly as `ansible-inventory` does.
//!
//! Roles see different values: for them, `0644` and `1.10` stay as they are written (see [`crate::source::Yaml`]).

use std::fmt::{self, Write};

use indexmap::IndexMap;

use super::Layer;
use crate::source::{Key, Node, Quoting, Vaulted, Yaml, yaml};

pub(super) mod number;
mod yaml11;

/// How Ansible reads the plain scalars of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// YAML 1.1 as `PyYAML` reads it: `yes` is true, `0644` is 420, `12:30` is 750.
    Yaml,
    /// Python literals: `0x1F` is 31, `yes` is text.
    Ini,
    /// JSON, from a program or a file.
    Json,
}

impl Dialect {
    /// Returns the dialect of a file that may be YAML. Ansible tries JSON first, where `1e3` is a number.
    pub(super) fn of(text: &str) -> Self {
        let is_json = text.trim_start().starts_with('{') && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        if is_json { Self::Json } else { Self::Yaml }
    }
}

/// A value that prints as Python's `json.dumps(value, indent=4, sort_keys=True, ensure_ascii=False)` does.
#[derive(Debug, Clone, PartialEq)]
pub enum AnsibleValue {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as Python prints it: of any size, or `Infinity`, `-Infinity` or `NaN`, which are not valid JSON.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Self>),
    /// Keys and values, in any order.
    Map(Vec<(String, Self)>),
}

/// Variables that Ansible sets itself. It never prints them, even if an inventory defines them.
const INTERNAL: [&str; 33] = [
    "ansible_async_path",
    "ansible_collection_name",
    "ansible_config_file",
    "ansible_dependent_role_names",
    "ansible_diff_mode",
    "ansible_facts",
    "ansible_forks",
    "ansible_inventory_sources",
    "ansible_limit",
    "ansible_play_batch",
    "ansible_play_hosts",
    "ansible_play_hosts_all",
    "ansible_play_role_names",
    "ansible_playbook_python",
    "ansible_role_name",
    "ansible_role_names",
    "ansible_run_tags",
    "ansible_skip_tags",
    "ansible_verbosity",
    "ansible_version",
    "group_names",
    "groups",
    "hostvars",
    "inventory_dir",
    "inventory_file",
    "inventory_hostname",
    "inventory_hostname_short",
    "play_hosts",
    "playbook_dir",
    "role_name",
    "role_names",
    "role_path",
    "role_uuid",
];

/// Returns the strongest value of each variable; `layers` are ordered from the weakest to the strongest. With `mark_unsafe`, text that is never
/// rendered (`!unsafe`) is marked as such, as `--list` does and `--host` does not.
#[must_use]
pub fn variables(layers: &[&Layer], mark_unsafe: bool) -> AnsibleValue {
    let mut strongest = IndexMap::<String, (&Node, Dialect)>::new();
    for layer in layers {
        strongest.extend(layer.vars.iter().map(|(key, node)| (key_text(key, layer.dialect), (node, layer.dialect))));
    }
    let shown = strongest.into_iter().filter(|(name, _)| !INTERNAL.contains(&name.as_str()));
    AnsibleValue::Map(shown.map(|(name, (node, dialect))| (name, value(node, dialect, mark_unsafe))).collect())
}

fn value(node: &Node, dialect: Dialect, mark_unsafe: bool) -> AnsibleValue {
    let unsafe_text = |text: &str| {
        let text = AnsibleValue::Text(text.to_owned());
        if node.verbatim && mark_unsafe { AnsibleValue::Map(vec![("__ansible_unsafe".to_owned(), text)]) } else { text }
    };
    match &node.value {
        Yaml::Null => AnsibleValue::Null,
        Yaml::Bool(flag) => AnsibleValue::Bool(*flag),
        Yaml::Int(number) => AnsibleValue::Number(number.to_string()),
        // YAML 1.1 decides by the spelling: `1.5e16` is text there.
        Yaml::Float(number) => scalar(&format!("{number:?}"), dialect).unwrap_or_else(|| unsafe_text(node.spelling())),
        Yaml::Str(text) if node.quoting == Quoting::Plain => scalar(text, dialect).unwrap_or_else(|| unsafe_text(text)),
        Yaml::Str(text) => unsafe_text(text),
        Yaml::Vaulted(Vaulted::Encrypted(text)) => {
            AnsibleValue::Map(vec![(yaml::VAULT_KEY.to_owned(), AnsibleValue::Text(text.to_string()))])
        }
        // Ansible prints decrypted values; this program does not show passwords.
        Yaml::Vaulted(Vaulted::Decrypted(_)) => AnsibleValue::Text(Vaulted::HIDDEN.to_owned()),
        Yaml::Seq(items) => AnsibleValue::List(items.iter().map(|item| value(item, dialect, mark_unsafe)).collect()),
        Yaml::Map(entries) => {
            let entry = |(key, node): &(Key, Node)| (key_text(key, dialect), value(node, dialect, mark_unsafe));
            AnsibleValue::Map(entries.iter().map(entry).collect())
        }
    }
}

fn scalar(text: &str, dialect: Dialect) -> Option<AnsibleValue> {
    match dialect {
        Dialect::Yaml => yaml11::value(text),
        Dialect::Ini | Dialect::Json => number::python(text).map(AnsibleValue::Number),
    }
}

/// Whether Ansible reads this key of a YAML file as text.
pub(super) fn is_text(key: &Key) -> bool {
    is_quoted(key) || yaml11::value(&key.name).is_none()
}

fn is_quoted(key: &Key) -> bool {
    key.span.text().starts_with(['"', '\'', '!'])
}

/// Returns the text of a key. Python prints keys that are numbers or booleans as JSON text.
fn key_text(key: &Key, dialect: Dialect) -> String {
    let read = if dialect == Dialect::Yaml && !is_quoted(key) { yaml11::value(&key.name) } else { None };
    match read {
        Some(AnsibleValue::Bool(flag)) => flag.to_string(),
        Some(AnsibleValue::Null) => "null".to_owned(),
        Some(AnsibleValue::Number(text) | AnsibleValue::Text(text)) => text,
        Some(AnsibleValue::List(_) | AnsibleValue::Map(_)) | None => key.name.clone(),
    }
}

impl fmt::Display for AnsibleValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(formatter, 0)
    }
}

impl AnsibleValue {
    fn write(&self, to: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let line = |to: &mut fmt::Formatter<'_>, depth: usize| write!(to, "\n{:1$}", "", 4 * depth);
        match self {
            Self::Null => to.write_str("null"),
            Self::Bool(flag) => write!(to, "{flag}"),
            Self::Number(number) => to.write_str(number),
            Self::Text(text) => quoted(text, to),
            Self::List(items) if items.is_empty() => to.write_str("[]"),
            Self::Map(entries) if entries.is_empty() => to.write_str("{}"),
            Self::List(items) => {
                to.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    to.write_str(if index == 0 { "" } else { "," })?;
                    line(to, depth + 1)?;
                    item.write(to, depth + 1)?;
                }
                line(to, depth)?;
                to.write_char(']')
            }
            Self::Map(entries) => {
                let mut sorted: Vec<&(String, Self)> = entries.iter().collect();
                sorted.sort_by(|(a, _), (b, _)| a.cmp(b));
                to.write_char('{')?;
                for (index, (key, value)) in sorted.into_iter().enumerate() {
                    to.write_str(if index == 0 { "" } else { "," })?;
                    line(to, depth + 1)?;
                    quoted(key, to)?;
                    to.write_str(": ")?;
                    value.write(to, depth + 1)?;
                }
                line(to, depth)?;
                to.write_char('}')
            }
        }
    }
}

fn quoted(text: &str, to: &mut fmt::Formatter<'_>) -> fmt::Result {
    to.write_str(&serde_json::to_string(text).map_err(|_| fmt::Error)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_prints_as_python_prints_json() {
        let text = |text: &str| AnsibleValue::Text(text.to_owned());
        let value = AnsibleValue::Map(vec![
            (
                "z".to_owned(),
                AnsibleValue::List(vec![AnsibleValue::Number("NaN".to_owned()), text("\"é😀\u{7f}\u{1}\u{2028}\n")]),
            ),
            ("a".to_owned(), AnsibleValue::Map(Vec::new())),
            ("b".to_owned(), AnsibleValue::List(Vec::new())),
        ]);
        let printed = "{\n    \"a\": {},\n    \"b\": [],\n    \"z\": [\n        NaN,\n        \"\\\"é😀\u{7f}\\u0001\u{2028}\\n\"\n    ]\n}";
        assert_eq!(value.to_string(), printed);
    }
}
