//! Calls to a judge, with repair or retries until the reply can be parsed.

use async_trait::async_trait;
use serde_json::{Value, json};
use thiserror::Error;

use super::reply::{RepairedReply, ReplyFormat, parse_reply};
use super::{RagasApi, RagasError};

/// How often a collections metric makes one call.
const TRIES: usize = 3;

/// Kind of a call to a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JudgeCallKind {
    /// Extract statements of an answer, each understandable on its own.
    Statements,
    /// Extract the claims of a text.
    Claims,
    /// Decide whether statements follow from a context (natural language inference).
    Nli,
    /// Write a question that an answer would fit.
    QuestionFromAnswer,
    /// Decide whether a context was useful for an answer.
    ContextUseful,
    /// Decide which sentences of an answer a context supports.
    ContextAttribution,
    /// Classify statements of an answer against those of the reference.
    TpFpFn,
    /// Rewrite an invalid reply in the requested form.
    FixFormat,
}

impl JudgeCallKind {
    /// Name in recorded cases.
    pub fn name(self) -> &'static str {
        match self {
            JudgeCallKind::Statements => "statements",
            JudgeCallKind::Claims => "claims",
            JudgeCallKind::Nli => "nli",
            JudgeCallKind::QuestionFromAnswer => "question_from_answer",
            JudgeCallKind::ContextUseful => "context_useful",
            JudgeCallKind::ContextAttribution => "context_attribution",
            JudgeCallKind::TpFpFn => "tp_fp_fn",
            JudgeCallKind::FixFormat => "fix_format",
        }
    }
}

/// One call to a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeCall {
    /// Kind of the call.
    pub kind: JudgeCallKind,
    /// Input of the call, a JSON object.
    pub input: Value,
    /// Expected form of the reply; equals `kind` unless a reply is repaired.
    pub wanted: JudgeCallKind,
}

/// Why a judge gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct JudgeError(pub String);

/// A judge: a model, or a recording of one.
#[async_trait]
pub trait Judge: Send + Sync {
    /// The judge's unparsed reply. `attempt` counts from 0 and grows when an invalid reply is requested again.
    async fn reply_to_call(&self, call: &JudgeCall, attempt: usize) -> Result<String, JudgeError>;

    /// Vectors of the texts, in order; they need not have unit length, but must not be zero.
    async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeError>;
}

/// A judge together with the implementation to follow.
#[derive(Clone, Copy)]
pub(super) struct JudgeClient<'a> {
    pub judge: &'a dyn Judge,
    pub api: RagasApi,
}

impl JudgeClient<'_> {
    /// The reply to a call, parsed as `T`. An invalid one is repaired once (legacy) or requested again (collections).
    pub async fn request_reply<T: ReplyFormat>(&self, kind: JudgeCallKind, input: Value) -> Result<T, RagasError> {
        let call = JudgeCall {
            kind,
            input,
            wanted: kind,
        };
        let detail = match self.api {
            RagasApi::Legacy => {
                let reply = self.judge.reply_to_call(&call, 0).await?;
                match parse_reply(&reply, self.api) {
                    Ok(read) => return Ok(read),
                    Err(_) => match self.repair_reply(kind, reply).await? {
                        Ok(read) => return Ok(read),
                        Err(detail) => detail,
                    },
                }
            }
            RagasApi::Collections => match self.retry_call(&call).await? {
                Ok(read) => return Ok(read),
                Err(detail) => detail,
            },
        };
        Err(RagasError::Malformed {
            kind: kind.name(),
            detail,
        })
    }

    async fn repair_reply<T: ReplyFormat>(
        &self,
        wanted: JudgeCallKind,
        reply: String,
    ) -> Result<Result<T, String>, RagasError> {
        let call = JudgeCall {
            kind: JudgeCallKind::FixFormat,
            input: json!({ "output_string": reply }),
            wanted,
        };
        let reply = self.judge.reply_to_call(&call, 0).await?;
        Ok(parse_reply::<RepairedReply>(&reply, self.api).and_then(|repaired| parse_reply(&repaired.0, self.api)))
    }

    async fn retry_call<T: ReplyFormat>(&self, call: &JudgeCall) -> Result<Result<T, String>, RagasError> {
        let mut detail = String::new();
        for attempt in 0..TRIES {
            match parse_reply(&self.judge.reply_to_call(call, attempt).await?, self.api) {
                Ok(read) => return Ok(Ok(read)),
                Err(wrong) => detail = wrong,
            }
        }
        Ok(Err(detail))
    }

    /// Cosines between the first text and each of the others; NaN if a vector is zero.
    pub async fn cosine_similarities(&self, first: &str, others: &[String]) -> Result<Vec<f64>, RagasError> {
        let texts: Vec<String> = std::iter::once(first.to_owned())
            .chain(others.iter().cloned())
            .collect();
        let vectors = self.judge.embed_texts(&texts).await?;
        match vectors.as_slice() {
            [first, others @ ..] if others.len() + 1 == texts.len() => {
                Ok(others.iter().map(|other| cosine_similarity(first, other)).collect())
            }
            _ => Err(JudgeError(format!("{} vectors for {} texts", vectors.len(), texts.len())).into()),
        }
    }
}

fn cosine_similarity(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
}
