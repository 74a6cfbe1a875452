//! Bytes that pass through several hands.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, OnceLock},
};

use sha2::{Digest as _, Sha256};

/// Bytes that clones share, with their digest, which is calculated once: the file of a role is large, and asked for it by several.
#[derive(Clone, Default)]
pub struct SharedBytes(Arc<(Vec<u8>, OnceLock<[u8; 32]>)>);

impl SharedBytes {
    /// Returns the SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let (bytes, digest) = &*self.0;
        *digest.get_or_init(|| Sha256::digest(bytes).into())
    }
}

impl fmt::Debug for SharedBytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SharedBytes({})", self.len())
    }
}

impl Deref for SharedBytes {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0.0
    }
}

impl PartialEq for SharedBytes {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || **self == **other
    }
}

impl Eq for SharedBytes {}

impl From<Vec<u8>> for SharedBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new((bytes, OnceLock::new())))
    }
}
