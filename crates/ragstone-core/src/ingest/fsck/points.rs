//! Points that no row names.

use super::{BATCH, Check, Disagreement, FsckError, name};
use crate::ingest::Ingestor;
use crate::seam::audit::Explained;

impl Ingestor {
    /// Compares the index's generations with the rows.
    pub(super) async fn check_points(&self, check: &mut Check) -> Result<(), FsckError> {
        let held = self.stores.index.generations(None).await?;
        for batch in held.chunks(BATCH) {
            let rows = self.rows_of(batch.iter().map(|((document, _), _)| *document)).await?;
            for &((document, generation), points) in batch {
                let row = rows.get(&document);
                match row.map_or(Explained::Orphan, |row| row.explains_points(generation)) {
                    Explained::Named => {
                        check.points.insert((document, generation), points);
                    }
                    Explained::Pending => check.report.pending.index += points,
                    // Who died between the publish and this removal leaves it to the sweep.
                    Explained::Orphan
                        if !check.remedies.finish && row.is_some_and(|row| row.has_replaced(generation)) =>
                    {
                        check.report.pending.index += points;
                    }
                    Explained::Orphan => {
                        if check.remedies.finish {
                            self.stores.index.delete(document, generation).await?;
                        }
                        let what = name((document, generation));
                        check
                            .report
                            .found(Disagreement::OrphanPoints, what, points, check.remedies.finish);
                    }
                }
            }
        }
        Ok(())
    }
}
