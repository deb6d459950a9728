//! Marking how far the library has come, as jobs end.
//!
//! Invariant: only generations are marked whose claim was committed. Marking is no part of a job: it fails without
//! costing one, and is done again later.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::context::IngestContext;
use crate::id::Generation;
use crate::library::mark::{MarkError, advance_mark};

/// What this process has reached, and what of it is marked.
pub struct GenerationMarker {
    context: Arc<IngestContext>,
    reached: AtomicU64,
    marked: AtomicU64,
}

impl GenerationMarker {
    pub(super) fn new(context: &Arc<IngestContext>) -> Self {
        Self {
            context: context.clone(),
            reached: AtomicU64::default(),
            marked: AtomicU64::default(),
        }
    }

    /// A job of this generation ended. Marks if much is not marked.
    pub(super) async fn record_generation(&self, generation: Generation) {
        let reached = self.reached.fetch_max(generation.0, Ordering::Relaxed);
        let reached = reached.max(generation.0);
        if reached - self.marked.load(Ordering::Relaxed).min(reached) < self.context.settings.mark_every {
            return;
        }
        if let Err(error) = self.mark_generation().await {
            tracing::warn!(%error, "how far the library has come is marked later");
        }
    }

    /// Marks how far this process has brought the library, if that is not marked.
    pub async fn mark_generation(&self) -> Result<(), MarkError> {
        let reached = self.reached.load(Ordering::Relaxed);
        if reached <= self.marked.load(Ordering::Relaxed) {
            return Ok(());
        }
        advance_mark(self.context.stores.blobs.as_ref(), Generation(reached)).await?;
        self.marked.fetch_max(reached, Ordering::Relaxed);
        Ok(())
    }
}
