//! What a caller came in by, and whether that still opens anything.
//!
//! Invariant: a proof that has ended opens nothing more, also to a caller who was let in by it before.

use ragstone_core::seam::keys::KeyId;
use time::OffsetDateTime;

use super::ApiKeyring;
use crate::http::problem::{ApiProblem, Code};

/// What a caller came in by, as far as it can end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Credential {
    /// One of the catalogue's keys, which may be revoked and may expire.
    pub key: Option<KeyId>,
    /// When a token expires, clock skew included; a token cannot be revoked.
    pub expires_at: Option<OffsetDateTime>,
}

impl Credential {
    /// Whether it may end while a caller is answered.
    pub fn can_expire(&self) -> bool {
        *self != Self::default()
    }

    /// Refuses a caller whose proof has ended since it came in.
    pub async fn check_live(&self, keys: &ApiKeyring) -> Result<(), ApiProblem> {
        if self.expires_at.is_some_and(|until| until <= keys.current_time()) {
            return Err(ApiProblem::new(Code::Unauthorized, "the token has expired").for_token());
        }
        match self.key {
            Some(key) => keys.check_live(key).await,
            None => Ok(()),
        }
    }
}
