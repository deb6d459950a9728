//! Context precision and recall by ids, which need no judge: sets of ids, compared as strings. NaN of nothing.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{RagasError, Sample};

pub(super) fn precision(sample: &Sample) -> Result<f64, RagasError> {
    let (retrieved, reference) = sets(sample)?;
    Ok(shared(&retrieved, &reference) / retrieved.len() as f64)
}

pub(super) fn recall(sample: &Sample) -> Result<f64, RagasError> {
    let (retrieved, reference) = sets(sample)?;
    Ok(shared(&retrieved, &reference) / reference.len() as f64)
}

fn sets(sample: &Sample) -> Result<(BTreeSet<String>, BTreeSet<String>), RagasError> {
    let retrieved = sample.retrieved_context_ids.as_deref();
    let reference = sample.reference_context_ids.as_deref();
    Ok((
        set(retrieved.ok_or(RagasError::Missing("retrieved_context_ids"))?),
        set(reference.ok_or(RagasError::Missing("reference_context_ids"))?),
    ))
}

fn set(ids: &[Value]) -> BTreeSet<String> {
    let id = |id: &Value| id.as_str().map_or_else(|| id.to_string(), String::from);
    ids.iter().map(id).collect()
}

fn shared(a: &BTreeSet<String>, b: &BTreeSet<String>) -> f64 {
    a.intersection(b).count() as f64
}
