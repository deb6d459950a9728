//! What a model of a service needs beyond the sections that name it.

use super::Findings;
use crate::config::{Service, Settings};

/// The public service refuses every request without a key: say so at start.
pub fn check(settings: &Settings, found: &mut Findings) {
    let needs_key = |service: &Service| service.base_url.contains("api.openai.com") && !service.api_key.is_set();
    if settings.embeds_remotely() && needs_key(&settings.embed_service()) {
        found.say(
            "embed.api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
    if settings.judges() && needs_key(&settings.judge_service()) {
        found.say(
            "eval.judge_api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
    if settings.chats_remotely() && needs_key(&settings.chat_service()) {
        found.say(
            "chat.api_key",
            "must be set (or OPENAI_API_KEY): this model is a service's".into(),
        );
    }
}
