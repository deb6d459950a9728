//! Who answers, and how.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use ragstone_adapters::chat::{Extractive, OpenAiChat, OpenAiChatOptions, TokenLimitName};
use ragstone_adapters::openai::Limits;
use ragstone_core::ask::{self, AskOptions};
use ragstone_core::library::Library;
use ragstone_core::prompt::{DEFAULT_SYSTEM, Template};
use ragstone_core::seam::ChatModel;
use uuid::Uuid;

use super::model::connection;
use crate::config::Settings;
use crate::http::Answerer;

/// Longest answer of a service, start to end.
const LONGEST_ANSWER: Duration = Duration::from_secs(600);

/// The chat model that the settings mean.
pub fn chat_model(settings: &Settings) -> anyhow::Result<Arc<dyn ChatModel>> {
    if !settings.chats_remotely() {
        return Ok(Arc::new(Extractive));
    }
    let chat = &settings.chat;
    let limits = Limits {
        first_byte: Duration::from_secs(chat.first_token_seconds),
        idle: Duration::from_secs(chat.idle_seconds),
        total: LONGEST_ANSWER,
        tries: chat.max_attempts as usize,
        ..Limits::default()
    };
    Ok(Arc::new(OpenAiChat::new(OpenAiChatOptions {
        connection: connection(&settings.chat_service(), limits)?,
        model: chat.model.clone(),
        context_tokens: chat.context_tokens,
        temperature: None,
        max_tokens: None,
        token_limit_name: TokenLimitName::Auto,
    })?))
}

/// Answers from `library` by `model`.
pub fn answerer(
    settings: &Settings,
    library: Arc<Library>,
    model: Arc<dyn ChatModel>,
) -> anyhow::Result<Answerer> {
    let template = template(settings)?;
    let prompt_tokens = settings.ask.prompt_tokens;
    let models = settings.chat.models.clone();
    Ok(Arc::new(move |scope, request, trace_id| {
        let options = AskOptions {
            template: template.clone(),
            prompt_tokens,
            models: models.clone(),
            trace_id,
            boundary: Uuid::new_v4().simple().to_string(),
        };
        ask::answer(library.clone(), model.clone(), scope, request, options).boxed()
    }))
}

fn template(settings: &Settings) -> anyhow::Result<Template> {
    let path = &settings.ask.template;
    if path.as_os_str().is_empty() {
        return Ok(Template::default());
    }
    let named = || format!("setting ask.template: {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    Template::parse(DEFAULT_SYSTEM, &text).with_context(named)
}
