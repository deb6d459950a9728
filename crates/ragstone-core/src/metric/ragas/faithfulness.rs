//! Faithfulness: the share of the answer's statements that follow from the contexts.
//!
//! Divided by the verdicts *returned*; NaN without statements, without a second call, and without verdicts.

use super::judge::Asking;
use super::statements::holding;
use super::{RagasError, Sample};

pub(super) async fn score(asking: Asking<'_>, sample: &Sample) -> Result<f64, RagasError> {
    let context = sample.contexts(asking.api)?.join("\n");
    let statements = asking.statements(sample.user_input()?, sample.response()?).await?;
    let verdicts = asking.follows(&context, &statements).await?;
    Ok(share(&verdicts))
}

fn share(verdicts: &[bool]) -> f64 {
    holding(verdicts) as f64 / verdicts.len() as f64
}
