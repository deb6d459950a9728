//! Answer correctness: F of the answer's statements against the reference's, and the cosine of the two texts.

use serde_json::json;

use super::judge::{Asking, Kind};
use super::reply::Sorted;
use super::{Api, Parameters, RagasError, Sample, f_beta, semantic_similarity};

/// Of facts, and of similarity.
const WEIGHTS: [f64; 2] = [0.75, 0.25];

pub(super) async fn score(asking: Asking<'_>, sample: &Sample, parameters: &Parameters) -> Result<f64, RagasError> {
    let facts = factuality(asking, sample, parameters.beta.unwrap_or(1.0)).await?;
    let [of_facts, of_similarity] = parameters.weights.unwrap_or(WEIGHTS);
    let similarity = match of_similarity == 0.0 {
        true => 0.0,
        false => semantic_similarity::cosine(asking, sample).await?,
    };
    Ok((of_facts * facts + of_similarity * similarity) / (of_facts + of_similarity))
}

async fn factuality(asking: Asking<'_>, sample: &Sample, beta: f64) -> Result<f64, RagasError> {
    let (question, response, reference) = (sample.user_input()?, sample.response()?, sample.reference()?);
    let answer = asking.statements(question, response).await?;
    let ground_truth = asking.statements(question, reference).await?;
    let nothing_to_sort = match asking.api {
        Api::Legacy => answer.is_empty() && ground_truth.is_empty(),
        Api::Collections => answer.is_empty() || ground_truth.is_empty(),
    };
    if nothing_to_sort {
        return Ok(1.0);
    }
    let input = json!({ "question": question, "answer": answer, "ground_truth": ground_truth });
    let sorted = asking.ask::<Sorted>(Kind::TpFpFn, input).await?;
    match (asking.api, sorted.right + sorted.wrong + sorted.missing) {
        (Api::Collections, 0) => Ok(1.0),
        _ => Ok(f_beta(sorted.right, sorted.wrong, sorted.missing, beta)),
    }
}
