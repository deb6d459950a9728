//! Scoring of recorded judge replies, without calling a judge.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use super::judge::{Judge, JudgeCall, JudgeError};
use super::{MetricParameters, RagasApi, RagasMetric, RagasSample, score_sample};

/// Marks the steps of a case as the same as those recorded for legacy.
const SAME_AS_LEGACY: &str = "same as legacy";

/// Score of a case by one implementation; `score` is `None` for NaN and if there is an error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReplayedScore {
    /// Id of the case.
    pub id: String,
    /// The implementation that was followed.
    pub api: RagasApi,
    /// The metric that was computed.
    pub metric: RagasMetric,
    /// The score; `None` for NaN and on an error.
    pub score: Option<f64>,
    /// The error, where RAGAS raises an exception.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Error in a file of recorded replies.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file does not have the expected form.
    #[error("the file is not recorded judge replies: {0}")]
    Form(#[from] serde_json::Error),
    /// The steps of a case are neither a list nor a reference to the other implementation's.
    #[error("case {id:?}: the steps of {api:?} cannot be read")]
    Steps {
        /// Id of the case.
        id: String,
        /// The implementation whose steps are invalid.
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

/// One recorded call with its reply.
#[derive(Clone, Deserialize)]
struct RecordedStep {
    kind: String,
    input: Value,
    reply: String,
}

/// Scores every case of a file, once for each implementation that it was recorded with.
///
/// # Errors
/// [`ReplayError`] if the file is not in the expected form.
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

/// A judge that returns recorded replies.
struct RecordedJudge<'a> {
    steps: Mutex<Vec<RecordedStep>>,
    vectors: &'a Map<String, Value>,
}

#[async_trait]
impl Judge for RecordedJudge<'_> {
    /// Each step is used once. The order of different calls does not matter, that of equal calls does.
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

/// Whether two inputs are equal in every field that both have.
fn inputs_agree(recorded: &Value, asked: &Value) -> bool {
    let (Some(recorded), Some(asked)) = (recorded.as_object(), asked.as_object()) else {
        return recorded == asked;
    };
    asked
        .iter()
        .all(|(key, value)| recorded.get(key).is_none_or(|same| same == value))
}
