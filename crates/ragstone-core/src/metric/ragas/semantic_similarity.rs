//! Semantic similarity: cosine of answer and reference, or whether it reaches a threshold. Not clipped at 0.

use super::judge::JudgeClient;
use super::{MetricParameters, RagasError, RagasSample};

pub(super) async fn score_semantic_similarity(
    asking: JudgeClient<'_>,
    sample: &RagasSample,
    parameters: &MetricParameters,
) -> Result<f64, RagasError> {
    let cosine = response_cosine(asking, sample).await?;
    Ok(match parameters.threshold {
        Some(threshold) => f64::from(u8::from(cosine >= threshold)),
        None => cosine,
    })
}

/// Cosine of response and reference; an empty text is embedded as one space.
pub(super) async fn response_cosine(asking: JudgeClient<'_>, sample: &RagasSample) -> Result<f64, RagasError> {
    let embedded = |text: &str| if text.is_empty() { " " } else { text }.to_owned();
    let others = [embedded(sample.require_response()?)];
    let cosines = asking
        .cosine_similarities(&embedded(sample.require_reference()?), &others)
        .await?;
    Ok(cosines[0])
}
