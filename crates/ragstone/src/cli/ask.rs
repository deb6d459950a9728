//! `ask`: streams an answer with its citations.

use anyhow::bail;
use clap::Args;
use futures::{Stream, StreamExt, pin_mut};
use serde_json::{Value, json};

use super::client::ApiClient;
use super::output::{CommandOutput, print_message};
use super::progress::fetch_before_question;
use super::search::SearchArguments;
use super::sse::ReceivedEvent;
use super::{CommandContext, UsageError};

/// Answers a question from the documents
#[derive(Debug, Args)]
pub struct AskCommand {
    /// The question
    question: String,
    #[command(flatten)]
    narrowing: SearchArguments,
    /// Wishes for the answer, beside the rules
    #[arg(long, value_name = "TEXT")]
    instructions: Option<String>,
    /// Another model than the configured one, from those allowed
    #[arg(long)]
    model: Option<String>,
    /// The language of the answer [default: the question's own]
    #[arg(long)]
    language: Option<String>,
    /// 0 to 2
    #[arg(long)]
    temperature: Option<f32>,
}

impl AskCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        if self.question.trim().is_empty() {
            return Err(UsageError("the question is empty".into()).into());
        }
        let mut body = self.narrowing.request_body()?;
        body["question"] = json!(self.question);
        for (key, value) in [
            ("instructions", json!(self.instructions)),
            ("model", json!(self.model)),
            ("language", json!(self.language)),
            ("temperature", json!(self.temperature)),
        ] {
            if !value.is_null() {
                body[key] = value;
            }
        }
        let door = ApiClient::connect(&context.settings, fetch_before_question()).await?;
        let done = ask_and_show(&door, body, context.output).await;
        door.close().await;
        done
    }
}

/// Asks and writes the answer as it arrives, or the API's object with `--json`.
pub async fn ask_and_show(door: &ApiClient, mut body: Value, output: CommandOutput) -> anyhow::Result<()> {
    if output.json {
        body["stream"] = json!(false);
        let answer = door
            .request_json(axum::http::Method::POST, "/api/v1/ask", Some(&body))
            .await?;
        return output.write_json_line(&answer);
    }
    body["stream"] = json!(true);
    show_answer_events(door.post_for_events("/api/v1/ask", &body).await?, output).await
}

/// Writes an answer's events as text.
async fn show_answer_events(
    events: impl Stream<Item = anyhow::Result<ReceivedEvent>>,
    output: CommandOutput,
) -> anyhow::Result<()> {
    pin_mut!(events);
    let mut citations: Vec<Value> = Vec::new();
    while let Some(event) = events.next().await {
        let ReceivedEvent { name, data } = event?;
        match name.as_str() {
            "delta" => output.write_text(data["text"].as_str().unwrap_or_default())?,
            "citation" if !citations.iter().any(|known| known["n"] == data["n"]) => citations.push(data),
            "failed" => {
                output.write_line("")?;
                bail!("{}", data["detail"].as_str().unwrap_or("the answer failed"));
            }
            "done" => {
                output.write_line("")?;
                show_citations(&citations, output)?;
                show_notices(&data);
                return Ok(());
            }
            _ => {}
        }
    }
    bail!("the answer broke off before its end")
}

fn show_citations(citations: &[Value], output: CommandOutput) -> anyhow::Result<()> {
    if !citations.is_empty() {
        output.write_line("")?;
    }
    for citation in citations {
        let place = describe_place(citation);
        let quote = citation["quote"].as_str().unwrap_or_default();
        let quote = quote.split_whitespace().collect::<Vec<_>>().join(" ");
        output.write_line(&format!("  [{}] {place}: “{quote}”", citation["n"]))?;
    }
    Ok(())
}

/// Shows warnings and notices of a search or an answer.
pub fn show_notices(answer: &Value) {
    for notice in answer["notices"].as_array().into_iter().flatten() {
        print_message(&format!("note: {}", notice["detail"].as_str().unwrap_or_default()));
    }
}

/// Title, page and section of a passage or citation.
pub fn describe_place(of: &Value) -> String {
    let mut place = of["title"]
        .as_str()
        .or(of["uri"].as_str())
        .unwrap_or("untitled")
        .to_owned();
    if let Some(page) = of["page"].as_u64() {
        place.push_str(&format!(", page {page}"));
    }
    if let Some(section) = of["section"].as_str().filter(|section| !section.is_empty()) {
        place.push_str(&format!(", {section}"));
    }
    place
}
