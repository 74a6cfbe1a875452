//! Texts that the real `ansible-vault` wrote, intact and damaged.
//!
//! `fixture/` was made with ansible-core 2.19: `ansible-vault encrypt` with `--vault-password-file` (a file that holds `the-fixture-password`), the one
//! that is labelled with `--vault-id prod@FILE` (`the other password`), and `inline` with `encrypt_string --stdin-name x`.

use super::*;

const INLINE: &str = include_str!("fixture/inline");
const LABELLED: &str = include_str!("fixture/labelled");

fn keys(passwords: &[(&str, &str)]) -> Keyring {
    let mut keyring = Keyring::default();
    for (label, password) in passwords {
        keyring.add(label, Zeroizing::new(password.as_bytes().to_vec()));
    }
    keyring
}

fn open(text: &str) -> Result<String, VaultError> {
    keys(&[("default", "the-fixture-password")]).open(text).map(|secret| secret.expose().to_owned())
}

#[test]
fn texts_that_ansible_vault_encrypted_are_decrypted() {
    assert_eq!(open(INLINE).as_deref(), Ok("sn0wman-☃-value"));
    // A whole block of padding, and an empty text that is only padding.
    assert_eq!(open(include_str!("fixture/block")).as_deref(), Ok("0123456789abcdef"));
    assert_eq!(open(include_str!("fixture/empty")).as_deref(), Ok(""));
    assert!(open(include_str!("fixture/vars.yml")).unwrap().starts_with("vault_redis_password: \"p@ss w0rd/+\""));
    assert_eq!(open(include_str!("fixture/bytes")), Err(VaultError::NotText));
    // As YAML and editors may pass it on.
    assert_eq!(open(&INLINE.replace('\n', "\r\n")).as_deref(), Ok("sn0wman-☃-value"));
    assert_eq!(open(&format!("{INLINE}\n\n")).as_deref(), Ok("sn0wman-☃-value"));
}

#[test]
fn every_password_is_tried_and_those_with_the_label_first() {
    let fits = ("prod", "the other password");
    for passwords in [vec![fits], vec![("a", "x"), fits], vec![("a", "x"), ("b", fits.1)]] {
        assert_eq!(keys(&passwords).open(LABELLED).unwrap().expose(), "labelled value");
    }
    let wrong = keys(&[("a", "x"), ("b", "y")]).open(LABELLED).unwrap_err();
    assert_eq!(wrong.to_string(), "none of the 2 vault passwords is right, or the text is damaged (it is labelled `prod`)");
    assert_eq!(keys(&[("a", "x")]).open(INLINE).unwrap_err().to_string(), "the vault password is wrong, or the text is damaged");
    assert_eq!(Keyring::default().open(INLINE).unwrap_err(), VaultError::NoPassword);
}

#[test]
fn truncated_or_changed_texts_are_refused() {
    assert_eq!(open("hunter2").unwrap_err(), VaultError::NotEncrypted);
    assert_eq!(open(&INLINE.replace("1.1", "1.0")).unwrap_err(), VaultError::Format("1.0".to_owned()));
    assert_eq!(open(&INLINE.replace("AES256", "AES")).unwrap_err(), VaultError::Cipher("AES".to_owned()));
    assert!(matches!(open(&format!("{INLINE}zz\n")).unwrap_err(), VaultError::Damaged(_)));
    let lines: Vec<&str> = INLINE.lines().collect();
    for kept in 1..lines.len() {
        let cut = lines[..kept].join("\n");
        assert!(matches!(open(&cut).unwrap_err(), VaultError::Damaged(_) | VaultError::WrongPassword(..)), "{kept} lines");
    }
    // One bit of the ciphertext.
    let last = INLINE.trim_end();
    let flipped = if last.ends_with('0') { '1' } else { '0' };
    let changed = format!("{}{flipped}", &last[..last.len() - 1]);
    assert_eq!(open(&changed).unwrap_err(), VaultError::WrongPassword(1, None));
    // No text causes a panic.
    for hostile in
        ["$ANSIBLE_VAULT;", "$ANSIBLE_VAULT;1.1;AES256\n", "$ANSIBLE_VAULT;1.1;AES256\n0a0a\n", "$ANSIBLE_VAULT;1.2;AES256;\né"]
    {
        assert!(open(hostile).is_err(), "{hostile}");
    }
}

#[test]
fn neither_passwords_nor_values_are_printed() {
    let keyring = keys(&[("prod", "the other password")]);
    let shown = format!("{keyring:?} {:?}", keyring.open(LABELLED).unwrap());
    assert!(!shown.contains("other") && !shown.contains("labelled value") && shown.contains("prod"), "{shown}");
}
