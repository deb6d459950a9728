//! Context recall: the share of the reference's sentences that the contexts hold. NaN without a classification.

use serde_json::json;

use super::judge::{Asking, Kind};
use super::reply::Attributions;
use super::{Api, RagasError, Sample, mean};

pub(super) async fn score(asking: Asking<'_>, sample: &Sample) -> Result<f64, RagasError> {
    let input = json!({
        "question": sample.user_input()?,
        "context": sample.contexts(asking.api)?.join("\n"),
        "answer": sample.reference()?,
    });
    let attributed = asking.ask::<Attributions>(Kind::ContextAttribution, input).await?.0;
    let value = |attributed: i64| match asking.api {
        Api::Legacy => f64::from(u8::from(attributed != 0)),
        Api::Collections => attributed as f64,
    };
    Ok(mean(attributed.into_iter().map(value)))
}
