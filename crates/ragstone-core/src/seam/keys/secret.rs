//! The text of a key, `rgs_<id>_<secret>` (both parts in lower-case hexadecimal digits), and the keyed hash that is
//! stored.
//!
//! Invariant: the secret leaves its type only through [`KeySecret::reveal`]; hashes are compared in constant time.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Prefix of every key's text.
const PREFIX: &str = "rgs_";

/// Returns 32 random bytes from a cryptographically secure source.
pub type EntropySource = Arc<dyn Fn() -> [u8; 32] + Send + Sync>;

/// Public id of a key, written as 16 hexadecimal digits. It is not secret and may appear in logs and lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(u64);

/// The text is not a key id. The error does not quote the text, which may be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key has 16 hexadecimal digits in lower case")]
pub struct KeyIdError;

impl KeyId {
    /// The id with this number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }
}

impl FromStr for KeyId {
    type Err = KeyIdError;
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        match is_hex(text, 16) {
            true => u64::from_str_radix(text, 16).map(Self).map_err(|_| KeyIdError),
            false => Err(KeyIdError),
        }
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl TryFrom<String> for KeyId {
    type Error = KeyIdError;
    fn try_from(text: String) -> Result<Self, KeyIdError> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> String {
        id.to_string()
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

/// 32 random bytes per library that key the hashes ([`KeySecret::hash`]); the hashes are useless without them.
#[derive(Clone, PartialEq, Eq)]
pub struct Pepper([u8; 32]);

impl Pepper {
    /// Draws a new pepper from `entropy`.
    pub fn new(entropy: &EntropySource) -> Self {
        Self(entropy())
    }

    /// Stored form: 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        encode_hex(self.0)
    }

    /// Parses the output of [`Self::to_hex`]; `None` if `text` is anything else.
    pub fn from_hex(text: &str) -> Option<Self> {
        decode_hex(text).map(Self)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper(..)")
    }
}

/// Keyed hash that identifies a secret. Equality is checked in constant time.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash(blake3::Hash);

impl KeyHash {
    /// The 32 bytes that are stored.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Restores a hash from its stored bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(blake3::Hash::from_bytes(bytes))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(..)")
    }
}

/// A complete key as its owner holds it: the id and 256 random bits.
#[derive(Clone)]
pub struct KeySecret {
    id: KeyId,
    secret: [u8; 32],
}

impl KeySecret {
    /// Draws a new key from `entropy`.
    pub fn new(entropy: &EntropySource) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = entropy();
        Self {
            id: KeyId(u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            secret: entropy(),
        }
    }

    /// Whether `text` has the prefix of a key; it may still be malformed.
    pub fn has_key_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The public id of the key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// The complete text of the key; it is shown to its owner once.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, encode_hex(self.secret))
    }

    /// The stored hash: BLAKE3 of the complete text, keyed with the pepper.
    pub fn hash(&self, pepper: &Pepper) -> KeyHash {
        KeyHash(blake3::keyed_hash(&pepper.0, self.reveal().as_bytes()))
    }
}

impl FromStr for KeySecret {
    type Err = KeyIdError;
    fn from_str(text: &str) -> Result<Self, KeyIdError> {
        let parts = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_'));
        let (id, secret) = parts.ok_or(KeyIdError)?;
        Ok(Self {
            id: id.parse()?,
            secret: decode_hex(secret).ok_or(KeyIdError)?,
        })
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySecret({}, ..)", self.id)
    }
}

fn encode_hex(bytes: [u8; 32]) -> String {
    blake3::Hash::from_bytes(bytes).to_hex().to_string()
}

fn decode_hex(text: &str) -> Option<[u8; 32]> {
    let hash = is_hex(text, 64).then(|| blake3::Hash::from_hex(text).ok())??;
    Some(*hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    fn entropy() -> EntropySource {
        let calls = AtomicU8::new(0);
        Arc::new(move || [calls.fetch_add(1, Ordering::Relaxed); 32])
    }

    #[test]
    fn a_key_reads_back_and_nothing_else_does() {
        let key = KeySecret::new(&entropy());
        let text = key.reveal();
        assert_eq!(text, format!("rgs_{}_{}", "00".repeat(8), "01".repeat(32)));
        let pepper = Pepper::new(&entropy());
        let again: KeySecret = text.parse().unwrap();
        assert_eq!((again.id(), again.hash(&pepper)), (key.id(), key.hash(&pepper)));
        for bad in [
            "",
            "rgs_",
            "rgs__",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.to_uppercase(),
            &text.replace("rgs_", "rgs"),
            &text.replacen("00", "+0", 1),
            &text.replacen("01", "é", 1),
        ] {
            assert!(bad.parse::<KeySecret>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_hash_depends_on_pepper_id_and_secret() {
        let entropy = entropy();
        let (pepper, other) = (Pepper::new(&entropy), Pepper::new(&entropy));
        let key = KeySecret::new(&entropy);
        let moved = KeySecret {
            id: KeyId::new(7),
            ..key.clone()
        };
        let guessed = KeySecret {
            secret: [9; 32],
            ..key.clone()
        };
        assert_eq!(key.hash(&pepper), key.clone().hash(&pepper));
        for twin in [key.hash(&other), moved.hash(&pepper), guessed.hash(&pepper)] {
            assert_ne!(key.hash(&pepper), twin);
        }
        assert_eq!(Pepper::from_hex(&pepper.to_hex()), Some(pepper));
        assert_eq!(Pepper::from_hex("x"), None);
    }

    #[test]
    fn neither_secret_nor_pepper_nor_hash_is_shown() {
        let entropy = entropy();
        let (pepper, key) = (Pepper::new(&entropy), KeySecret::new(&entropy));
        let shown = format!("{key:?} {pepper:?} {:?}", key.hash(&pepper));
        assert_eq!(shown, "KeySecret(0101010101010101, ..) Pepper(..) KeyHash(..)");
    }
}
