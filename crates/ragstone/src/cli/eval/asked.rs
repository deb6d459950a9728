//! Asks one question of a set through the public API, as the caller that the question names.

use std::time::Instant;

use anyhow::bail;
use futures::{StreamExt, pin_mut};
use ragstone_core::evaluate::{EvaluationQuestion, OutcomeCitation, OutcomePassage, QuestionOutcome};
use serde_json::{Value, json};

use crate::cli::client::ApiClient;

/// Passages to search for, enough for ten distinct documents.
const SEARCHED: usize = 100;

/// How the questions of a set are asked.
pub struct QuestionRunner {
    /// Fields of every request besides the question.
    pub body: Value,
    /// Whether only the search is measured.
    pub search_only: bool,
}

impl QuestionRunner {
    /// Asks a question and records the outcome.
    pub async fn ask_question(
        &self,
        door: &ApiClient,
        question: &EvaluationQuestion,
    ) -> anyhow::Result<QuestionOutcome> {
        let mut outcome = QuestionOutcome {
            question: question.question.clone(),
            ..QuestionOutcome::default()
        };
        let places = [question.judgments.len(), question.pages.len(), question.forbidden.len()];
        let caller = question.caller.as_ref().map(serde_json::to_value).transpose()?;
        if places.iter().any(|places| *places > 0) || self.search_only {
            self.measure_search((door, caller.as_ref()), question, &mut outcome)
                .await?;
        }
        if !self.search_only {
            self.measure_answer((door, caller.as_ref()), question, &mut outcome)
                .await?;
        }
        Ok(outcome)
    }

    async fn measure_search(
        &self,
        (door, caller): (&ApiClient, Option<&Value>),
        question: &EvaluationQuestion,
        outcome: &mut QuestionOutcome,
    ) -> anyhow::Result<()> {
        let mut body = self.body.clone();
        body["query"] = json!(question.question);
        body["limit"] = json!(SEARCHED);
        let start = Instant::now();
        let found = door.post_json_as(caller, "/api/v1/search", &body).await?;
        outcome.search_ms = elapsed_milliseconds(start);
        outcome.found = parse_passages(&found).map(OutcomePassage::without_text).collect();
        // Searches again with the server's default limit: a longer list may be ordered differently.
        let mut body = self.body.clone();
        body["query"] = json!(question.question);
        let returned = door.post_json_as(caller, "/api/v1/search", &body).await?;
        outcome.returned = Some(parse_passages(&returned).map(OutcomePassage::without_text).collect());
        Ok(())
    }

    async fn measure_answer(
        &self,
        (door, caller): (&ApiClient, Option<&Value>),
        question: &EvaluationQuestion,
        outcome: &mut QuestionOutcome,
    ) -> anyhow::Result<()> {
        let mut body = self.body.clone();
        body["question"] = json!(question.question);
        body["stream"] = json!(true);
        let start = Instant::now();
        let events = door.post_for_events_as(caller, "/api/v1/ask", &body).await?;
        pin_mut!(events);
        while let Some(event) = events.next().await {
            let event = event?;
            match event.name.as_str() {
                "sources" => {
                    outcome.shown = parse_passages(&event.data).collect();
                    outcome.strength = event.data["passages"][0]["score"].as_f64();
                }
                "delta" if outcome.first_ms.is_none() => outcome.first_ms = Some(elapsed_milliseconds(start)),
                "failed" => bail!("{}", event.data["detail"].as_str().unwrap_or("the answer failed")),
                "done" => {
                    outcome.ask_ms = elapsed_milliseconds(start);
                    read_final_answer(&event.data, outcome);
                    return Ok(());
                }
                _ => {}
            }
        }
        bail!("the answer broke off before its end")
    }
}

fn elapsed_milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn parse_passages(of: &Value) -> impl Iterator<Item = OutcomePassage> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list_items(&of["passages"]).map(move |passage| OutcomePassage {
        uri: text(&passage["uri"]),
        page: page_number(passage),
        text: text(&passage["text"]),
    })
}

fn read_final_answer(answer: &Value, outcome: &mut QuestionOutcome) {
    let text = |sentence: &Value| sentence["text"].as_str().unwrap_or_default().trim().to_owned();
    let sentences: Vec<String> = list_items(&answer["sentences"]).map(text).collect();
    outcome.answer = sentences.join(" ");
    outcome.answered = answer["answered"].as_bool().unwrap_or_default();
    outcome.sentences = list_items(&answer["sentences"])
        .map(|sentence| list_items(&sentence["citations"]).count())
        .collect();
    outcome.citations = list_items(&answer["citations"])
        .map(|citation| OutcomeCitation {
            uri: citation["uri"].as_str().unwrap_or_default().to_owned(),
            page: page_number(citation),
            verified: citation["verified"].as_bool().unwrap_or_default(),
        })
        .collect();
    let tokens = |key: &str| answer["usage"][key].as_u64().unwrap_or_default();
    outcome.prompt_tokens = tokens("prompt_tokens");
    outcome.completion_tokens = tokens("completion_tokens");
}

fn page_number(of: &Value) -> Option<u32> {
    of["page"].as_u64().and_then(|page| page.try_into().ok())
}

fn list_items(of: &Value) -> impl Iterator<Item = &Value> {
    of.as_array().into_iter().flatten()
}
