//! PostgreSQL's password verifiers, created and checked on the controller, so that a password never appears in SQL.
//!
//! The form is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the last three in base64 (PostgreSQL documentation, `pg_authid`;
//! RFC 5802 section 3, RFC 7677).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use rand::{TryRng as _, rngs::SysRng};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// PostgreSQL's default for `scram_iterations`.
const ITERATIONS: u32 = 4096;
/// Verifiers with more iterations are not checked, because that would take too long.
const MAX_ITERATIONS: u32 = 10_000_000;
const PREFIX: &str = "SCRAM-SHA-256$";

/// Why a verifier cannot be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The password is empty or not printable ASCII. SASLprep (RFC 4013) would have to normalise it, and clients differ in how they do that.
    #[error("a PostgreSQL password must be printable ASCII and not empty")]
    NotAscii,
    /// The operating system returned no random numbers.
    #[error("the operating system returned no random numbers")]
    NoRandomNumbers,
}

/// Creates a verifier with a random salt from the operating system.
///
/// # Errors
/// [`ScramError`].
pub fn make_with_random_salt(password: &str) -> Result<String, ScramError> {
    let mut salt = [0_u8; 16];
    SysRng.try_fill_bytes(&mut salt).map_err(|_| ScramError::NoRandomNumbers)?;
    make(password, &salt)
}

/// Returns why no verifier can be created from this password, if so.
#[must_use]
pub fn password_error(password: &str) -> Option<ScramError> {
    let printable = password.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    (password.is_empty() || !printable).then_some(ScramError::NotAscii)
}

/// Creates a verifier with this salt.
///
/// # Errors
/// [`ScramError::NotAscii`].
pub fn make(password: &str, salt: &[u8]) -> Result<String, ScramError> {
    if let Some(reason) = password_error(password) {
        return Err(reason);
    }
    let keys = Keys::derive(password, salt, ITERATIONS);
    let (salt, stored, server) = (BASE64.encode(salt), BASE64.encode(keys.stored), BASE64.encode(keys.server));
    Ok(format!("{PREFIX}{ITERATIONS}:{salt}${stored}:{server}"))
}

/// Whether `verifier` belongs to `password`. Takes the same time whatever the difference is.
#[must_use]
pub fn verify(verifier: &str, password: &str) -> bool {
    let Some((iterations, salt, expected)) = parse(verifier) else { return false };
    let keys = Keys::derive(password, &salt, iterations);
    same(&keys.stored, &expected.stored) & same(&keys.server, &expected.server)
}

/// Whether it has the old form, `md5` and 32 hexadecimal digits, which `scram-sha-256` in `pg_hba.conf` refuses.
#[must_use]
pub fn is_md5(verifier: &str) -> bool {
    verifier.strip_prefix("md5").is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

struct Keys {
    stored: [u8; 32],
    server: [u8; 32],
}

impl Keys {
    fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        #[cfg(test)]
        DERIVED.set(DERIVED.get() + 1);
        // HMAC accepts keys of any length (RFC 2104), so this and the calls below never fail.
        let salted = pbkdf2::pbkdf2_array::<Hmac<Sha256>, 32>(password.as_bytes(), salt, iterations);
        let salted = Zeroizing::new(salted.unwrap_or_default());
        let client = Zeroizing::new(hmac(salted.as_slice(), b"Client Key"));
        Self { stored: Sha256::digest(client.as_slice()).into(), server: hmac(salted.as_slice(), b"Server Key") }
    }
}

#[cfg(test)]
thread_local! {
    static DERIVED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Returns how many keys this thread has derived for `work`: each takes thousands of iterations.
#[cfg(test)]
pub(crate) fn derived(work: impl FnOnce()) -> usize {
    let before = DERIVED.get();
    work();
    DERIVED.get() - before
}

fn parse(verifier: &str) -> Option<(u32, Vec<u8>, Keys)> {
    let (parameters, keys) = verifier.strip_prefix(PREFIX)?.split_once('$')?;
    let (iterations, salt) = parameters.split_once(':')?;
    let (stored, server) = keys.split_once(':')?;
    let key = |text: &str| <[u8; 32]>::try_from(BASE64.decode(text).ok()?).ok();
    let iterations = iterations.parse().ok().filter(|iterations| (1..=MAX_ITERATIONS).contains(iterations))?;
    Some((iterations, BASE64.decode(salt).ok()?, Keys { stored: key(stored)?, server: key(server)? }))
}

fn mac(key: &[u8], message: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(message);
    Some(mac)
}

fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    mac(key, message).map_or([0; 32], |mac| mac.finalize().into_bytes().into())
}

/// Compares in constant time, with the comparison that the `hmac` crate provides.
fn same(one: &[u8], other: &[u8]) -> bool {
    mac(b"compare", one)
        .zip(mac(b"compare", other))
        .is_some_and(|(one, other)| one.verify(&other.finalize().into_bytes()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "SCRAM-SHA-256$4096:ZjFQwovDetEqANf8Mur7qw==$MOJZce78fFeSBB9ChZRKElWd5GWzGimSzessWTqEJ40=:lyaeXHvet8OqOxCsPq9xF6S0KNHgGrdaABfI6rmXslw=";

    #[test]
    fn a_verifier_of_a_real_server_matches_only_its_password() {
        assert!(verify(REAL, "p1-Secret"));
        for wrong in ["p1-secret", "p1-Secret ", "", "p2-Secret"] {
            assert!(!verify(REAL, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_created_verifier_equals_one_that_a_real_server_accepted() {
        let salt: Vec<u8> = (0..16).collect();
        let verifier = make("p2-Secret", &salt).unwrap();
        assert_eq!(
            verifier,
            "SCRAM-SHA-256$4096:AAECAwQFBgcICQoLDA0ODw==$thm9cqVdZnoXb21oIBa/53SijzVSSycMN5ZHGkPUJhA=:n5IIO7DtDyDDPxO8ScJ3cBYbDzdlUtgF9TnqgMpAIZA="
        );
        assert!(verify(&verifier, "p2-Secret"));
    }

    #[test]
    fn the_example_of_rfc_7677_is_reproduced() {
        let message = b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let keys = Keys::derive("pencil", &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap(), 4096);
        assert_eq!(BASE64.encode(hmac(&keys.server, message)), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        let proof = BASE64.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client: Vec<u8> = hmac(&keys.stored, message).iter().zip(&proof).map(|(one, other)| one ^ other).collect();
        assert_eq!(<[u8; 32]>::from(Sha256::digest(client)), keys.stored);
    }

    #[test]
    fn an_invalid_verifier_matches_no_password() {
        for broken in [
            "",
            "md5a00d060c7f1677b663d81b9c6c081076",
            "SCRAM-SHA-256$0:AA==$AA==:AA==",
            "SCRAM-SHA-256$4096:é$:",
            "SCRAM-SHA-256$",
        ] {
            assert!(!verify(broken, ""), "{broken}");
        }
        let endless = REAL.replace("$4096:", "$4294967295:");
        assert!(!verify(&endless, "p1-Secret"));
    }

    #[test]
    fn the_md5_form_is_recognised() {
        assert!(is_md5("md5a00d060c7f1677b663d81b9c6c081076"));
        assert!(!is_md5("md5a00d") && !is_md5(REAL));
    }

    #[test]
    fn passwords_that_need_saslprep_are_refused() {
        for wrong in ["", "pässword", "a\u{a0}b", "tab\t", "a\0"] {
            assert_eq!(make(wrong, &[0; 16]), Err(ScramError::NotAscii), "{wrong:?}");
        }
    }
}
