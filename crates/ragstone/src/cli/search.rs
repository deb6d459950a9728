//! `search`: finds the passages that fit best.

use axum::http::Method;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ask::{describe_place, show_notices};
use super::client::ApiClient;
use super::output::CommandOutput;
use super::progress::fetch_before_question;
use super::{CommandContext, UsageError};

/// Finds the passages that fit best
#[derive(Debug, Args)]
pub struct SearchCommand {
    /// A question, or some words
    query: String,
    #[command(flatten)]
    narrowing: SearchArguments,
}

/// Where and how is searched.
#[derive(Debug, Args)]
pub struct SearchArguments {
    /// Most passages, 1 to 100 [default: 5; MAX_RETRIEVAL_RESULTS]
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only in this collection
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Only documents that pass: {"type":"eq","key":"year","value":2024}, or and, or, not over such
    #[arg(long, value_name = "JSON")]
    filter: Option<String>,
    /// By words and meaning, or by one of them
    #[arg(long)]
    mode: Option<SearchModeArgument>,
}

/// Which retrieval methods search.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SearchModeArgument {
    Hybrid,
    Dense,
    Lexical,
}

impl SearchArguments {
    /// Body of a search request, without the question.
    pub fn request_body(&self) -> anyhow::Result<Value> {
        let mut body = json!({});
        if let Some(limit) = self.limit {
            body["limit"] = json!(limit);
        }
        if let Some(collection) = &self.collection {
            body["collection"] = json!(collection);
        }
        if let Some(filter) = &self.filter {
            body["filter"] =
                serde_json::from_str(filter).map_err(|error| UsageError(format!("--filter is not JSON: {error}")))?;
        }
        if let Some(mode) = self.mode {
            let mode = match mode {
                SearchModeArgument::Hybrid => "hybrid",
                SearchModeArgument::Dense => "dense",
                SearchModeArgument::Lexical => "lexical",
            };
            body["mode"] = json!(mode);
        }
        Ok(body)
    }
}

impl SearchCommand {
    pub(super) async fn run(self, context: CommandContext) -> anyhow::Result<()> {
        let mut body = self.narrowing.request_body()?;
        body["query"] = json!(self.query);
        let door = ApiClient::connect(&context.settings, fetch_before_question()).await?;
        let found = door.request_json(Method::POST, "/api/v1/search", Some(&body)).await;
        door.close().await;
        let found = found?;
        match context.output.json {
            true => context.output.write_json_line(&found),
            false => show_passages(&found, context.output),
        }
    }
}

fn show_passages(found: &Value, output: CommandOutput) -> anyhow::Result<()> {
    for (n, passage) in (1..).zip(found["passages"].as_array().into_iter().flatten()) {
        let score = passage["score"].as_f64().unwrap_or_default();
        output.write_line(&format!("{n}. {} (score {score:.3})", describe_place(passage)))?;
        for line in passage["text"].as_str().unwrap_or_default().lines() {
            output.write_line(&format!("   {line}"))?;
        }
        output.write_line("")?;
    }
    show_notices(found);
    Ok(())
}
