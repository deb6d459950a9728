//! Context precision and recall by ids, without a judge: sets of ids, compared as strings. NaN if a set is empty.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{RagasError, RagasSample};

pub(super) fn id_precision(sample: &RagasSample) -> Result<f64, RagasError> {
    let (retrieved, reference) = id_sets(sample)?;
    Ok(count_shared(&retrieved, &reference) / retrieved.len() as f64)
}

pub(super) fn id_recall(sample: &RagasSample) -> Result<f64, RagasError> {
    let (retrieved, reference) = id_sets(sample)?;
    Ok(count_shared(&retrieved, &reference) / reference.len() as f64)
}

fn id_sets(sample: &RagasSample) -> Result<(BTreeSet<String>, BTreeSet<String>), RagasError> {
    let retrieved = sample.retrieved_context_ids.as_deref();
    let reference = sample.reference_context_ids.as_deref();
    Ok((
        to_id_set(retrieved.ok_or(RagasError::Missing("retrieved_context_ids"))?),
        to_id_set(reference.ok_or(RagasError::Missing("reference_context_ids"))?),
    ))
}

fn to_id_set(ids: &[Value]) -> BTreeSet<String> {
    let id = |id: &Value| id.as_str().map_or_else(|| id.to_string(), String::from);
    ids.iter().map(id).collect()
}

fn count_shared(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    a.intersection(b).count() as f64
}
