//! Scoring recorded judge replies again, without asking a judge.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::judge::{Call, Judge, JudgeFailure};
use super::{Api, Metric, Parameters, Sample, score};

/// The steps of one API that are those of the other.
const SAME: &str = "same as legacy";

/// The score of a case by one API; `score` is none for NaN and where `error` says why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// The case.
    pub id: String,
    /// Which implementation was followed.
    pub api: Api,
    /// What was scored.
    pub metric: Metric,
    /// The score.
    pub score: Option<f64>,
    /// Why RAGAS raises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Why a file of recorded replies cannot be read.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It is not of that form.
    #[error("the file is not recorded judge replies: {0}")]
    Form(#[from] serde_json::Error),
    /// The steps of a case are neither a list nor a reference to the other API's.
    #[error("case {id:?}: the steps of {api:?} cannot be read")]
    Steps {
        /// The case.
        id: String,
        /// Whose steps.
        api: Api,
    },
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    metric: Metric,
    inputs: Sample,
    #[serde(default)]
    params: Parameters,
    #[serde(default)]
    vectors: Map<String, Value>,
    legacy: Option<Recorded>,
    collections: Option<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    #[serde(default = "none")]
    steps: Value,
}

fn none() -> Value {
    Value::Array(Vec::new())
}

/// One recorded call and its reply.
#[derive(Clone, Deserialize)]
struct Step {
    kind: String,
    input: Value,
    reply: String,
}

/// Scores every case of a file, once for each API that it was recorded with.
///
/// # Errors
/// [`ReplayError`] if the file is not such a one.
pub async fn replay(text: &str) -> Result<Vec<Replayed>, ReplayError> {
    let file: File = serde_json::from_str(text)?;
    let mut lines = Vec::new();
    for case in &file.cases {
        for (api, recorded) in [(Api::Legacy, &case.legacy), (Api::Collections, &case.collections)] {
            if let Some(recorded) = recorded {
                lines.push(scored(case, api, recorded).await?);
            }
        }
    }
    Ok(lines)
}

async fn scored(case: &Case, api: Api, recorded: &Recorded) -> Result<Replayed, ReplayError> {
    let steps = match (&recorded.steps, &case.legacy) {
        (Value::String(same), Some(legacy)) if same == SAME => &legacy.steps,
        (steps, _) => steps,
    };
    let steps: Option<Vec<Step>> = serde_json::from_value(steps.clone()).ok();
    let recording = Recording {
        steps: Mutex::new(steps.ok_or_else(|| ReplayError::Steps {
            id: case.id.clone(),
            api,
        })?),
        vectors: &case.vectors,
    };
    let scored = score(case.metric, api, &case.inputs, &case.params, &recording).await;
    Ok(Replayed {
        id: case.id.clone(),
        api,
        metric: case.metric,
        score: scored.as_ref().ok().copied().filter(|score| score.is_finite()),
        error: scored.err().map(|error| error.to_string()),
    })
}

/// A judge that repeats itself.
struct Recording<'a> {
    steps: Mutex<Vec<Step>>,
    vectors: &'a Map<String, Value>,
}

#[async_trait]
impl Judge for Recording<'_> {
    /// Each step replies once. The order of different calls does not matter, that of equal ones does.
    async fn reply(&self, call: &Call, _: usize) -> Result<String, JudgeFailure> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |step: &Step| step.kind == call.kind.name() && agrees(&step.input, &call.input);
        match steps.iter().position(fits) {
            Some(at) => Ok(steps.remove(at).reply),
            None => Err(JudgeFailure(format!(
                "no recorded reply is left for {} of {}",
                call.kind.name(),
                call.input
            ))),
        }
    }

    async fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeFailure> {
        let vector = |text: &String| {
            let vector = self.vectors.get(text)?.as_array()?;
            vector.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()
        };
        let named = |text: &String| vector(text).ok_or_else(|| JudgeFailure(format!("no vector of {text:?}")));
        texts.iter().map(named).collect()
    }
}

/// Whether two inputs say the same in every field that both have.
fn agrees(recorded: &Value, asked: &Value) -> bool {
    let (Some(recorded), Some(asked)) = (recorded.as_object(), asked.as_object()) else {
        return recorded == asked;
    };
    asked
        .iter()
        .all(|(key, value)| recorded.get(key).is_none_or(|same| same == value))
}
