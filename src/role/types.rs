//! The types of role variables.

use serde_json::Value;

use crate::{
    source::{Node, Yaml},
    template::is_template,
    values::{RemotePath, parse_size},
};

/// The type of a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VarType {
    /// Anything: the type of a default that is a lone expression or `null`.
    Any,
    /// Text. Numbers count as text.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false, also `yes`, `no`, `on`, `off`.
    Bool,
    /// A whole number from 1 to 65535.
    Port,
    /// An absolute path on the node.
    Path,
    /// An amount of memory, as Redis writes it: bytes, or a number with `k`, `kb`, `m`, `mb`, `g` or `gb`.
    Size,
    /// The name of a host of the inventory, or of a group that has exactly one host, which stands for that host. Empty: no host.
    Host,
    /// A list.
    List,
    /// A map.
    Dict,
}

impl VarType {
    /// The names of types in a role file.
    pub const NAMES: &'static [&'static str] =
        &["string", "int", "float", "bool", "port", "path", "size", "host", "list", "dict"];

    /// Returns the type with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "port" => Self::Port,
            "path" => Self::Path,
            "size" => Self::Size,
            "host" => Self::Host,
            "list" => Self::List,
            "dict" => Self::Dict,
            _ => return None,
        })
    }

    /// Its name in a role file; empty for [`VarType::Any`].
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::String => "string",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Port => "port",
            Self::Path => "path",
            Self::Size => "size",
            Self::Host => "host",
            Self::List => "list",
            Self::Dict => "dict",
        }
    }

    /// Infers the type from a default without a `type`.
    #[must_use]
    pub fn of_default(node: &Node) -> Self {
        if node.as_bool().is_some() {
            return Self::Bool;
        }
        match &node.value {
            Yaml::Bool(_) => Self::Bool,
            Yaml::Int(_) => Self::Int,
            Yaml::Float(_) => Self::Float,
            Yaml::Vaulted(_) => Self::String,
            Yaml::Seq(_) => Self::List,
            Yaml::Map(_) => Self::Dict,
            Yaml::Str(text) if !is_template(text) => Self::String,
            Yaml::Str(_) | Yaml::Null => Self::Any,
        }
    }

    fn wanted(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::String => "text",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
            Self::Port => "a port from 1 to 65535",
            Self::Path => "an absolute path",
            Self::Size => "a size such as 512mb, 4gb or a number of bytes",
            Self::Host => "the name of a host",
            Self::List => "a list",
            Self::Dict => "a map",
        }
    }

    /// Converts a value to this type. Text is read as a number or boolean where one is expected, because `-e` and INI files have only text.
    ///
    /// # Errors
    /// The expected type and the kind of the value. The value itself may be a password and is left out.
    pub fn fit(self, value: Value) -> Result<Value, String> {
        let fitting = match (self, &value) {
            (Self::Any, _)
            | (Self::String | Self::Host, Value::String(_))
            | (Self::List, Value::Array(_))
            | (Self::Dict, Value::Object(_))
            | (Self::Bool, Value::Bool(_))
            | (Self::Float, Value::Number(_)) => true,
            (Self::String, Value::Number(number)) => return Ok(Value::String(number.to_string())),
            (Self::Size, Value::Number(number)) if number.is_u64() => return Ok(Value::String(number.to_string())),
            (Self::Size, Value::String(text)) if parse_size(text.trim()).is_some() => {
                return Ok(Value::String(text.trim().to_owned()));
            }
            (Self::Int, Value::Number(number)) => number.is_i64() || number.is_u64(),
            (Self::Port, Value::Number(number)) => number.as_u64().is_some_and(|port| (1..=65535).contains(&port)),
            (Self::Path, Value::String(path)) => RemotePath::new(path).is_ok(),
            (Self::Int | Self::Port, Value::String(text)) => match text.trim().parse::<i64>() {
                Ok(number) => return self.fit(number.into()),
                Err(_) => false,
            },
            (Self::Float, Value::String(text)) => match text.trim().parse::<f64>() {
                Ok(number) if number.is_finite() => return Ok(number.into()),
                Ok(_) | Err(_) => false,
            },
            (Self::Bool, Value::String(text)) => match truth(text) {
                Some(truth) => return Ok(truth.into()),
                None => false,
            },
            _ => false,
        };
        if fitting { Ok(value) } else { Err(format!("expected {}, found {}", self.wanted(), kind_of(&value))) }
    }
}

/// The limits of a variable's values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// The allowed texts; any if empty.
    pub one_of: Vec<String>,
    /// The smallest allowed number.
    pub min: Option<i64>,
    /// The largest allowed number.
    pub max: Option<i64>,
}

impl Limits {
    /// Checks a value that has its type.
    ///
    /// # Errors
    /// What is expected. The value itself may be a password and is left out.
    pub fn check(&self, value: &Value) -> Result<(), String> {
        let number = value.as_f64();
        #[expect(clippy::cast_precision_loss, reason = "limits are far below 2^53")]
        let outside = number.is_some_and(|number| {
            self.min.is_some_and(|min| number < min as f64) || self.max.is_some_and(|max| number > max as f64)
        });
        let unknown =
            !self.one_of.is_empty() && !value.as_str().is_some_and(|text| self.one_of.iter().any(|known| known == text));
        if outside || unknown { Err(self.wanted()) } else { Ok(()) }
    }

    /// Describes the expected values, for an error.
    pub(super) fn wanted(&self) -> String {
        let what = match (self.one_of.as_slice(), self.min, self.max) {
            ([], Some(_), Some(_)) => "a number",
            ([], _, _) => "a number of",
            (_, _, _) => "one of",
        };
        format!("expected {what} {}", self.describe().unwrap_or_default())
    }

    /// Describes the allowed values; `None` if all are allowed.
    #[must_use]
    pub fn describe(&self) -> Option<String> {
        match (self.one_of.as_slice(), self.min, self.max) {
            ([], None, None) => None,
            ([], Some(min), None) => Some(format!("at least {min}")),
            ([], None, Some(max)) => Some(format!("at most {max}")),
            ([], Some(min), Some(max)) => Some(format!("from {min} to {max}")),
            (words, _, _) => Some(words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Parses a boolean.
#[must_use]
pub fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Names the kind of a value, with its article.
#[must_use]
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_must_fit_their_types() {
        assert_eq!(VarType::Port.fit(json!("6379")), Ok(json!(6379)));
        assert_eq!(VarType::Bool.fit(json!("no")), Ok(json!(false)));
        assert_eq!(VarType::String.fit(json!(7)), Ok(json!("7")));
        assert_eq!(VarType::Port.fit(json!(65536)), Err("expected a port from 1 to 65535, found a number".to_owned()));
        assert_eq!(VarType::Path.fit(json!("etc")), Err("expected an absolute path, found text".to_owned()));
        for size in ["4gb", "512MB", "100m", "1073741824", "0", "7b"] {
            assert_eq!(VarType::Size.fit(json!(size)), Ok(json!(size)));
        }
        assert_eq!(VarType::Size.fit(json!(1024)), Ok(json!("1024")));
        let expected = "expected a size such as 512mb, 4gb or a number of bytes, found text".to_owned();
        for size in ["lots", "4 gb", "4gib", "4tb", "-1", "1.5gb", "gb", "", "99999999999gb", "4gb\nx"] {
            assert_eq!(VarType::Size.fit(json!(size)), Err(expected.clone()), "{size}");
        }
        for (wanted, value) in [
            (VarType::Size, json!(-1)),
            (VarType::Int, json!(1.5)),
            (VarType::Int, json!(true)),
            (VarType::Bool, json!(1)),
            (VarType::List, json!("a,b")),
            (VarType::Dict, json!([])),
            (VarType::String, json!(true)),
            (VarType::Float, json!("inf")),
            (VarType::Port, json!(0)),
            (VarType::String, json!(null)),
        ] {
            assert!(wanted.fit(value.clone()).is_err(), "{wanted:?} {value}");
        }
    }
}
