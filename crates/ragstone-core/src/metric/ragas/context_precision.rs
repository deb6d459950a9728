//! Context precision: whether contexts that helped to answer are ranked before those that did not.
//!
//! Average precision over the returned list; RAGAS's 1e-10 in the denominator keeps a perfect score slightly below 1.

use serde_json::json;

use super::judge::{JudgeCallKind, JudgeClient};
use super::reply::UsefulnessVerdict;
use super::{RagasApi, RagasError, RagasSample};

/// RAGAS's guard against division by zero.
const EPSILON: f64 = 1e-10;

/// Usefulness is judged against `answer`: the reference, or the response in the variant without a reference.
pub(super) async fn score_context_precision(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    answer: &str,
) -> Result<f64, RagasError> {
    let question = sample.require_user_input()?;
    let mut verdicts = Vec::new();
    for context in sample.require_contexts(asking.api)? {
        let input = json!({ "question": question, "context": context, "answer": answer });
        let verdict = asking
            .request_reply::<UsefulnessVerdict>(JudgeCallKind::ContextUseful, input)
            .await?
            .0;
        verdicts.push(match asking.api {
            RagasApi::Legacy => f64::from(u8::from(verdict != 0)),
            RagasApi::Collections => verdict as f64,
        });
    }
    Ok(average_precision(&verdicts))
}

/// Σₖ((v₁+…+vₖ)/k · vₖ) / (Σₖvₖ + 1e-10).
fn average_precision(verdicts: &[f64]) -> f64 {
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (verdict, rank) in verdicts.iter().zip(1_u32..) {
        sum += verdict;
        weighted += sum / f64::from(rank) * verdict;
    }
    weighted / (sum + EPSILON)
}
