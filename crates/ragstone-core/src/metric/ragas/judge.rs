//! Asking a judge until its reply can be read.

use async_trait::async_trait;
use serde_json::{Value, json};
use thiserror::Error;

use super::reply::{Repaired, Shape, read};
use super::{Api, RagasError};

/// How often a collections metric asks for one reply.
const TRIES: usize = 3;

/// What a judge is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
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

impl Kind {
    /// The name in recorded cases.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Statements => "statements",
            Kind::Claims => "claims",
            Kind::Nli => "nli",
            Kind::QuestionFromAnswer => "question_from_answer",
            Kind::ContextUseful => "context_useful",
            Kind::ContextAttribution => "context_attribution",
            Kind::TpFpFn => "tp_fp_fn",
            Kind::FixFormat => "fix_format",
        }
    }
}

/// One question to a judge.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// What is asked.
    pub kind: Kind,
    /// Of which input: an object.
    pub input: Value,
    /// The form of the reply; `kind` unless a reply is repaired.
    pub wanted: Kind,
}

/// Why a judge gave no reply.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct JudgeFailure(pub String);

/// Whoever judges: a model, or a recording.
#[async_trait]
pub trait Judge: Send + Sync {
    /// The reply to a call, as it was written. `attempt` counts from 0; a malformed reply is asked for again.
    async fn reply(&self, call: &Call, attempt: usize) -> Result<String, JudgeFailure>;

    /// Vectors of texts, in order, of any length but zero.
    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeFailure>;
}

/// A judge, and how its replies are taken.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub judge: &'a dyn Judge,
    pub api: Api,
}

impl Asking<'_> {
    /// The reply to a call, read as `T`. A malformed one is repaired once (legacy) or asked for again (collections).
    pub async fn ask<T: Shape>(&self, kind: Kind, input: Value) -> Result<T, RagasError> {
        let call = Call {
            kind,
            input,
            wanted: kind,
        };
        let detail = match self.api {
            Api::Legacy => {
                let reply = self.judge.reply(&call, 0).await?;
                match read(&reply, self.api) {
                    Ok(read) => return Ok(read),
                    Err(_) => match self.repaired(kind, reply).await? {
                        Ok(read) => return Ok(read),
                        Err(detail) => detail,
                    },
                }
            }
            Api::Collections => match self.again(&call).await? {
                Ok(read) => return Ok(read),
                Err(detail) => detail,
            },
        };
        Err(RagasError::Malformed {
            kind: kind.name(),
            detail,
        })
    }

    async fn repaired<T: Shape>(&self, wanted: Kind, reply: String) -> Result<Result<T, String>, RagasError> {
        let call = Call {
            kind: Kind::FixFormat,
            input: json!({ "output_string": reply }),
            wanted,
        };
        let reply = self.judge.reply(&call, 0).await?;
        Ok(read::<Repaired>(&reply, self.api).and_then(|repaired| read(&repaired.0, self.api)))
    }

    async fn again<T: Shape>(&self, call: &Call) -> Result<Result<T, String>, RagasError> {
        let mut detail = String::new();
        for attempt in 0..TRIES {
            match read(&self.judge.reply(call, attempt).await?, self.api) {
                Ok(read) => return Ok(Ok(read)),
                Err(wrong) => detail = wrong,
            }
        }
        Ok(Err(detail))
    }

    /// Cosines of the first text to each of the others; NaN where a vector is zero.
    pub async fn cosines(&self, first: &str, others: &[String]) -> Result<Vec<f64>, RagasError> {
        let texts: Vec<String> = std::iter::once(first.to_owned())
            .chain(others.iter().cloned())
            .collect();
        let vectors = self.judge.embed(&texts).await?;
        match vectors.as_slice() {
            [first, others @ ..] if others.len() + 1 == texts.len() => {
                Ok(others.iter().map(|other| cosine(first, other)).collect())
            }
            _ => Err(JudgeFailure(format!("{} vectors for {} texts", vectors.len(), texts.len())).into()),
        }
    }
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
}
