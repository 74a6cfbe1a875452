//! Types of parameters that many resources share. They are checked when they are decoded.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

/// A boolean, also written `yes`, `no`, `on`, `off` as in YAML 1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Flag;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true or false")
            }
            fn visit_bool<E>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Flag, E> {
                match value.to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" => Ok(Flag(true)),
                    "false" | "no" | "off" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Whether something must exist.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It must exist.
    #[default]
    Present,
    /// It must not exist.
    Absent,
}

/// One value or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany<T>(pub Vec<T>);

impl<T> Default for OneOrMany<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for Visitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a value or a list of values")
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMany(values))
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<Self::Value, E> {
                T::deserialize(de::value::StrDeserializer::new(value)).map(|value| OneOrMany(vec![value]))
            }
            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Self::Value, E> {
                T::deserialize(de::value::U64Deserializer::new(value)).map(|value| OneOrMany(vec![value]))
            }
            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Self::Value, E> {
                T::deserialize(de::value::I64Deserializer::new(value)).map(|value| OneOrMany(vec![value]))
            }
        }
        deserializer.deserialize_any(Visitor(std::marker::PhantomData))
    }
}

/// Permission bits, written in octal as a string: `"0644"`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(pub u32);

impl Mode {
    /// Returns four octal digits, as `chmod` reads them. `stat -c %a` prints them without leading zeros.
    #[must_use]
    pub fn octal(self) -> String {
        format!("{:04o}", self.0)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.octal())
    }
}

impl<'de> Deserialize<'de> for Mode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Mode;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a mode in quotes, such as \"0644\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mode, E> {
                let octal = text.strip_prefix("0o").unwrap_or(text);
                match u32::from_str_radix(octal, 8) {
                    Ok(bits) if bits <= 0o7777 && (3..=5).contains(&octal.len()) => Ok(Mode(bits)),
                    Ok(_) | Err(_) => Err(match symbolic(text) {
                        Some(Ok(bits)) => {
                            E::custom(format!("`{text}` leaves open what it does not name: write \"{}\"", Mode(bits).octal()))
                        }
                        Some(Err(())) => {
                            E::custom(format!("`{text}` depends on the existing mode: write the whole mode, such as \"0644\""))
                        }
                        None => E::invalid_value(de::Unexpected::Str(text), &self),
                    }),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Returns the bits that `u=rwx,g=rx` stands for, with no other bits; an error if they depend on the existing mode, as those of `+x` do;
/// `None` for other texts.
fn symbolic(text: &str) -> Option<Result<u32, ()>> {
    let mut bits = 0;
    let mut relative = false;
    for clause in text.split(',') {
        let at = clause.find(['=', '+', '-'])?;
        let (who, rights) = (&clause[..at], &clause[at + 1..]);
        let who = if who.is_empty() || who.contains('a') { "ugo" } else { who };
        relative |= clause.as_bytes()[at] != b'=';
        for class in who.chars() {
            let shift = match class {
                'u' => 6,
                'g' => 3,
                'o' => 0,
                _ => return None,
            };
            for right in rights.chars() {
                bits |= match (right, class) {
                    ('r', _) => 4 << shift,
                    ('w', _) => 2 << shift,
                    ('x', _) => 1 << shift,
                    ('s', 'u') => 0o4000,
                    ('s', 'g') => 0o2000,
                    ('t', _) => 0o1000,
                    ('s', _) => 0,
                    ('X' | 'u' | 'g' | 'o', _) => {
                        relative = true;
                        0
                    }
                    _ => return None,
                };
            }
        }
    }
    Some(if relative { Err(()) } else { Ok(bits) })
}

/// An absolute path on a node: no NUL, no line break, no `.` or `..` part, no trailing slash except for the root itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemotePath(String);

impl RemotePath {
    /// Checks a path.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(path: &str) -> Result<Self, String> {
        if !path.starts_with('/') {
            return Err(format!("`{path}` is not an absolute path"));
        }
        if path.contains(['\0', '\n', '\r']) {
            return Err("a path cannot hold a NUL or a line break".to_owned());
        }
        if path.split('/').any(|part| part == ".." || part == ".") {
            return Err(format!("`{path}` holds `.` or `..`"));
        }
        let mut clean = String::with_capacity(path.len());
        for part in path.split('/').filter(|part| !part.is_empty()) {
            clean.push('/');
            clean.push_str(part);
        }
        Ok(Self(if clean.is_empty() { "/".to_owned() } else { clean }))
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the directory that contains it; for the root, the root itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => Self("/".to_owned()),
            Some((parent, _)) => Self(parent.to_owned()),
        }
    }

    /// Returns the last part.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for RemotePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RemotePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Whether `text` matches `pattern`, in which `*` stands for any characters.
#[must_use]
pub fn matches_glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = tail.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

/// Text that a shell reads. The loader has quoted each value in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct ShellText(pub String);

/// The words of a command that is run without a shell.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Argv(pub Vec<String>);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn mode(value: serde_json::Value) -> Result<Mode, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_mode_is_octal_text() {
        assert_eq!(mode(json!("0644")).unwrap(), Mode(0o644));
        assert_eq!(mode(json!("2770")).unwrap(), Mode(0o2770));
        for wrong in [json!(644), json!("0888"), json!("64"), json!("rwx"), json!("017777")] {
            assert!(mode(wrong).unwrap_err().contains("a mode in quotes, such as \"0644\""));
        }
        for (symbolic, help) in [
            ("u=rwx,g=rx", "write \"0750\""),
            ("a=r,u=rw", "write \"0644\""),
            ("u=rwxs,g=rxs,o=t", "write \"7750\""),
            ("u=rwX,g=rX", "depends on the existing mode"),
            ("+x", "depends on the existing mode"),
        ] {
            assert!(mode(json!(symbolic)).unwrap_err().contains(help), "{symbolic}");
        }
    }

    #[test]
    fn paths_are_absolute_and_clean() {
        assert_eq!(RemotePath::new("/etc//autobot/").unwrap().as_str(), "/etc/autobot");
        assert_eq!(RemotePath::new("/etc/autobot").unwrap().parent().as_str(), "/etc");
        assert_eq!(RemotePath::new("/etc").unwrap().parent().as_str(), "/");
        for wrong in ["etc", "/a/../b", "/a\nb", "/a\0", "", "/a/./b"] {
            assert!(RemotePath::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn flags_and_lists_are_lenient_where_yaml_is() {
        assert_eq!(serde_json::from_value::<Flag>(json!("yes")).unwrap(), Flag(true));
        assert!(serde_json::from_value::<Flag>(json!("maybe")).is_err());
        assert_eq!(serde_json::from_value::<OneOrMany<String>>(json!("a")).unwrap().0, ["a"]);
        assert_eq!(serde_json::from_value::<OneOrMany<String>>(json!(["a", "b"])).unwrap().0, ["a", "b"]);
    }

    #[test]
    fn globs_match_anything() {
        for (pattern, text, expected) in [
            ("1.2", "1.2", true),
            ("1.2*", "1.2-3", true),
            ("*", "x", true),
            ("1*3*", "1-2-3-4", true),
            ("1.2", "1.20", false),
            ("1*2", "1-3", false),
            ("1*1", "1", false),
        ] {
            assert_eq!(matches_glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
