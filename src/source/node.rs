//! Values with places: the content of a YAML or INI file, before anything interprets it.

use std::{borrow::Cow, sync::Arc};

use super::Span;
use crate::secret::Secret;

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Yaml,
    /// Where it is written; for an alias, where the anchor's value is written.
    pub span: Span,
    /// Whether a scalar is quoted. Collections are plain.
    pub quoting: Quoting,
    /// Whether the value, or a value around it, is tagged `!unsafe`: such data is never rendered as a template.
    pub verbatim: bool,
}

/// How a scalar is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quoting {
    /// Without quotes.
    Plain,
    /// With `'`, `"`, `|` or `>`, or tagged `!!str`.
    Quoted,
}

/// A YAML value. A plain number whose spelling would be lost (`0644`, `1.10`, `1e3`, `0x1F`, `1_000`) is a plain `Str`,
/// as are `yes`, `no`, `on` and `off`: see [`Node::as_bool`].
#[derive(Debug, Clone, PartialEq)]
pub enum Yaml {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`, in lower case, upper case or capitalised.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A decimal fraction.
    Float(f64),
    /// Text.
    Str(String),
    /// Text that Ansible Vault encrypted. It is not a string, so that nothing reads it by accident.
    Vaulted(Vaulted),
    /// A list.
    Seq(Vec<Node>),
    /// Keys and values in the order of the file, without duplicate keys.
    Map(Vec<(Key, Node)>),
}

/// A value that Ansible Vault encrypted.
#[derive(Debug, Clone, PartialEq)]
pub enum Vaulted {
    /// A value tagged `!vault`, still encrypted, as it is written.
    Encrypted(Arc<str>),
    /// A decrypted value of a file that was encrypted as a whole.
    Decrypted(Secret),
}

/// The key of a map. A number or a boolean as a key is kept as it is spelled.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// The name.
    pub name: String,
    /// Where it is written.
    pub span: Span,
}

impl Vaulted {
    /// The text that users see in place of a decrypted value.
    pub const HIDDEN: &str = "‹encrypted›";
}

impl Yaml {
    /// Returns the kind of this value with its article: `a list`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) | Self::Float(_) => "a number",
            Self::Str(_) => "text",
            Self::Vaulted(_) => "an encrypted value",
            Self::Seq(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

impl Node {
    /// Returns a scalar as the author wrote it, quotes included: `0644`, `"a"`.
    #[must_use]
    pub fn spelling(&self) -> &str {
        self.span.text()
    }

    /// Returns a boolean. As in Ansible, plain `yes`, `no`, `on` and `off` count as booleans, in any case.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match &self.value {
            Yaml::Bool(value) => Some(*value),
            Yaml::Str(text) if self.quoting == Quoting::Plain => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" | "true" => Some(true),
                "no" | "off" | "false" => Some(false),
                _ => None,
            },
            Yaml::Null | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) | Yaml::Vaulted(_) | Yaml::Seq(_) | Yaml::Map(_) => None,
        }
    }

    /// Returns the text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Yaml::Str(text) = &self.value { Some(text) } else { None }
    }

    /// Returns the text of any scalar except null: strings as they are, numbers, `true` and `false`.
    #[must_use]
    pub fn scalar_text(&self) -> Option<Cow<'_, str>> {
        match &self.value {
            Yaml::Str(text) => Some(text.into()),
            Yaml::Bool(value) => Some(if *value { "true".into() } else { "false".into() }),
            Yaml::Int(number) => Some(number.to_string().into()),
            Yaml::Float(number) => Some(format!("{number:?}").into()),
            Yaml::Null | Yaml::Vaulted(_) | Yaml::Seq(_) | Yaml::Map(_) => None,
        }
    }

    /// Returns the entries of a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Key, Self)]> {
        if let Yaml::Map(entries) = &self.value { Some(entries) } else { None }
    }

    /// Returns the items of a list.
    #[must_use]
    pub fn as_seq(&self) -> Option<&[Self]> {
        if let Yaml::Seq(items) = &self.value { Some(items) } else { None }
    }

    /// Whether this value is, or contains, one that Ansible Vault encrypted.
    #[must_use]
    pub fn holds_vaulted(&self) -> bool {
        match &self.value {
            Yaml::Vaulted(_) => true,
            Yaml::Seq(items) => items.iter().any(Self::holds_vaulted),
            Yaml::Map(entries) => entries.iter().any(|(_, value)| value.holds_vaulted()),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Str(_) => false,
        }
    }

    /// Returns the value of a key of a map.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Self> {
        self.as_map()?.iter().find(|(key, _)| key.name == name).map(|(_, value)| value)
    }
}

/// Interprets a plain scalar. Only text that can be written back exactly as it was becomes a number.
#[must_use]
pub fn plain_value(text: &str) -> Yaml {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Yaml::Null,
        "true" | "True" | "TRUE" => return Yaml::Bool(true),
        "false" | "False" | "FALSE" => return Yaml::Bool(false),
        _ => {}
    }
    if let Ok(number) = text.parse::<i64>()
        && number.to_string() == text
    {
        return Yaml::Int(number);
    }
    if let Ok(number) = text.parse::<f64>()
        && number.is_finite()
        && text.contains('.')
        && format!("{number:?}") == text
    {
        return Yaml::Float(number);
    }
    Yaml::Str(text.to_owned())
}
