//! Checks whether points and queries match the spec of an index.

use ragstone_core::seam::index::{IndexError, IndexPoint, IndexSpec};

/// The error for points or queries that an index cannot hold.
pub fn mismatch_error(detail: impl Into<String>) -> IndexError {
    IndexError::Mismatch { detail: detail.into() }
}

/// Refuses a vector whose length differs from the index's.
pub fn check_length(held: Option<usize>, vector: &[f32]) -> Result<(), IndexError> {
    match held {
        Some(wanted) if wanted == vector.len() => Ok(()),
        wanted => Err(mismatch_error(format!(
            "it holds vectors of {} components, not of {}",
            wanted.unwrap_or(0),
            vector.len()
        ))),
    }
}

/// Refuses points that an index of this spec cannot hold, and all points while there is no spec.
pub fn check_points(spec: Option<&IndexSpec>, points: &[IndexPoint]) -> Result<(), IndexError> {
    let spec = spec.ok_or_else(|| mismatch_error("no spec was given yet"))?;
    for vector in points.iter().filter_map(|point| point.dense.as_deref()) {
        check_length(spec.dimensions, vector)?;
        if !vector.iter().all(|component| component.is_finite()) {
            return Err(mismatch_error("a vector has a component that is not finite"));
        }
    }
    Ok(())
}
