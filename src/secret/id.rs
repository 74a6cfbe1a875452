//! Which secret a token stands for.

use std::fmt;

use super::{CLOSE, Encoding, OPEN, SEPARATOR};

/// A declared secret, by host and name, so that a node can use a secret of another node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SecretRef {
    /// The inventory name of the host on which the secret lives.
    pub host: String,
    /// The key of the secret in the secrets file.
    pub name: String,
}

impl SecretRef {
    /// Returns the token that represents the secret in templates, plans and diffs.
    #[must_use]
    pub fn token(&self, encoding: Encoding) -> String {
        SecretId::from(self.clone()).token(encoding)
    }
}

/// Whatever a token may stand for. As text, it is the name that people see.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SecretId {
    /// A secret that a role declares.
    Declared(SecretRef),
    /// A value that is encrypted with Ansible Vault.
    Vaulted {
        /// The inventory name of the host whose variables hold it.
        host: String,
        /// The variable that leads to it.
        variable: String,
        /// Tells the values of one variable apart; from 1.
        number: usize,
    },
    /// A line of a secrets file, which is kept as it is.
    FileLine {
        /// The inventory name of the host with the file.
        host: String,
        /// The path of the file.
        file: String,
        /// From 1.
        number: usize,
    },
    /// A stand-in for a secret. A text that is rendered with these shows what depends on the value of a secret.
    Other(Box<SecretId>),
}

// The first field of a token.
const DECLARED: &str = "declared";
const VAULTED: &str = "vaulted";
const FILE_LINE: &str = "line";

/// Precedes the first field of a stand-in's token, which so differs in its start and its length.
const OTHER: &str = "other ";

impl SecretId {
    /// Returns the inventory name of the host on which it lives.
    #[must_use]
    pub fn host(&self) -> &str {
        match self {
            Self::Declared(SecretRef { host, .. }) | Self::Vaulted { host, .. } | Self::FileLine { host, .. } => host,
            Self::Other(secret) => secret.host(),
        }
    }

    /// Returns the declared secret, if it is one.
    #[must_use]
    pub fn as_declared(&self) -> Option<&SecretRef> {
        match self {
            Self::Declared(secret) => Some(secret),
            Self::Vaulted { .. } | Self::FileLine { .. } | Self::Other(_) => None,
        }
    }

    /// Returns the stand-in for it. A stand-in is its own.
    #[must_use]
    pub fn other(&self) -> Self {
        match self {
            Self::Other(_) => self.clone(),
            Self::Declared(_) | Self::Vaulted { .. } | Self::FileLine { .. } => Self::Other(Box::new(self.clone())),
        }
    }

    /// Returns the token that represents it in templates, plans and diffs.
    #[must_use]
    pub fn token(&self, encoding: Encoding) -> String {
        format!("{OPEN}{}{SEPARATOR}{}{CLOSE}", self.fields(), encoding.as_str())
    }

    fn fields(&self) -> String {
        let numbered = |kind: &str, host: &str, of: &str, number: usize| {
            format!("{kind}{SEPARATOR}{host}{SEPARATOR}{of}{SEPARATOR}{number}")
        };
        match self {
            Self::Declared(SecretRef { host, name }) => format!("{DECLARED}{SEPARATOR}{host}{SEPARATOR}{name}"),
            Self::Vaulted { host, variable, number } => numbered(VAULTED, host, variable, *number),
            Self::FileLine { host, file, number } => numbered(FILE_LINE, host, file, *number),
            Self::Other(secret) => format!("{OTHER}{}", secret.fields()),
        }
    }

    /// Reads the fields of a token, without its encoding.
    pub(super) fn from_fields(fields: &[&str]) -> Option<Self> {
        let (kind, fields) = fields.split_first()?;
        let (kind, is_other) = kind.strip_prefix(OTHER).map_or((*kind, false), |kind| (kind, true));
        let text = |text: &&str| (*text).to_owned();
        let secret = match (kind, fields) {
            (DECLARED, [host, name]) => Self::Declared(SecretRef { host: text(host), name: text(name) }),
            (VAULTED, [host, variable, number]) => {
                Self::Vaulted { host: text(host), variable: text(variable), number: number.parse().ok()? }
            }
            (FILE_LINE, [host, file, number]) => {
                Self::FileLine { host: text(host), file: text(file), number: number.parse().ok()? }
            }
            _ => return None,
        };
        Some(if is_other { secret.other() } else { secret })
    }
}

impl From<SecretRef> for SecretId {
    fn from(secret: SecretRef) -> Self {
        Self::Declared(secret)
    }
}

impl PartialEq<SecretRef> for SecretId {
    fn eq(&self, other: &SecretRef) -> bool {
        self.as_declared() == Some(other)
    }
}

impl fmt::Display for SecretId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Declared(secret) => formatter.write_str(&secret.name),
            Self::Vaulted { variable, number: 1, .. } => write!(formatter, "{variable} (vault)"),
            Self::Vaulted { variable, number, .. } => write!(formatter, "{variable} (vault {number})"),
            Self::FileLine { file, number, .. } => write!(formatter, "line {number} of {file}"),
            Self::Other(secret) => write!(formatter, "other {secret}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::{Sealed, SealedPart};

    #[test]
    fn a_token_of_each_kind_leads_back_to_its_secret() {
        let host = || "db".to_owned();
        for (id, shown) in [
            (SecretId::from(SecretRef { host: host(), name: "TOKEN".into() }), "‹TOKEN›"),
            (SecretId::Vaulted { host: host(), variable: "v".into(), number: 1 }, "‹v (vault)›"),
            (SecretId::Vaulted { host: host(), variable: "v".into(), number: 2 }, "‹v (vault 2)›"),
            (SecretId::FileLine { host: host(), file: "/etc/s.env".into(), number: 3 }, "‹line 3 of /etc/s.env›"),
        ] {
            let (token, other) = (id.token(Encoding::Url), id.other().token(Encoding::Url));
            assert!(token.len() != other.len(), "{token:?}");
            assert_eq!(Sealed::from(token.as_str()).parts(), [SealedPart::Secret(id.clone(), Encoding::Url)]);
            assert_eq!(Sealed::from(token).shown(), shown);
            assert_eq!(Sealed::from(other).parts(), [SealedPart::Secret(id.other(), Encoding::Url)]);
            assert_eq!(id.other().other(), id.other());
        }
    }
}
