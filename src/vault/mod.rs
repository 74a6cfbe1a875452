//! Decrypts what `ansible-vault` encrypted: formats 1.1 and 1.2 (with a label), cipher AES256. Nothing is ever encrypted here.
//!
//! After the header follows, in hexadecimal and broken into lines, `hex(salt) \n hex(hmac) \n hex(ciphertext)`. PBKDF2-HMAC-SHA256 derives 80 bytes
//! from password and salt in 10 000 rounds: the key of AES-256-CTR, the key of the HMAC-SHA256 over the ciphertext, and the initial counter. The
//! plain text is padded with PKCS#7 (Ansible documentation, "Ansible Vault payload format 1.1 - 1.2").

mod file;

pub use file::read;
#[cfg(test)]
pub(crate) use file::read_plain;

use aes::Aes256;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit as _, StreamCipher as _},
};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{secret::Secret, values::shortened};

const MAGIC: &str = "$ANSIBLE_VAULT;";
const ROUNDS: u32 = 10_000;
const BLOCK: usize = 16;

/// Whether a text has the header of Ansible Vault.
#[must_use]
pub fn is_encrypted(text: &str) -> bool {
    text.starts_with(MAGIC)
}

/// Checks that a text is well formed, as far as this is possible without a password.
///
/// # Errors
/// [`VaultError`].
pub fn check(text: &str) -> Result<(), VaultError> {
    Envelope::parse(text).map(drop)
}

/// Why a text cannot be decrypted. Never contains any of the plain text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The header is missing.
    #[error("it does not begin with `$ANSIBLE_VAULT;`")]
    NotEncrypted,
    /// The format is not supported.
    #[error("format `{0}` of Ansible Vault is not supported; 1.1 and 1.2 are")]
    Format(String),
    /// The cipher is not supported.
    #[error("cipher `{0}` of Ansible Vault is not supported; `AES256` is")]
    Cipher(String),
    /// The text was truncated or changed by hand.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// There is no password.
    #[error("no vault password was given")]
    NoPassword,
    /// None of the passwords fits: how many were tried, and the label of the text.
    #[error("{}", wrong_password(*.0, .1.as_deref()))]
    WrongPassword(usize, Option<String>),
    /// The plain text is not UTF-8.
    #[error("the plain text is not UTF-8")]
    NotText,
}

fn wrong_password(tried: usize, label: Option<&str>) -> String {
    let label = label.map(|label| format!(" (it is labelled `{label}`)")).unwrap_or_default();
    let reason = if tried == 1 {
        "the vault password is wrong".to_owned()
    } else {
        format!("none of the {tried} vault passwords is right")
    };
    format!("{reason}, or the text is damaged{label}")
}

impl VaultError {
    /// Returns what the user can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::NotEncrypted => "`ansible-vault encrypt_string` prints a valid value",
            Self::Format(_) | Self::Cipher(_) => "encrypt it again with a current `ansible-vault`",
            Self::Damaged(_) | Self::NotText => "restore it, or encrypt the value again with `ansible-vault`",
            Self::NoPassword => "use `--vault-password-file FILE` or `--ask-vault-pass`, or set ANSIBLE_VAULT_PASSWORD_FILE",
            Self::WrongPassword(..) => {
                "see --vault-password-file, --ask-vault-pass and --vault-id; try a password with `ansible-vault view`"
            }
        }
    }
}

/// The passwords of a run. Their memory is wiped when they are dropped.
#[derive(Clone, Default)]
pub struct Keyring(Vec<VaultPassword>);

#[derive(Clone)]
struct VaultPassword {
    label: String,
    password: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|key| &key.label)).finish()
    }
}

impl Keyring {
    /// Adds a password under the label of its vault id.
    pub fn add(&mut self, label: &str, password: Zeroizing<Vec<u8>>) {
        self.0.push(VaultPassword { label: label.to_owned(), password });
    }

    /// Whether there are no passwords.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Decrypts a text. As in Ansible, passwords with the text's own label are tried first, then the others.
    ///
    /// # Errors
    /// [`VaultError`].
    pub fn open(&self, text: &str) -> Result<Secret, VaultError> {
        let envelope = Envelope::parse(text)?;
        if self.0.is_empty() {
            return Err(VaultError::NoPassword);
        }
        let own = |key: &&VaultPassword| envelope.label.as_deref() == Some(key.label.as_str());
        let (first, others): (Vec<&VaultPassword>, Vec<&VaultPassword>) = self.0.iter().partition(own);
        for key in first.into_iter().chain(others) {
            if let Some(plain) = envelope.open(&key.password)? {
                let text = String::from_utf8(std::mem::take(&mut *Zeroizing::new(plain))).map_err(|error| {
                    let _wiped = Zeroizing::new(error.into_bytes());
                    VaultError::NotText
                })?;
                return Ok(Secret::new(text));
            }
        }
        Err(VaultError::WrongPassword(self.0.len(), envelope.label.map(|label| shortened(&label).into_owned())))
    }
}

/// The parts of an encrypted text.
struct Envelope {
    label: Option<String>,
    salt: Vec<u8>,
    mac: Vec<u8>,
    ciphertext: Vec<u8>,
}

impl Envelope {
    fn parse(text: &str) -> Result<Self, VaultError> {
        let mut lines = text.lines().map(str::trim_end);
        let header = lines.next().and_then(|line| line.strip_prefix(MAGIC)).ok_or(VaultError::NotEncrypted)?;
        let mut words = header.split(';').map(str::trim);
        let format = words.next().unwrap_or_default();
        if !["1.1", "1.2"].contains(&format) {
            return Err(VaultError::Format(shortened(format).into_owned()));
        }
        let cipher = words.next().unwrap_or_default();
        if cipher != "AES256" {
            return Err(VaultError::Cipher(shortened(cipher).into_owned()));
        }
        let label = words.next().filter(|_| format == "1.2").map(str::to_owned);
        let damaged = VaultError::Damaged;
        let hexadecimal = || damaged("the text after the first line is not hexadecimal, or was truncated");
        let body: String = lines.map(str::trim).collect();
        let body = unhex(body.as_bytes()).ok_or_else(hexadecimal)?;
        let mut parts = body.splitn(3, |byte| *byte == b'\n').map(unhex);
        let mut part = || parts.next().flatten().ok_or_else(|| damaged("it was truncated"));
        let (salt, mac, ciphertext) = (part()?, part()?, part()?);
        if mac.len() != 32 || ciphertext.is_empty() || !ciphertext.len().is_multiple_of(BLOCK) {
            return Err(damaged("it was truncated"));
        }
        Ok(Self { label, salt, mac, ciphertext })
    }

    /// Returns the plain bytes, or `None` if the password does not fit.
    fn open(&self, password: &[u8]) -> Result<Option<Vec<u8>>, VaultError> {
        let mut keys = Zeroizing::new([0_u8; 80]);
        // HMAC accepts keys of any length (RFC 2104), so this and the next call never fail.
        if pbkdf2::pbkdf2::<Hmac<Sha256>>(password, &self.salt, ROUNDS, keys.as_mut()).is_err() {
            return Ok(None);
        }
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&keys[32..64]) else { return Ok(None) };
        mac.update(&self.ciphertext);
        if mac.verify_slice(&self.mac).is_err() {
            return Ok(None);
        }
        let mut plain = Zeroizing::new(self.ciphertext.clone());
        let Ok(mut cipher) = Ctr128BE::<Aes256>::new_from_slices(&keys[..32], &keys[64..]) else { return Ok(None) };
        cipher.apply_keystream(&mut plain);
        let padding = plain.last().map_or(0, |last| usize::from(*last));
        let start = plain.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding));
        let start = start.filter(|start| plain[*start..].iter().all(|byte| usize::from(*byte) == padding));
        let start = start.ok_or(VaultError::Damaged("its padding is wrong"))?;
        plain.truncate(start);
        Ok(Some(std::mem::take(&mut *plain)))
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests;
