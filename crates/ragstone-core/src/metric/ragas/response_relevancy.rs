//! Response relevancy: the judge generates questions from the answer alone, which are compared with the asked question.
//!
//! The score is the mean cosine, times 0 if the judge calls the answer noncommittal each time. It is not clipped at 0.

use serde_json::json;

use super::judge::{JudgeCallKind, JudgeClient};
use super::reply::GeneratedQuestion;
use super::{MetricParameters, RagasApi, RagasError, RagasSample, mean_or_nan};

/// Number of generated questions by default.
const STRICTNESS: usize = 3;

pub(super) async fn score_response_relevancy(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    parameters: &MetricParameters,
) -> Result<f64, RagasError> {
    let (question, response) = (sample.require_user_input()?, sample.require_response()?);
    let mut generated = Vec::new();
    for _ in 0..parameters.strictness.unwrap_or(STRICTNESS) {
        let input = json!({ "response": response });
        generated.push(
            asking
                .request_reply::<GeneratedQuestion>(JudgeCallKind::QuestionFromAnswer, input)
                .await?,
        );
    }
    match asking.api {
        RagasApi::Legacy if generated.iter().all(|generated| generated.question.is_empty()) => {
            return Ok(f64::NAN);
        }
        RagasApi::Legacy => {}
        RagasApi::Collections => generated.retain(|generated| !generated.question.is_empty()),
    }
    if generated.is_empty() {
        return Ok(0.0);
    }
    let committed = generated.iter().any(|generated| !generated.noncommittal);
    let questions: Vec<String> = generated.into_iter().map(|generated| generated.question).collect();
    let cosines = asking.cosine_similarities(question, &questions).await?;
    Ok(mean_or_nan(cosines.into_iter()) * f64::from(u8::from(committed)))
}
