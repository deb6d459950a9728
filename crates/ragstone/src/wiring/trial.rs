//! The trials of `doctor`: one small call to each thing that the settings name, with a short time limit.
//!
//! Invariant: nothing of the library is sent anywhere, and a trial removes what it stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures::StreamExt;
use object_store::path::Path as Key;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use ragstone_core::seam::ChatModel;
use ragstone_core::seam::chat::{ChatEvent, ChatMessage, ChatRequest, MessageRole};
use ragstone_core::seam::embedder::TextKind;
use uuid::Uuid;

use super::answer::{build_judge, chat_model};
use super::model;
use crate::config::Settings;
use crate::config::sections::EmbedProvider;

/// Seconds that one call may take; a service may have to load its model first.
const TRIAL_SECONDS: u64 = 20;
/// Time limit of a whole trial, which may make several calls.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Text that a trial embeds.
const WORD: &str = "ragstone";
/// Prompt of a trial of a chat model.
const REQUEST: &str = "Reply with the word: ok";
/// Most tokens of the reply; a reasoning model may spend them all on thoughts.
const REPLY_TOKENS: u32 = 16;
/// Prefix of the keys that a trial of a blob store writes; no blob has it.
const TRIAL_PREFIX: &str = "doctor";

/// The settings with a single attempt and little time for each call.
fn with_trial_limits(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    let (embed, chat) = (&mut settings.embed, &mut settings.chat);
    (embed.timeout_seconds, embed.max_attempts) = (TRIAL_SECONDS, 1);
    (chat.first_token_seconds, chat.idle_seconds, chat.max_attempts) = (TRIAL_SECONDS, TRIAL_SECONDS, 1);
    settings
}

/// Runs `trial` with the time limit; the error is a text for people.
pub async fn with_time_limit<T>(trial: impl Future<Output = anyhow::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, trial).await {
        Ok(tried) => tried.map_err(|error| format!("{error:#}")),
        Err(_) => Err(format!("there was no answer within {} s", PATIENCE.as_secs())),
    }
}

/// Loads or calls the embedder of the settings, fetching nothing, and embeds one word. Returns its name and time.
pub async fn try_embedder(settings: &Settings) -> anyhow::Result<String> {
    let started = Instant::now();
    let embedder = model::embedder_if_present(&with_trial_limits(settings)).await?;
    let embedder = embedder.context("nothing embeds")?;
    let vectors = embedder.embed_texts(&[WORD.to_owned()], TextKind::Query).await?;
    let dimensions = embedder.fingerprint().dimensions;
    match vectors.as_slice() {
        [one] if one.vector.len() == dimensions => Ok(format!(
            "{dimensions} dimensions; {}",
            describe_duration("one word", started)
        )),
        _ => bail!("it did not give one vector of {dimensions} numbers for one word"),
    }
}

/// Sends one short prompt to the chat model of the settings.
pub async fn try_chat_model(settings: &Settings) -> anyhow::Result<String> {
    request_one_word(chat_model(&with_trial_limits(settings))?).await
}

/// Sends one short prompt to the judge of the settings.
pub async fn try_judge(settings: &Settings) -> anyhow::Result<String> {
    let mut settings = with_trial_limits(settings);
    // The embedder that the judge compares meanings by has a trial of its own.
    settings.embed.provider = EmbedProvider::None;
    let judge = build_judge(&settings).await?;
    request_one_word(judge.context("nobody judges")?.model).await
}

async fn request_one_word(model: Arc<dyn ChatModel>) -> anyhow::Result<String> {
    let started = Instant::now();
    let message = ChatMessage {
        role: MessageRole::User,
        content: REQUEST.into(),
    };
    let request = ChatRequest {
        messages: vec![message],
        question: REQUEST.into(),
        passages: [].into(),
        model: None,
        temperature: None,
        max_tokens: Some(REPLY_TOKENS),
        reply_schema: None,
    };
    let mut events = model.stream_reply(request).await?;
    while let Some(event) = events.next().await {
        if let ChatEvent::End(_) = event? {
            return Ok(describe_duration("a reply", started));
        }
    }
    bail!("its reply broke off")
}

fn describe_duration(what: &str, started: Instant) -> String {
    format!("{what} took {} ms", started.elapsed().as_millis())
}

/// Writes, reads and removes a small object, and checks that a conditional write does not overwrite: that prevents two
/// processes from overwriting each other's objects.
pub async fn try_blob_store(blobs: &dyn ObjectStore) -> anyhow::Result<()> {
    let key = Key::from(format!("{TRIAL_PREFIX}/{}", Uuid::new_v4()));
    let write = || blobs.put_opts(&key, PutPayload::from_static(WORD.as_bytes()), PutMode::Create.into());
    write().await.context("it cannot be written to")?;
    let again = write().await;
    let read = async { blobs.get(&key).await?.bytes().await }.await;
    let removed = blobs.delete(&key).await;
    match again {
        Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {}
        Ok(_) => bail!("it overwrites what is there although told not to: it ignores If-None-Match"),
        Err(error) => return Err(error).context("it does not know conditional writes"),
    }
    if read.context("what was written cannot be read")? != WORD.as_bytes() {
        bail!("what was written reads otherwise");
    }
    removed.context("what was written cannot be removed")
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn a_store_that_works_is_left_as_it_was() {
        let blobs = InMemory::new();
        try_blob_store(&blobs).await.unwrap();
        assert_eq!(blobs.list(None).count().await, 0);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).unwrap();
        try_blob_store(&blobs).await.unwrap();
        // A file is in the place of the trial's folder.
        std::fs::remove_dir_all(folder.path().join(TRIAL_PREFIX)).ok();
        std::fs::write(folder.path().join(TRIAL_PREFIX), "").unwrap();
        let error = try_blob_store(&blobs).await.unwrap_err();
        assert!(format!("{error:#}").contains("cannot be written"), "{error:#}");
    }
}
