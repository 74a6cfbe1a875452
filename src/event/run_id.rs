//! The id of a run.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use rand::{TryRng as _, rngs::SysError, rngs::SysRng};
use serde::{Serialize, Serializer};

/// The id of a run: `20261128T081502Z-7f3a9c2155e0d4b1`, the time in UTC and 64 random bits, so that runs of several controllers differ.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(String);

/// Why a text is not the id of a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a run id: it has 1 to 64 of the characters A-Z, a-z, 0-9, `.`, `_` and `-`")]
pub struct InvalidRunId(String);

impl RunId {
    /// Makes the id of a run that starts now.
    ///
    /// # Errors
    /// The operating system gives no random numbers.
    pub fn random(started: Timestamp) -> Result<Self, SysError> {
        Ok(Self(format!("{}-{:016x}", started.strftime("%Y%m%dT%H%M%SZ"), SysRng.try_next_u64()?)))
    }

    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidRunId(text.to_owned()))
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_time_and_64_random_bits() {
        let started: Timestamp = "2026-11-28T08:15:02.113Z".parse().unwrap();
        let (one, other) = (RunId::random(started).unwrap(), RunId::random(started).unwrap());
        assert_ne!(one, other);
        let (time, bits) = one.as_str().split_once('-').unwrap();
        assert_eq!(time, "20261128T081502Z");
        assert!(bits.len() == 16 && bits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{bits}");
        assert_eq!(one.as_str().parse(), Ok(one));
    }

    #[test]
    fn an_id_of_a_caller_is_a_plain_word() {
        assert!("ci_1.2-x".parse::<RunId>().is_ok());
        for wrong in ["", "a b", "a/b", "ü", "$(id)", &"x".repeat(65)] {
            assert_eq!(wrong.parse::<RunId>(), Err(InvalidRunId(wrong.to_owned())));
        }
    }
}
