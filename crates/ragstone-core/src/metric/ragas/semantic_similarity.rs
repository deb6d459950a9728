//! Semantic similarity: the cosine of answer and reference, or whether it reaches a threshold. Not clipped.

use super::judge::Asking;
use super::{Parameters, RagasError, Sample};

pub(super) async fn score(asking: Asking<'_>, sample: &Sample, parameters: &Parameters) -> Result<f64, RagasError> {
    let cosine = cosine(asking, sample).await?;
    Ok(match parameters.threshold {
        Some(threshold) => f64::from(u8::from(cosine >= threshold)),
        None => cosine,
    })
}

/// The cosine of response and reference; an empty text is embedded as one space.
pub(super) async fn cosine(asking: Asking<'_>, sample: &Sample) -> Result<f64, RagasError> {
    let embedded = |text: &str| if text.is_empty() { " " } else { text }.to_owned();
    let others = [embedded(sample.response()?)];
    let cosines = asking.cosines(&embedded(sample.reference()?), &others).await?;
    Ok(cosines[0])
}
