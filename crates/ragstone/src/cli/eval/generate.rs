//! `eval generate`: questions that the chat model drafts from the documents.
//!
//! Invariant: what is written is a draft until a person accepts it.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use futures::{StreamExt, stream};
use ragstone_core::evaluate::draft;
use ragstone_core::seam::ChatModel;
use serde_json::{Value, json};

use super::lines;
use crate::cli::client::Door;
use crate::cli::output::say;
use crate::cli::progress::bar;
use crate::cli::{Context, Usage};
use crate::wiring::{self, ModelFetch};

/// Shortest passage that is worth a question, in bytes.
const MIN_PASSAGE_BYTES: usize = 200;
/// Questions that are asked of one passage.
const PER_PASSAGE: usize = 2;
/// Passages of one document.
const PER_DOCUMENT: usize = 8;
/// Failures after which nothing more is asked.
const MAX_FAILURES: usize = 5;

/// Drafts questions from the documents with the chat model
///
/// Passages are drawn from all published documents; they are sent to the chat model (setting chat.model). Every line is
/// marked as a draft, and `eval run` leaves drafts out until `eval accept` has accepted them.
#[derive(Debug, Args)]
pub struct Generate {
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

/// Where a question comes from.
struct Drawn {
    uri: Value,
    chunk: Value,
}

impl Generate {
    pub async fn run(self, context: Context) -> anyhow::Result<()> {
        let Some(model) = wiring::drafter(&context.settings)? else {
            let hint = "hint: set chat.model (LLM_MODEL)";
            return Err(Usage(format!("no chat model is set that could draft questions; {hint}")).into());
        };
        let door = Door::open(&context.settings, ModelFetch::Never).await?;
        let drawn = self.draw(&door).await;
        door.close().await;
        let drafts = self.drafts(&*model, drawn?).await?;
        lines::write(&drafts, self.out.as_ref(), context.output)
    }

    /// Passages in an order that the seed decides, a document's first ones before the second of any.
    async fn draw(&self, door: &Door) -> anyhow::Result<Vec<Drawn>> {
        let mut documents = lines::all(door, "/api/v1/documents?status=published&", "documents").await?;
        documents.sort_by_cached_key(|document| self.place(&document["id"]));
        let wanted = usize::from(self.questions);
        let mut drawn = Vec::new();
        for document in documents.into_iter().take(wanted * PER_PASSAGE) {
            let path = format!(
                "/api/v1/documents/{}/chunks?",
                document["id"].as_str().unwrap_or_default()
            );
            let mut chunks = lines::all(door, &path, "chunks").await?;
            chunks.retain(|chunk| text(chunk).len() >= MIN_PASSAGE_BYTES);
            chunks.sort_by_cached_key(|chunk| self.place(&chunk["id"]));
            let uri = document["uri"].clone();
            let of_document = chunks.into_iter().take(PER_DOCUMENT).enumerate();
            drawn.extend(of_document.map(|(turn, chunk)| {
                (
                    turn,
                    Drawn {
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

    fn place(&self, id: &Value) -> [u8; 32] {
        blake3::hash(format!("{} {id}", self.seed).as_bytes()).into()
    }

    async fn drafts(&self, model: &dyn ChatModel, drawn: Vec<Drawn>) -> anyhow::Result<Vec<Value>> {
        let wanted = usize::from(self.questions);
        let bar = bar(wanted as u64, "{bar:30} {pos}/{len} drafts");
        let asked = drawn.into_iter().map(|drawn| async move {
            let boundary = blake3::hash(drawn.chunk.to_string().as_bytes()).to_hex();
            let boundary = format!("{boundary}{}", uuid::Uuid::new_v4().simple());
            let drafts = draft(model, text(&drawn.chunk), PER_PASSAGE, &boundary).await;
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
                        lines.push(line(&drawn, n, &draft));
                    }
                    bar.set_position(lines.len().min(wanted) as u64);
                }
                Err(error) => {
                    failures += 1;
                    say(&format!("a passage of {} gave no draft: {error}", drawn.uri));
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

fn text(chunk: &Value) -> &str {
    chunk["text"].as_str().unwrap_or_default()
}

fn line(drawn: &Drawn, n: usize, draft: &ragstone_core::evaluate::Draft) -> Value {
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
