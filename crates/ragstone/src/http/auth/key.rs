//! The administrator's key from the environment.

use std::fmt;

/// Shortest accepted key, in bytes without surrounding spaces.
pub const MIN_KEY_BYTES: usize = 32;

/// `RAGSTONE_ADMIN_KEY`, kept as its hash only, so that neither a log nor a memory dump shows it.
#[derive(Clone)]
pub struct AdminKey(blake3::Hash);

/// The key is shorter than [`MIN_KEY_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an admin key has at least {MIN_KEY_BYTES} bytes without spaces around it, this one has {0}")]
pub struct ShortKeyError(usize);

impl AdminKey {
    /// Hashes the key, without surrounding spaces.
    pub fn new(key: &str) -> Result<Self, ShortKeyError> {
        match key.trim().len() {
            length if length < MIN_KEY_BYTES => Err(ShortKeyError(length)),
            _ => Ok(Self(blake3::hash(key.trim().as_bytes()))),
        }
    }

    /// Whether `presented` is the key. The hashes are compared in constant time.
    pub(super) fn matches_key(&self, presented: &str) -> bool {
        blake3::hash(presented.as_bytes()) == self.0
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(..)")
    }
}
