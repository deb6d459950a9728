//! Factual correctness: claims of the answer are checked against the reference, and the other way round.
//!
//! The score is rounded to two digits; RAGAS's 1e-8 in the denominators rounds exact halves down (3/8 gives 0.37).

use super::judge::JudgeClient;
use super::statements::count_true;
use super::{MetricParameters, RagasError, RagasSample, f_beta};

/// RAGAS's guard against division by zero.
const EPSILON: f64 = 1e-8;

pub(super) async fn score_factual_correctness(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    parameters: &MetricParameters,
) -> Result<f64, RagasError> {
    let mode = parameters.mode.as_deref().unwrap_or("f1");
    if !matches!(mode, "f1" | "precision" | "recall") {
        let value = mode.to_owned();
        return Err(RagasError::Parameter { name: "mode", value });
    }
    let (response, reference) = (sample.require_response()?, sample.require_reference()?);
    let of_response = check_claims(asking, response, reference).await?;
    let right = count_true(&of_response);
    let wrong = of_response.len() - right;
    let missing = match mode {
        "precision" => 0,
        _ => {
            let of_reference = check_claims(asking, reference, response).await?;
            of_reference.len() - count_true(&of_reference)
        }
    };
    let share = |of: usize| right as f64 / (of as f64 + EPSILON);
    Ok(round_two_digits(match mode {
        "precision" => share(right + wrong),
        "recall" => share(right + missing),
        _ => f_beta(right, wrong, missing, parameters.beta.unwrap_or(1.0)),
    }))
}

async fn check_claims(asking: JudgeClient<'_>, text: &str, by: &str) -> Result<Vec<bool>, RagasError> {
    let claims = asking.extract_claims(text).await?;
    asking.check_entailment(by, &claims).await
}

fn round_two_digits(score: f64) -> f64 {
    (score * 100.0).round_ties_even() / 100.0
}
