//! A value that is used but never shown.
//!
//! Invariant: neither `Debug` nor `Display` nor serialisation reveals a secret.

use std::fmt;

use serde::Deserialize;

/// A key or token; empty means not set.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretSetting(String);

impl SecretSetting {
    /// Wraps `value` so that it is not shown.
    pub(super) fn new(value: String) -> Self {
        Self(value)
    }

    /// The secret itself, for sending it; `None` if not set.
    pub fn expose_secret(&self) -> Option<&str> {
        Some(self.0.as_str()).filter(|secret| !secret.is_empty())
    }

    /// Whether a value is set.
    pub fn is_set(&self) -> bool {
        !self.0.is_empty()
    }
}

impl fmt::Display for SecretSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_set() { "set" } else { "not set" })
    }
}

impl fmt::Debug for SecretSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}
