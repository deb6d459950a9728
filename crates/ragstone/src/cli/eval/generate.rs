//! `eval generate`: the chat model drafts questions from the documents.
//!
//! Invariant: every written question is a draft until a person accepts it.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use futures::{StreamExt, stream};
use ragstone_core::evaluate::draft_questions;
use ragstone_core::seam::ChatModel;
use serde_json::{Value, json};

use super::lines;
use crate::cli::client::ApiClient;
use crate::cli::output::print_message;
use crate::cli::progress::progress_bar;
use crate::cli::{CommandContext, UsageError};
use crate::wiring::{self, ModelFetch};

/// Shortest passage that questions are drafted from, in bytes.
const MIN_PASSAGE_BYTES: usize = 200;
/// Questions that are drafted from one passage.
const PER_PASSAGE: usize = 2;
/// Passages that are sampled from one document.
const PER_DOCUMENT: usize = 8;
/// Failed requests after which no more are sent.
const MAX_FAILURES: usize = 5;

/// Drafts questions from the documents with the chat model
///
/// Passages are drawn from all published documents; they are sent to the chat model (setting chat.model). Every line is
/// marked as a draft, and `eval run` leaves drafts out until `eval accept` has accepted them.
#[derive(Debug, Args)]
pub struct EvalGenerateCommand {
    /// Questions that are wanted
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    questions: u16,
    /// Write a fresh file in place of stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Another draw of passages
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Questions to the model at once
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    concurrency: u16,
}

/// A passage that a question is drafted from.
struct SampledPassage {
    uri: Value,
    chunk: Value,
}

impl EvalGenerateCommand {
    pub async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let Some(model) = wiring::drafting_model(&context.settings)? else {
            let hint = "hint: set chat.model (LLM_MODEL)";
            return Err(UsageError(format!("no chat model is set that could draft questions; {hint}")).into());
        };
        let door = ApiClient::connect(&context.settings, ModelFetch::Never).await?;
        let drawn = self.sample_passages(&door).await;
        door.close().await;
        let drafts = self.draft_questions(&*model, drawn?).await?;
        lines::write_lines(&drafts, self.out.as_ref(), context.output)
    }

    /// Passages in an order that the seed decides: first one of each document, then a second of each, and so on.
    async fn sample_passages(&self, door: &ApiClient) -> anyhow::Result<Vec<SampledPassage>> {
        let mut documents = lines::fetch_all_items(door, "/api/v1/documents?status=published&", "documents").await?;
        documents.sort_by_cached_key(|document| self.sampling_key(&document["id"]));
        let wanted = usize::from(self.questions);
        let mut drawn = Vec::new();
        for document in documents.into_iter().take(wanted * PER_PASSAGE) {
            let path = format!(
                "/api/v1/documents/{}/chunks?",
                document["id"].as_str().unwrap_or_default()
            );
            let mut chunks = lines::fetch_all_items(door, &path, "chunks").await?;
            chunks.retain(|chunk| chunk_text(chunk).len() >= MIN_PASSAGE_BYTES);
            chunks.sort_by_cached_key(|chunk| self.sampling_key(&chunk["id"]));
            let uri = document["uri"].clone();
            let of_document = chunks.into_iter().take(PER_DOCUMENT).enumerate();
            drawn.extend(of_document.map(|(turn, chunk)| {
                (
                    turn,
                    SampledPassage {
                        uri: uri.clone(),
                        chunk,
                    },
                )
            }));
        }
        if drawn.is_empty() {
            bail!("no published document has a passage of {MIN_PASSAGE_BYTES} bytes");
        }
        drawn.sort_by_key(|(turn, _)| *turn);
        Ok(drawn.into_iter().map(|(_, drawn)| drawn).collect())
    }

    fn sampling_key(&self, id: &Value) -> [u8; 32] {
        blake3::hash(format!("{} {id}", self.seed).as_bytes()).into()
    }

    async fn draft_questions(&self, model: &dyn ChatModel, drawn: Vec<SampledPassage>) -> anyhow::Result<Vec<Value>> {
        let wanted = usize::from(self.questions);
        let bar = progress_bar(wanted as u64, "{bar:30} {pos}/{len} drafts");
        let asked = drawn.into_iter().map(|drawn| async move {
            let boundary = blake3::hash(drawn.chunk.to_string().as_bytes()).to_hex();
            let boundary = format!("{boundary}{}", uuid::Uuid::new_v4().simple());
            let drafts = draft_questions(model, chunk_text(&drawn.chunk), PER_PASSAGE, &boundary).await;
            (drawn, drafts)
        });
        let mut asked = stream::iter(asked).buffered(self.concurrency.into());
        let (mut lines, mut failures) = (Vec::new(), 0);
        while lines.len() < wanted
            && let Some((drawn, drafts)) = asked.next().await
        {
            match drafts {
                Ok(drafts) => {
                    for (n, draft) in (1..).zip(drafts) {
                        lines.push(format_draft(&drawn, n, &draft));
                    }
                    bar.set_position(lines.len().min(wanted) as u64);
                }
                Err(error) => {
                    failures += 1;
                    print_message(&format!("a passage of {} gave no draft: {error}", drawn.uri));
                    if failures >= MAX_FAILURES {
                        bail!("{failures} passages gave no draft");
                    }
                }
            }
        }
        bar.finish_and_clear();
        lines.truncate(wanted);
        Ok(lines)
    }
}

fn chunk_text(chunk: &Value) -> &str {
    chunk["text"].as_str().unwrap_or_default()
}

fn format_draft(drawn: &SampledPassage, n: usize, draft: &ragstone_core::evaluate::QuestionDraft) -> Value {
    let id = format!("{}-{n}", drawn.chunk["id"].as_str().unwrap_or_default());
    let mut line = json!({
        "id": id, "question": draft.question, "reference": draft.answer, "documents": [drawn.uri], "answerable": true,
        "quote": draft.quote, "draft": true,
    });
    if drawn.chunk["page"].is_number() {
        line["pages"] = json!([drawn.chunk["page"]]);
    }
    line
}
