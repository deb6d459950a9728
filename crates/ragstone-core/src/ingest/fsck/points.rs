//! Points that no row names.

use super::{BATCH, ConsistencyCheck, FindingKind, FsckError, FsckRun, describe_generation};
use crate::seam::audit::Reference;

impl ConsistencyCheck {
    /// Compares the index's generations with the rows.
    pub(super) async fn check_points(&self, check: &mut FsckRun) -> Result<(), FsckError> {
        let held = self.context.stores.index.list_generations(None).await?;
        for batch in held.chunks(BATCH) {
            let rows = self.load_rows(batch.iter().map(|((document, _), _)| *document)).await?;
            for &((document, generation), points) in batch {
                let row = rows.get(&document);
                match row.map_or(Reference::Orphan, |row| row.classify_points(generation)) {
                    Reference::Live => {
                        check.points.insert((document, generation), points);
                    }
                    Reference::Pending => check.report.pending.index += points,
                    // Who died between the publish and this removal leaves it to the sweep.
                    Reference::Orphan
                        if !check.remedies.remove_orphans && row.is_some_and(|row| row.has_replaced(generation)) =>
                    {
                        check.report.pending.index += points;
                    }
                    Reference::Orphan => {
                        if check.remedies.remove_orphans {
                            self.context
                                .stores
                                .index
                                .delete_generation(document, generation)
                                .await?;
                        }
                        let what = describe_generation((document, generation));
                        check.report.add_finding(
                            FindingKind::OrphanPoints,
                            what,
                            points,
                            check.remedies.remove_orphans,
                        );
                    }
                }
            }
        }
        Ok(())
    }
}
