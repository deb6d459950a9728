//! Context recall: the share of the reference's sentences that the contexts support. NaN without a classification.

use serde_json::json;

use super::judge::{JudgeCallKind, JudgeClient};
use super::reply::SentenceAttributions;
use super::{RagasApi, RagasError, RagasSample, mean_or_nan};

pub(super) async fn score_context_recall(asking: JudgeClient<'_>, sample: &RagasSample) -> Result<f64, RagasError> {
    let input = json!({
        "question": sample.require_user_input()?,
        "context": sample.require_contexts(asking.api)?.join("\n"),
        "answer": sample.require_reference()?,
    });
    let attributed = asking
        .request_reply::<SentenceAttributions>(JudgeCallKind::ContextAttribution, input)
        .await?
        .0;
    let value = |attributed: i64| match asking.api {
        RagasApi::Legacy => f64::from(u8::from(attributed != 0)),
        RagasApi::Collections => attributed as f64,
    };
    Ok(mean_or_nan(attributed.into_iter().map(value)))
}
