//! Asking a judge until its reply can be read.

use async_trait::async_trait;
use serde_json::{Value, json};
use thiserror::Error;

use super::reply::{RepairedReply, ReplyFormat, parse_reply};
use super::{RagasApi, RagasError};

/// How often a collections metric asks for one reply.
const TRIES: usize = 3;

/// What a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JudgeCallKind {
    /// Statements of an answer, each complete in itself.
    Statements,
    /// Claims of a text.
    Claims,
    /// Whether statements follow from a context.
    Nli,
    /// A question that an answer would fit.
    QuestionFromAnswer,
    /// Whether a context helped to an answer.
    ContextUseful,
    /// Which sentences of an answer a context holds.
    ContextAttribution,
    /// Statements of an answer sorted against those of the reference.
    TpFpFn,
    /// A reply that does not fit, in a form that does.
    FixFormat,
}

impl JudgeCallKind {
    /// The name in recorded cases.
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

/// One question to a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeCall {
    /// What is asked.
    pub kind: JudgeCallKind,
    /// Of which input: an object.
    pub input: Value,
    /// The form of the reply; `kind` unless a reply is repaired.
    pub wanted: JudgeCallKind,
}

/// Why a judge gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct JudgeError(pub String);

/// Whoever judges: a model, or a recording.
#[async_trait]
pub trait Judge: Send + Sync {
    /// The reply to a call, as it was written. `attempt` counts from 0; a malformed reply is asked for again.
    async fn reply_to_call(&self, call: &JudgeCall, attempt: usize) -> Result<String, JudgeError>;

    /// Vectors of texts, in order, of any length but zero.
    async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeError>;
}

/// A judge, and how its replies are taken.
#[derive(Clone, Copy)]
pub(super) struct JudgeClient<'a> {
    pub judge: &'a dyn Judge,
    pub api: RagasApi,
}

impl JudgeClient<'_> {
    /// The reply to a call, read as `T`. A malformed one is repaired once (legacy) or asked for again (collections).
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

    /// Cosines of the first text to each of the others; NaN where a vector is zero.
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
