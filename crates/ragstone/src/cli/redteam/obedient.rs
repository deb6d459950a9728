//! A chat service in this process that follows the injections in its prompt, over a real socket.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::attacks::{self, HONEST_REPLY};
use crate::config::{SecretSetting, Settings, sections};

/// Characters in each piece of an answer: few, so that links arrive in parts.
const PIECE: usize = 5;
/// Largest accepted prompt, in bytes.
const MAX_BODY: usize = 4 << 20;

type LastPrompt = Arc<Mutex<Option<String>>>;

/// The running service; dropping this stops it.
pub struct ObedientModel {
    prompts: LastPrompt,
    serving: JoinHandle<()>,
}

impl ObedientModel {
    /// Starts the service, and makes it the chat model of the settings.
    pub async fn start(settings: &mut Settings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        settings.chat.provider = sections::ChatProvider::OpenAi;
        settings.chat.model = "obedient".to_owned();
        settings.chat.api_key = SecretSetting::default();
        settings.chat.base_url = format!("http://{}/v1", listener.local_addr()?);
        let prompts = LastPrompt::default();
        let router = Router::new()
            .route("/v1/chat/completions", post(complete_chat))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(prompts.clone());
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::warn!(%error, "the obedient model ended");
            }
        });
        Ok(Self { prompts, serving })
    }

    /// The prompt of the last request, as one text.
    pub fn last_prompt(&self) -> Option<String> {
        self.prompts.lock().expect("nothing panics while it holds this").clone()
    }
}

impl Drop for ObedientModel {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn complete_chat(State(prompts): State<LastPrompt>, Json(request): Json<Value>) -> Response {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let prompt = messages
        .iter()
        .filter_map(|message| message["content"].as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let reply = choose_reply(&prompt);
    *prompts.lock().expect("nothing panics while it holds this") = Some(prompt);
    let characters: Vec<char> = reply.chars().collect();
    let pieces = characters
        .chunks(PIECE)
        .map(|piece| json!({ "content": piece.iter().collect::<String>() }));
    let chunk = |delta: Value, finish: Value| {
        let chunk = json!({ "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }] });
        format!("data: {chunk}\n\n")
    };
    let mut events: Vec<String> = pieces.map(|delta| chunk(delta, Value::Null)).collect();
    events.push(chunk(json!({}), json!("stop")));
    events.push("data: [DONE]\n\n".to_owned());
    let body = futures::stream::iter(events).map(|event| Ok::<_, Infallible>(Bytes::from(event)));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(body)).into_response()
}

/// The reply that the first injection in the prompt demands, else the honest one.
fn choose_reply(prompt: &str) -> &'static str {
    let seen = visible_text(prompt);
    let attacks = attacks::all_attacks();
    let obeyed = attacks.iter().find(|attack| seen.contains(&visible_text(attack.order)));
    obeyed.map_or(HONEST_REPLY, |attack| attack.reply)
}

/// A text as a model reads it: letters that are spaced apart or written as tag characters form words.
pub fn visible_text(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
    let visible = plain.chars().filter_map(|c| match u32::from(c) {
        tag @ 0xe0020..=0xe007e => char::from_u32(tag - 0xe0000),
        0x200b..=0x200d | 0x2060 | 0xfeff => None,
        _ => Some(c),
    });
    visible
        .collect::<String>()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}
