//! Unguessable words.

use rand::{
    TryRng as _,
    rngs::{SysError, SysRng},
};

/// Returns 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// Returns an error when the operating system provides no random numbers.
pub fn nonce() -> Result<String, SysError> {
    let mut bytes = [0_u8; 16];
    SysRng.try_fill_bytes(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonces_are_32_digits_and_differ() {
        let (one, two) = (nonce().unwrap(), nonce().unwrap());
        assert!(one.len() == 32 && one.bytes().all(|byte| byte.is_ascii_hexdigit()), "{one}");
        assert_ne!(one, two);
    }
}
