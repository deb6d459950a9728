//! One question of a set, through the same door as everybody's, as the caller whom it names.

use std::time::Instant;

use anyhow::bail;
use futures::{StreamExt, pin_mut};
use ragstone_core::evaluate::{Cited, Outcome, Question, Shown};
use serde_json::{Value, json};

use crate::cli::client::Door;

/// Passages that are searched for: enough for ten distinct documents.
const SEARCHED: usize = 100;

/// How a set is asked.
pub struct Asking {
    /// What every request says beside its question.
    pub body: Value,
    /// Whether only the search is measured.
    pub search_only: bool,
}

impl Asking {
    /// What the product makes of a question.
    pub async fn ask(&self, door: &Door, question: &Question) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome {
            question: question.question.clone(),
            ..Outcome::default()
        };
        let places = [question.judgments.len(), question.pages.len(), question.forbidden.len()];
        let caller = question.caller.as_ref().map(serde_json::to_value).transpose()?;
        if places.iter().any(|places| *places > 0) || self.search_only {
            self.search((door, caller.as_ref()), question, &mut outcome).await?;
        }
        if !self.search_only {
            self.answer((door, caller.as_ref()), question, &mut outcome).await?;
        }
        Ok(outcome)
    }

    async fn search(
        &self,
        (door, caller): (&Door, Option<&Value>),
        question: &Question,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let mut body = self.body.clone();
        body["query"] = json!(question.question);
        body["limit"] = json!(SEARCHED);
        let start = Instant::now();
        let found = door.post_as(caller, "/api/v1/search", &body).await?;
        outcome.search_ms = milliseconds(start);
        outcome.found = shown(&found).map(Shown::without_text).collect();
        // The list as the server's own limit makes it; a longer list may be ordered otherwise.
        let mut body = self.body.clone();
        body["query"] = json!(question.question);
        let returned = door.post_as(caller, "/api/v1/search", &body).await?;
        outcome.returned = Some(shown(&returned).map(Shown::without_text).collect());
        Ok(())
    }

    async fn answer(
        &self,
        (door, caller): (&Door, Option<&Value>),
        question: &Question,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        let mut body = self.body.clone();
        body["question"] = json!(question.question);
        body["stream"] = json!(true);
        let start = Instant::now();
        let events = door.events_as(caller, "/api/v1/ask", &body).await?;
        pin_mut!(events);
        while let Some(event) = events.next().await {
            let event = event?;
            match event.name.as_str() {
                "sources" => {
                    outcome.shown = shown(&event.data).collect();
                    outcome.strength = event.data["passages"][0]["score"].as_f64();
                }
                "delta" if outcome.first_ms.is_none() => outcome.first_ms = Some(milliseconds(start)),
                "failed" => bail!("{}", event.data["detail"].as_str().unwrap_or("the answer failed")),
                "done" => {
                    outcome.ask_ms = milliseconds(start);
                    done(&event.data, outcome);
                    return Ok(());
                }
                _ => {}
            }
        }
        bail!("the answer broke off before its end")
    }
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn shown(of: &Value) -> impl Iterator<Item = Shown> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list(&of["passages"]).map(move |passage| Shown {
        uri: text(&passage["uri"]),
        page: page(passage),
        text: text(&passage["text"]),
    })
}

fn done(answer: &Value, outcome: &mut Outcome) {
    let text = |sentence: &Value| sentence["text"].as_str().unwrap_or_default().trim().to_owned();
    let sentences: Vec<String> = list(&answer["sentences"]).map(text).collect();
    outcome.answer = sentences.join(" ");
    outcome.answered = answer["answered"].as_bool().unwrap_or_default();
    outcome.sentences = list(&answer["sentences"])
        .map(|sentence| list(&sentence["citations"]).count())
        .collect();
    outcome.citations = list(&answer["citations"])
        .map(|citation| Cited {
            uri: citation["uri"].as_str().unwrap_or_default().to_owned(),
            page: page(citation),
            verified: citation["verified"].as_bool().unwrap_or_default(),
        })
        .collect();
    let tokens = |key: &str| answer["usage"][key].as_u64().unwrap_or_default();
    outcome.prompt_tokens = tokens("prompt_tokens");
    outcome.completion_tokens = tokens("completion_tokens");
}

fn page(of: &Value) -> Option<u32> {
    of["page"].as_u64().and_then(|page| page.try_into().ok())
}

fn list(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}
