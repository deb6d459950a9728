//! The administrator's key.

use std::fmt;

/// Shortest key, in bytes.
pub const MIN_KEY_BYTES: usize = 32;

/// `RAGSTONE_ADMIN_KEY`, kept as its hash: neither a log nor a memory dump shows it.
#[derive(Clone)]
pub struct AdminKey(blake3::Hash);

/// The key is too short to be safe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an admin key has at least {MIN_KEY_BYTES} bytes without spaces around it, this one has {0}")]
pub struct ShortKeyError(usize);

impl AdminKey {
    /// The key of this text.
    pub fn new(key: &str) -> Result<Self, ShortKeyError> {
        match key.trim().len() {
            length if length < MIN_KEY_BYTES => Err(ShortKeyError(length)),
            _ => Ok(Self(blake3::hash(key.trim().as_bytes()))),
        }
    }

    /// Whether `presented` is the key; hashes are compared in constant time.
    pub(super) fn matches_key(&self, presented: &str) -> bool {
        blake3::hash(presented.as_bytes()) == self.0
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey(..)")
    }
}
