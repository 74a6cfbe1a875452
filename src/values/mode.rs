//! Permission bits.

use std::fmt;

use serde::{Deserialize, Deserializer, de};

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
                    Ok(0) => Ok(Mode(0)),
                    Ok(_) | Err(_) => Err(match symbolic(text) {
                        Some(Ok(bits)) => {
                            E::custom(format!("`{text}` leaves open what it does not name: write \"{}\"", Mode(bits).octal()))
                        }
                        Some(Err(())) => {
                            E::custom(format!("`{text}` depends on the existing mode: write the whole mode, such as \"0644\""))
                        }
                        None => E::custom(format!("`{text}` is no mode: write three or four octal digits, such as \"0644\"")),
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
        assert_eq!(mode(json!("0")).unwrap(), Mode(0));
        assert!(mode(json!(644)).unwrap_err().contains("a mode in quotes, such as \"0644\""));
        for wrong in ["0888", "64", "rwx", "017777"] {
            let expected = format!("`{wrong}` is no mode: write three or four octal digits, such as \"0644\"");
            assert!(mode(json!(wrong)).unwrap_err().contains(&expected));
        }
        for (symbolic, help) in [
            ("u=rwx,g=rx", "write \"0750\""),
            ("a=r,u=rw", "write \"0644\""),
            ("u=rwxs,g=rxs,o=t", "write \"7750\""),
            ("u=rwX,g=rX", "depends on the existing mode"),
            ("+x", "depends on the existing mode"),
            ("g=u", "depends on the existing mode"),
            ("+t", "depends on the existing mode"),
            ("g+sw", "depends on the existing mode"),
        ] {
            assert!(mode(json!(symbolic)).unwrap_err().contains(help), "{symbolic}");
        }
    }
}
