//! Keys that the services of the chosen models require.

use super::SettingsFindings;
use crate::config::{ModelService, Settings};

/// Adds a finding where the public OpenAI service is used without a key: it would refuse every request.
pub fn check_service_keys(settings: &Settings, found: &mut SettingsFindings) {
    let needs_key = |service: &ModelService| service.base_url.contains("api.openai.com") && !service.api_key.is_set();
    if settings.embeds_remotely() && needs_key(&settings.embed_service()) {
        found.add_finding(
            "embed.api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
    if settings.has_judge() && needs_key(&settings.judge_service()) {
        found.add_finding(
            "eval.judge_api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
    if settings.chats_remotely() && needs_key(&settings.chat_service()) {
        found.add_finding(
            "chat.api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
}
