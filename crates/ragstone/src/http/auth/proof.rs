//! The credential of an identified caller, and whether it is still valid.
//!
//! Invariant: an ended credential gives no access, not even to a request or stream that it authenticated before.

use ragstone_core::seam::keys::KeyId;
use time::OffsetDateTime;

use super::ApiKeyring;
use crate::http::problem::{ApiProblem, Code};

/// The part of a caller's credential that can end. Default: nothing can (operator, admin key).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::http) struct Credential {
    /// The API key, which can be revoked or expire.
    pub key: Option<KeyId>,
    /// When the token expires, clock skew included; a token cannot be revoked.
    pub expires_at: Option<OffsetDateTime>,
}

impl Credential {
    /// Whether the credential can end while a response is in progress.
    pub fn can_expire(&self) -> bool {
        *self != Self::default()
    }

    /// 401 if the key or token has ended since the caller was identified.
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
