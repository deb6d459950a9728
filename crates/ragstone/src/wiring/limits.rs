//! Limits of callers and tenants, from the settings.

use crate::config::Settings;
use crate::http::LimitSettings;

/// Converts `[limits]`. Extractive answers cost no tokens, so without a chat service there is no token budget.
pub fn limit_settings(settings: &Settings) -> LimitSettings {
    let limits = &settings.limits;
    let spends = settings.chats_remotely();
    LimitSettings {
        requests_per_minute: limits.requests_per_minute,
        tenant_requests_per_minute: limits.tenant_requests_per_minute,
        caller_streams: limits.caller_streams,
        streams: limits.streams,
        tokens_per_day: if spends { limits.tokens_per_day } else { 0 },
        failed_auths_per_minute: limits.wrong_proofs_per_minute,
        tenant_tokens_per_day: if spends { limits.tenant_tokens_per_day } else { 0 },
    }
}
