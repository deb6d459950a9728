//! Answer correctness: weighted mean of the F score of the answer's statements against the reference's, and the cosine
//! of the two texts.

use serde_json::json;

use super::judge::{JudgeCallKind, JudgeClient};
use super::reply::ConfusionCounts;
use super::{MetricParameters, RagasApi, RagasError, RagasSample, f_beta, semantic_similarity};

/// Default weights of facts and of similarity.
const WEIGHTS: [f64; 2] = [0.75, 0.25];

pub(super) async fn score_answer_correctness(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    parameters: &MetricParameters,
) -> Result<f64, RagasError> {
    let facts = factual_score(asking, sample, parameters.beta.unwrap_or(1.0)).await?;
    let [of_facts, of_similarity] = parameters.weights.unwrap_or(WEIGHTS);
    let similarity = match of_similarity == 0.0 {
        true => 0.0,
        false => semantic_similarity::response_cosine(asking, sample).await?,
    };
    Ok((of_facts * facts + of_similarity * similarity) / (of_facts + of_similarity))
}

async fn factual_score(asking: JudgeClient<'_>, sample: &RagasSample, beta: f64) -> Result<f64, RagasError> {
    let (question, response, reference) = (
        sample.require_user_input()?,
        sample.require_response()?,
        sample.require_reference()?,
    );
    let answer = asking.extract_statements(question, response).await?;
    let ground_truth = asking.extract_statements(question, reference).await?;
    let nothing_to_sort = match asking.api {
        RagasApi::Legacy => answer.is_empty() && ground_truth.is_empty(),
        RagasApi::Collections => answer.is_empty() || ground_truth.is_empty(),
    };
    if nothing_to_sort {
        return Ok(1.0);
    }
    let input = json!({ "question": question, "answer": answer, "ground_truth": ground_truth });
    let sorted = asking
        .request_reply::<ConfusionCounts>(JudgeCallKind::TpFpFn, input)
        .await?;
    match (asking.api, sorted.right + sorted.wrong + sorted.missing) {
        (RagasApi::Collections, 0) => Ok(1.0),
        _ => Ok(f_beta(sorted.right, sorted.wrong, sorted.missing, beta)),
    }
}
