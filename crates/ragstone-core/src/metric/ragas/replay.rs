//! Scoring recorded judge replies again, without asking a judge.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::judge::{Judge, JudgeCall, JudgeError};
use super::{MetricParameters, RagasApi, RagasMetric, RagasSample, score_sample};

/// The steps of one API that are those of the other.
const SAME_AS_LEGACY: &str = "same as legacy";

/// The score of a case by one API; `score` is none for NaN and where `error` says why there is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayedScore {
    /// The case.
    pub id: String,
    /// Which implementation was followed.
    pub api: RagasApi,
    /// What was scored.
    pub metric: RagasMetric,
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
        api: RagasApi,
    },
}

#[derive(Deserialize)]
struct RecordingFile {
    cases: Vec<RecordedCase>,
}

#[derive(Deserialize)]
struct RecordedCase {
    id: String,
    metric: RagasMetric,
    inputs: RagasSample,
    #[serde(default)]
    params: MetricParameters,
    #[serde(default)]
    vectors: Map<String, Value>,
    legacy: Option<RecordedSteps>,
    collections: Option<RecordedSteps>,
}

#[derive(Deserialize)]
struct RecordedSteps {
    #[serde(default = "none")]
    steps: Value,
}

fn none() -> Value {
    Value::Array(Vec::new())
}

/// One recorded call and its reply.
#[derive(Clone, Deserialize)]
struct RecordedStep {
    kind: String,
    input: Value,
    reply: String,
}

/// Scores every case of a file, once for each API that it was recorded with.
///
/// # Errors
/// [`ReplayError`] if the file is not such a one.
pub async fn replay_recordings(text: &str) -> Result<Vec<ReplayedScore>, ReplayError> {
    let file: RecordingFile = serde_json::from_str(text)?;
    let mut lines = Vec::new();
    for case in &file.cases {
        for (api, recorded) in [
            (RagasApi::Legacy, &case.legacy),
            (RagasApi::Collections, &case.collections),
        ] {
            if let Some(recorded) = recorded {
                lines.push(score_case(case, api, recorded).await?);
            }
        }
    }
    Ok(lines)
}

async fn score_case(
    case: &RecordedCase,
    api: RagasApi,
    recorded: &RecordedSteps,
) -> Result<ReplayedScore, ReplayError> {
    let steps = match (&recorded.steps, &case.legacy) {
        (Value::String(same), Some(legacy)) if same == SAME_AS_LEGACY => &legacy.steps,
        (steps, _) => steps,
    };
    let steps: Option<Vec<RecordedStep>> = serde_json::from_value(steps.clone()).ok();
    let recording = RecordedJudge {
        steps: Mutex::new(steps.ok_or_else(|| ReplayError::Steps {
            id: case.id.clone(),
            api,
        })?),
        vectors: &case.vectors,
    };
    let scored = score_sample(case.metric, api, &case.inputs, &case.params, &recording).await;
    Ok(ReplayedScore {
        id: case.id.clone(),
        api,
        metric: case.metric,
        score: scored.as_ref().ok().copied().filter(|score| score.is_finite()),
        error: scored.err().map(|error| error.to_string()),
    })
}

/// A judge that repeats itself.
struct RecordedJudge<'a> {
    steps: Mutex<Vec<RecordedStep>>,
    vectors: &'a Map<String, Value>,
}

#[async_trait]
impl Judge for RecordedJudge<'_> {
    /// Each step replies once. The order of different calls does not matter, that of equal ones does.
    async fn reply_to_call(&self, call: &JudgeCall, _: usize) -> Result<String, JudgeError> {
        let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |step: &RecordedStep| step.kind == call.kind.name() && inputs_agree(&step.input, &call.input);
        match steps.iter().position(fits) {
            Some(at) => Ok(steps.remove(at).reply),
            None => Err(JudgeError(format!(
                "no recorded reply is left for {} of {}",
                call.kind.name(),
                call.input
            ))),
        }
    }

    async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeError> {
        let vector = |text: &String| {
            let vector = self.vectors.get(text)?.as_array()?;
            vector.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>()
        };
        let named = |text: &String| vector(text).ok_or_else(|| JudgeError(format!("no vector of {text:?}")));
        texts.iter().map(named).collect()
    }
}

/// Whether two inputs say the same in every field that both have.
fn inputs_agree(recorded: &Value, asked: &Value) -> bool {
    let (Some(recorded), Some(asked)) = (recorded.as_object(), asked.as_object()) else {
        return recorded == asked;
    };
    asked
        .iter()
        .all(|(key, value)| recorded.get(key).is_none_or(|same| same == value))
}
