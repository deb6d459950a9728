//! What a caller came in by, and whether that still opens anything.
//!
//! Invariant: a proof that has ended opens nothing more, also to a caller who was let in by it before.

use ragstone_core::seam::keys::KeyId;
use time::OffsetDateTime;

use super::Keyring;
use crate::http::problem::{Code, Problem};

/// What a caller came in by, as far as it can end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Proof {
    /// One of the catalogue's keys, which may be revoked and may expire.
    pub key: Option<KeyId>,
    /// When a token expires, clock skew included; a token cannot be revoked.
    pub until: Option<OffsetDateTime>,
}

impl Proof {
    /// Whether it may end while a caller is answered.
    pub fn may_end(&self) -> bool {
        *self != Self::default()
    }

    /// Refuses a caller whose proof has ended since it came in.
    pub async fn still_opens(&self, keys: &Keyring) -> Result<(), Problem> {
        if self.until.is_some_and(|until| until <= keys.now()) {
            return Err(Problem::new(Code::Unauthorized, "the token has expired").of_a_token());
        }
        match self.key {
            Some(key) => keys.still_opens(key).await,
            None => Ok(()),
        }
    }
}
