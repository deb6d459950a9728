//! Faithfulness: the share of the answer's statements that follow from the contexts.
//!
//! The denominator is the number of verdicts *returned*. The score is NaN without statements, in which case the judge
//! is not called a second time, and without verdicts.

use super::judge::JudgeClient;
use super::statements::count_true;
use super::{RagasError, RagasSample};

pub(super) async fn score_faithfulness(asking: JudgeClient<'_>, sample: &RagasSample) -> Result<f64, RagasError> {
    let context = sample.require_contexts(asking.api)?.join("\n");
    let statements = asking
        .extract_statements(sample.require_user_input()?, sample.require_response()?)
        .await?;
    let verdicts = asking.check_entailment(&context, &statements).await?;
    Ok(supported_share(&verdicts))
}

fn supported_share(verdicts: &[bool]) -> f64 {
    count_true(verdicts) as f64 / verdicts.len() as f64
}
