//! `search`: the passages that fit best.

use axum::http::Method;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::ask::{place, show_notices};
use super::client::Door;
use super::output::Output;
use super::progress::asking;
use super::{Context, Usage};

/// Finds the passages that fit best
#[derive(Debug, Args)]
pub struct Search {
    /// A question, or some words
    query: String,
    #[command(flatten)]
    narrowing: Narrowing,
}

/// Where and how is searched.
#[derive(Debug, Args)]
pub struct Narrowing {
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
    mode: Option<Mode>,
}

/// Which legs search.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Mode {
    Hybrid,
    Dense,
    Lexical,
}

impl Narrowing {
    /// The body of a request, still without its question.
    pub fn body(&self) -> anyhow::Result<Value> {
        let mut body = json!({});
        if let Some(limit) = self.limit {
            body["limit"] = json!(limit);
        }
        if let Some(collection) = &self.collection {
            body["collection"] = json!(collection);
        }
        if let Some(filter) = &self.filter {
            body["filter"] =
                serde_json::from_str(filter).map_err(|error| Usage(format!("--filter is not JSON: {error}")))?;
        }
        if let Some(mode) = self.mode {
            let mode = match mode {
                Mode::Hybrid => "hybrid",
                Mode::Dense => "dense",
                Mode::Lexical => "lexical",
            };
            body["mode"] = json!(mode);
        }
        Ok(body)
    }
}

impl Search {
    pub(super) async fn run(self, context: Context) -> anyhow::Result<()> {
        let mut body = self.narrowing.body()?;
        body["query"] = json!(self.query);
        let door = Door::open(&context.settings, asking()).await?;
        let found = door.json(Method::POST, "/api/v1/search", Some(&body)).await;
        door.close().await;
        let found = found?;
        match context.output.json {
            true => context.output.object(&found),
            false => show(&found, context.output),
        }
    }
}

fn show(found: &Value, output: Output) -> anyhow::Result<()> {
    for (n, passage) in (1..).zip(found["passages"].as_array().into_iter().flatten()) {
        let score = passage["score"].as_f64().unwrap_or_default();
        output.line(&format!("{n}. {} (score {score:.3})", place(passage)))?;
        for line in passage["text"].as_str().unwrap_or_default().lines() {
            output.line(&format!("   {line}"))?;
        }
        output.line("")?;
    }
    show_notices(found);
    Ok(())
}
