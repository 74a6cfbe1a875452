//! Secrets. Templates, plans and diffs contain tokens in place of the values; only the transport inserts the values.

mod env_file;
mod id;
mod nonce;
mod password;
mod provided;

pub use env_file::{EnvFile, EnvFileError, EnvLine};
pub use id::{SecretId, SecretRef};
pub use nonce::nonce;
pub use password::{ALPHABET, generate};
pub use provided::ProvidedValues;

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::{
    pg::scram::{self, ScramError},
    values::SharedBytes,
};

// Planes 15 and 16 are for private use: ordinary text does not contain these characters.
const OPEN: char = '\u{F5EC0}';
const SEPARATOR: char = '\u{F5EC1}';
const CLOSE: char = '\u{F5EC2}';
/// The first byte of each of them: text without it holds no token.
const FIRST: u8 = 0xF3;

/// A value that is never printed. Its memory is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a value.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// Returns the value itself. Only the transport and comparisons may call this.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// How the value of a secret is encoded where it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Unchanged.
    Plain,
    /// Percent-encoded for a URL (RFC 3986, everything but unreserved characters).
    Url,
    /// As PostgreSQL's SCRAM-SHA-256 verifier with a new random salt, so that the password itself never leaves the controller.
    Scram,
}

impl Encoding {
    const ALL: [Self; 3] = [Self::Plain, Self::Url, Self::Scram];

    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Url => "url",
            Self::Scram => "scram",
        }
    }
}

/// Why a sealed text cannot be revealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RevealError {
    /// It has no value yet.
    #[error("the secret `{0}` of `{host}` has no value", host = .0.host())]
    NoValue(SecretId),
    /// It has a value that cannot be written in this encoding.
    #[error("the secret `{secret}` of `{host}` cannot be used here: {reason}", host = secret.host())]
    NotEncodable {
        /// The secret.
        secret: SecretId,
        /// The reason.
        reason: ScramError,
    },
}

/// A piece of a [`Sealed`] text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SealedPart<'a> {
    /// Ordinary bytes.
    Bytes(&'a [u8]),
    /// A secret, in this encoding.
    Secret(SecretId, Encoding),
}

/// Bytes that contain tokens in place of secrets. They are safe to print; only [`Sealed::reveal`] returns the real bytes.
///
/// A clone shares the bytes: a large file passes through several hands on its way to a node.
#[derive(Clone, Default)]
pub struct Sealed {
    bytes: SharedBytes,
    /// Whether it is known that there is no token in them.
    is_public: bool,
}

impl PartialEq for Sealed {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Sealed {}

impl Sealed {
    /// Returns bytes that come from elsewhere. None if they hold a token, which would stand for a secret.
    #[must_use]
    pub fn public(bytes: SharedBytes) -> Option<Self> {
        (!bytes_hold_token(&bytes)).then_some(Self { bytes, is_public: true })
    }

    /// Returns the pieces, in order.
    #[must_use]
    pub fn parts(&self) -> Vec<SealedPart<'_>> {
        let mut parts = Vec::new();
        let mut rest = self.bytes.as_slice();
        while let Some((before, secret, encoding, after)) = self.next_token(rest) {
            if !before.is_empty() {
                parts.push(SealedPart::Bytes(before));
            }
            parts.push(SealedPart::Secret(secret, encoding));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(SealedPart::Bytes(rest));
        }
        parts
    }

    fn next_token<'a>(&self, rest: &'a [u8]) -> Option<(&'a [u8], SecretId, Encoding, &'a [u8])> {
        if self.is_public { None } else { next_token(rest) }
    }

    /// Returns the SHA-256 of the bytes with tokens.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.bytes.sha256()
    }

    /// Returns the secrets that the text uses, without duplicates.
    #[must_use]
    pub fn secrets(&self) -> Vec<SecretId> {
        let mut secrets: Vec<SecretId> = Vec::new();
        for part in self.parts() {
            if let SealedPart::Secret(secret, _) = part
                && !secrets.contains(&secret)
            {
                secrets.push(secret);
            }
        }
        secrets
    }

    /// Returns the real bytes. Two calls differ when a secret is encoded with a random salt.
    ///
    /// # Errors
    /// Returns the first secret whose value is unknown or cannot be encoded.
    pub fn reveal(&self, values: &SecretValues) -> Result<Revealed, RevealError> {
        if self.next_token(&self.bytes).is_none() {
            return Ok(Revealed::Public(self.bytes.clone()));
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.bytes.len() + 64));
        for part in self.parts() {
            match part {
                SealedPart::Bytes(plain) => bytes.extend_from_slice(plain),
                SealedPart::Secret(secret, encoding) => {
                    let Some(value) = values.get(&secret) else { return Err(RevealError::NoValue(secret)) };
                    match encoding {
                        Encoding::Plain => bytes.extend_from_slice(value.expose().as_bytes()),
                        Encoding::Url => bytes.extend_from_slice(percent_encode(value.expose()).as_bytes()),
                        Encoding::Scram => match scram::make_with_random_salt(value.expose()) {
                            Ok(verifier) => bytes.extend_from_slice(verifier.as_bytes()),
                            Err(reason) => return Err(RevealError::NotEncodable { secret, reason }),
                        },
                    }
                }
            }
        }
        Ok(Revealed::Wiped(bytes))
    }

    /// Returns the text for people, with each secret as `‹NAME›`.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        for part in self.parts() {
            match part {
                SealedPart::Bytes(plain) => text.push_str(&String::from_utf8_lossy(plain)),
                SealedPart::Secret(secret, _) => {
                    text.push('‹');
                    text.push_str(&secret.to_string());
                    text.push('›');
                }
            }
        }
        text
    }

    /// Returns whether it contains no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Returns the bytes with tokens, to compare two sealed texts.
    #[must_use]
    pub fn as_tokens(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({:?})", self.shown())
    }
}

impl From<String> for Sealed {
    fn from(text: String) -> Self {
        Self::from(text.into_bytes())
    }
}

impl From<&str> for Sealed {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

impl From<Vec<u8>> for Sealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes: bytes.into(), is_public: false }
    }
}

/// The real bytes of a [`Sealed`] text. Bytes without a secret are shared, because a large file is revealed several times.
#[derive(Clone, PartialEq, Eq)]
pub enum Revealed {
    /// There was no secret in them.
    Public(SharedBytes),
    /// They may hold secrets, so their memory is wiped when they are dropped.
    Wiped(Zeroizing<Vec<u8>>),
}

impl Revealed {
    /// Returns the SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        match self {
            Self::Public(bytes) => bytes.sha256(),
            Self::Wiped(bytes) => Sha256::digest(bytes.as_slice()).into(),
        }
    }
}

impl std::ops::Deref for Revealed {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        match self {
            Self::Public(bytes) => bytes,
            Self::Wiped(bytes) => bytes,
        }
    }
}

impl Default for Revealed {
    fn default() -> Self {
        Self::from(Vec::new())
    }
}

impl From<Vec<u8>> for Revealed {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Wiped(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Revealed({} bytes)", self.len())
    }
}

impl<'de> serde::Deserialize<'de> for Sealed {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// The values of secrets that are known in this run.
#[derive(Default)]
pub struct SecretValues {
    values: HashMap<SecretId, Secret>,
    hidden: Vec<(String, Secret)>,
    /// Which verifiers belong to which secret: a prediction, a change and a health check ask the same, and each answer takes milliseconds.
    verified: Mutex<HashMap<(SecretId, String), bool>>,
}

impl Clone for SecretValues {
    fn clone(&self) -> Self {
        let verified = self.verified.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self { values: self.values.clone(), hidden: self.hidden.clone(), verified: Mutex::new(verified) }
    }
}

impl SecretValues {
    /// Stores a value.
    pub fn insert(&mut self, secret: impl Into<SecretId>, value: Secret) {
        let secret = secret.into();
        // They were compared with the value before.
        self.verified.get_mut().unwrap_or_else(PoisonError::into_inner).retain(|(known, _), _| *known != secret);
        self.values.insert(secret, value);
    }

    /// Returns whether a verifier of PostgreSQL belongs to the value of a secret. The value of an unknown secret has none.
    #[must_use]
    pub fn verifies(&self, secret: &SecretId, verifier: &str) -> bool {
        let Some(value) = self.get(secret) else { return false };
        let mut known = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry((secret.clone(), verifier.to_owned())).or_insert_with(|| scram::verify(verifier, value.expose()))
    }

    /// Adds a value that no text uses, but that no output may show: `label` stands in its place.
    pub fn hide(&mut self, label: String, value: Secret) {
        self.hidden.push((label, value));
    }

    /// Returns the value, if it is known.
    #[must_use]
    pub fn get(&self, secret: &SecretId) -> Option<&Secret> {
        self.values.get(secret)
    }

    /// Returns the value of a declared secret, if it is known.
    #[must_use]
    pub fn declared(&self, secret: &SecretRef) -> Option<&Secret> {
        self.get(&SecretId::Declared(secret.clone()))
    }

    /// Returns every known value and its name, to search outputs for them.
    pub fn iter(&self) -> impl Iterator<Item = (String, &Secret)> {
        let used = self.values.iter().map(|(secret, value)| (secret.to_string(), value));
        used.chain(self.hidden.iter().map(|(label, value)| (label.clone(), value)))
    }
}

impl fmt::Debug for SecretValues {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.values.keys()).finish()
    }
}

/// Returns whether a text contains a token or a part of one.
#[must_use]
pub fn holds_token(text: &str) -> bool {
    bytes_hold_token(text.as_bytes())
}

/// As [`holds_token`], of bytes that need not be text.
#[must_use]
pub fn bytes_hold_token(bytes: &[u8]) -> bool {
    let parts = [OPEN, SEPARATOR, CLOSE];
    memchr::memchr(FIRST, bytes).is_some()
        && parts.into_iter().any(|part| find(bytes, part.encode_utf8(&mut [0; 4]).as_bytes()).is_some())
}

fn next_token(bytes: &[u8]) -> Option<(&[u8], SecretId, Encoding, &[u8])> {
    memchr::memchr(FIRST, bytes)?;
    let mut buffer = [0_u8; 4];
    let open = OPEN.encode_utf8(&mut buffer).as_bytes().to_vec();
    let close = CLOSE.encode_utf8(&mut buffer).as_bytes().to_vec();
    let start = find(bytes, &open)?;
    let inner = &bytes[start + open.len()..];
    let end = find(inner, &close)?;
    let fields: Vec<&str> = std::str::from_utf8(&inner[..end]).ok()?.split(SEPARATOR).collect();
    let (encoding, id) = fields.split_last()?;
    let encoding = Encoding::ALL.into_iter().find(|known| known.as_str() == *encoding)?;
    Some((&bytes[..start], SecretId::from_fields(id)?, encoding, &inner[end + close.len()..]))
}

/// Returns the position of `needle`.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Percent-encodes all characters except the unreserved ones (RFC 3986).
pub(crate) fn percent_encode(value: &str) -> String {
    use fmt::Write as _;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redis() -> SecretId {
        SecretRef { host: "db".into(), name: "REDIS_PASSWORD".into() }.into()
    }

    #[test]
    fn a_sealed_text_shows_names_and_reveals_values() {
        let text = format!("a {} b {}", redis().token(Encoding::Plain), redis().token(Encoding::Url));
        let sealed = Sealed::from(text);
        assert_eq!(sealed.shown(), "a ‹REDIS_PASSWORD› b ‹REDIS_PASSWORD›");
        assert_eq!(sealed.secrets(), vec![redis()]);
        let mut values = SecretValues::default();
        assert_eq!(sealed.reveal(&values).unwrap_err(), RevealError::NoValue(redis()));
        values.insert(redis(), Secret::new("p@ss".into()));
        assert_eq!(sealed.reveal(&values).unwrap().as_slice(), b"a p@ss b p%40ss");
        assert!(!format!("{sealed:?} {values:?}").contains("p@ss"));
    }

    #[test]
    fn a_verifier_matches_the_password_and_never_repeats() {
        let sealed = Sealed::from(redis().token(Encoding::Scram));
        assert_eq!(sealed.shown(), "‹REDIS_PASSWORD›");
        let mut values = SecretValues::default();
        values.insert(redis(), Secret::new("p-ss".into()));
        let (one, two) = (sealed.reveal(&values).unwrap(), sealed.reveal(&values).unwrap());
        assert_ne!(one, two);
        assert!(scram::verify(std::str::from_utf8(&one).unwrap(), "p-ss"));
        values.insert(redis(), Secret::new("pässword".into()));
        let error = sealed.reveal(&values).unwrap_err().to_string();
        assert!(error.contains("`REDIS_PASSWORD` of `db`") && !error.contains("pässword"), "{error}");
    }

    #[test]
    fn a_verifier_is_compared_with_a_value_once() {
        let mut values = SecretValues::default();
        let verifier = scram::make("p-ss", b"salt").unwrap();
        assert!(!values.verifies(&redis(), &verifier));
        values.insert(redis(), Secret::new("p-ss".into()));
        let derived = scram::derived(|| {
            assert!(values.verifies(&redis(), &verifier) && values.verifies(&redis(), &verifier));
            assert!(values.clone().verifies(&redis(), &verifier));
        });
        assert_eq!(derived, 1);
        assert!(!values.verifies(&redis(), &scram::make("other", b"salt").unwrap()));
        let other = SecretRef { host: "db".into(), name: "OTHER".into() };
        values.insert(other.clone(), Secret::new("other".into()));
        assert!(!values.verifies(&other.into(), &verifier));
        values.insert(redis(), Secret::new("new".into()));
        assert!(!values.verifies(&redis(), &verifier), "the value is another one");
        assert!(!format!("{values:?}").contains("SCRAM"));
    }

    #[test]
    fn each_character_of_a_token_is_found_and_others_are_not() {
        for part in [OPEN, SEPARATOR, CLOSE] {
            assert!(holds_token(&format!("a{part}b")) && holds_token(&part.to_string()));
        }
        assert!(!holds_token("a \u{F5EBF} \u{F5EC3} ü") && !bytes_hold_token(&[FIRST, 0xB5, 0xBB]));
    }

    #[test]
    fn bytes_that_are_not_text_pass_through() {
        let sealed = Sealed::from(vec![0, 255, 10]);
        assert_eq!(sealed.reveal(&SecretValues::default()).unwrap().as_slice(), [0, 255, 10]);
    }
}
