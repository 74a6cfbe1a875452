//! Generates passwords from the operating system's random numbers.

use rand::{TryRng as _, rngs::SysRng};
use zeroize::Zeroizing;

use super::Secret;

/// The characters of passwords. None of them needs quoting in a shell, in SQL, in a URL or in redis.conf.
pub const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// Generates a password of `length` characters of [`ALPHABET`], which are all equally likely.
///
/// # Errors
/// Returns an error when the operating system provides no random numbers.
pub fn generate(length: usize) -> Result<Secret, rand::rngs::SysError> {
    // Using a byte at or above this would favour the first characters.
    let fair = 256 - 256 % ALPHABET.len();
    let mut bytes = Zeroizing::new([0_u8; 64]);
    let mut password = Zeroizing::new(String::with_capacity(length));
    while password.len() < length {
        SysRng.try_fill_bytes(bytes.as_mut())?;
        let missing = length - password.len();
        let characters = bytes.iter().filter(|byte| usize::from(**byte) < fair).take(missing);
        password.extend(characters.map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])));
    }
    Ok(Secret::new(std::mem::take(&mut *password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_have_the_length_and_the_alphabet_and_differ() {
        let (one, two) = (generate(32).unwrap(), generate(32).unwrap());
        assert_eq!(one.expose().len(), 32);
        assert!(one.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
        assert_ne!(one, two);
    }

    #[test]
    fn all_characters_are_equally_likely() {
        let mut counts = [0_u32; 256];
        for byte in generate(62_000).unwrap().expose().bytes() {
            counts[usize::from(byte)] += 1;
        }
        // 1000 expected each; 6 standard deviations on either side.
        assert!(ALPHABET.iter().all(|character| (800..1200).contains(&counts[usize::from(*character)])));
    }
}
