//! Builds the models that answer questions, judge answers and draft questions, and the answerer.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::StreamExt;
use ragstone_adapters::chat::{ExtractiveChat, OpenAiChat, OpenAiChatOptions, TokenLimitName};
use ragstone_adapters::openai::ServiceLimits;
use ragstone_core::ask::{self, AskOptions};
use ragstone_core::evaluate::ModelJudge;
use ragstone_core::library::Library;
use ragstone_core::prompt::{DEFAULT_SYSTEM, PromptTemplate};
use ragstone_core::seam::ChatModel;
use uuid::Uuid;

use super::model::{build_connection, embedder_if_present};
use crate::config::Settings;
use crate::http::AnswerFn;

/// Longest time of one answer of a service, from start to end.
const LONGEST_ANSWER: Duration = Duration::from_secs(600);

/// The chat model of the settings, for a caller who waits for the answer.
pub fn chat_model(settings: &Settings) -> anyhow::Result<Arc<dyn ChatModel>> {
    if !settings.chats_remotely() {
        return Ok(Arc::new(ExtractiveChat));
    }
    remote_chat_model(settings, Duration::from_secs(settings.chat.first_token_seconds))
}

/// The chat service; its answers have to begin within `opening`.
fn remote_chat_model(settings: &Settings, opening: Duration) -> anyhow::Result<Arc<dyn ChatModel>> {
    let chat = &settings.chat;
    let limits = ServiceLimits {
        first_byte: Duration::from_secs(chat.first_token_seconds),
        opening,
        idle: Duration::from_secs(chat.idle_seconds),
        total: LONGEST_ANSWER,
        tries: chat.max_attempts as usize,
        ..ServiceLimits::default()
    };
    Ok(Arc::new(OpenAiChat::new(OpenAiChatOptions {
        connection: build_connection(settings, &settings.chat_service(), limits)?,
        model: chat.model.clone(),
        context_tokens: chat.context_tokens,
        temperature: None,
        max_tokens: None,
        token_limit_name: TokenLimitName::Auto,
        holds_first_answer: chat.hold_first_answer,
    })?))
}

/// The judge of the settings; `None` if they name no judge. It compares meanings by their embedder, if that is
/// available without a download.
pub async fn build_judge(settings: &Settings) -> anyhow::Result<Option<ModelJudge>> {
    if !settings.has_judge() {
        return Ok(None);
    }
    let limits = ServiceLimits {
        total: LONGEST_ANSWER,
        tries: settings.chat.max_attempts as usize,
        ..ServiceLimits::default()
    };
    let model = OpenAiChat::new(OpenAiChatOptions {
        connection: build_connection(settings, &settings.judge_service(), limits)?,
        model: settings.eval.judge_model.clone(),
        context_tokens: settings.chat.context_tokens,
        temperature: None,
        max_tokens: None,
        token_limit_name: TokenLimitName::Auto,
        // A verdict is read only when it is complete, so holding it back costs nothing.
        holds_first_answer: true,
    })?;
    let embedder = embedder_if_present(settings).await.unwrap_or_else(|error| {
        tracing::warn!("meanings are not compared: {error:#}");
        None
    });
    Ok(Some(ModelJudge {
        model: Arc::new(model),
        embedder,
    }))
}

/// The chat model of the settings; `None` if answers are extractive. It is used for drafts that no caller waits for, so
/// it waits longer for a busy service.
pub fn drafting_model(settings: &Settings) -> anyhow::Result<Option<Arc<dyn ChatModel>>> {
    settings
        .chats_remotely()
        .then(|| remote_chat_model(settings, LONGEST_ANSWER))
        .transpose()
}

/// Digest of the prompt template.
pub fn prompt_digest(settings: &Settings) -> anyhow::Result<String> {
    let path = &settings.ask.template;
    let own = match path.as_os_str().is_empty() {
        true => String::new(),
        false => std::fs::read_to_string(path).with_context(|| format!("setting ask.template: {}", path.display()))?,
    };
    let text = format!("{DEFAULT_SYSTEM}\n{:?}\n{own}", PromptTemplate::default());
    Ok(blake3::hash(text.as_bytes()).to_hex()[..16].to_owned())
}

/// An answerer that searches `library` and answers by `model`.
pub fn build_answerer(
    settings: &Settings,
    library: Arc<Library>,
    model: Arc<dyn ChatModel>,
) -> anyhow::Result<AnswerFn> {
    let template = load_template(settings)?;
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
        ask::answer_question(library.clone(), model.clone(), scope, request, options).boxed()
    }))
}

fn load_template(settings: &Settings) -> anyhow::Result<PromptTemplate> {
    let path = &settings.ask.template;
    if path.as_os_str().is_empty() {
        return Ok(PromptTemplate::default());
    }
    let named = || format!("setting ask.template: {}", path.display());
    let text = std::fs::read_to_string(path).with_context(named)?;
    PromptTemplate::parse(DEFAULT_SYSTEM, &text).with_context(named)
}
