//! The operator's commands of a migration: begin, abort, roll back, finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use ragstone_adapters::data_dir::remove_other_indexes;
use ragstone_core::seam::index::IndexSpec;

use super::super::EmbedderState;
use super::super::describe::list_text_destinations;
use super::super::stores::open_side;
use super::record::{ActiveIndex, MigrationPhase, MigrationRecord, QualityGate, SideRecord, TargetModel};
use super::sides::{DualIndex, IndexSide};
use super::{MigrationStatus, ModelMigration, clear_index};
use crate::clock::new_id;

impl ModelMigration {
    /// Begins or resumes a migration to `target`. The new model answers once its index is full and it passes the gate.
    pub async fn begin_migration(
        &self,
        target: TargetModel,
        gate: Option<QualityGate>,
    ) -> anyhow::Result<MigrationStatus> {
        let sides = self.require_dual_index()?;
        if let Some(gate) = &gate {
            gate.check_gate()?;
        }
        let target = TargetModel::from_settings(&target.apply_to(&self.settings));
        let _one = self.command_lock.lock().await;
        self.run_while_halted(async {
            match self.load_unfinished().await? {
                Some((record, active)) => self.resume_migration(record, active, &target, gate).await,
                None => self.start_new_migration(&sides, target, gate).await,
            }
        })
        .await?;
        self.fills.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        self.current_status().await
    }

    async fn resume_migration(
        &self,
        mut record: MigrationRecord,
        active: Option<ActiveIndex>,
        target: &TargetModel,
        gate: Option<QualityGate>,
    ) -> anyhow::Result<()> {
        if record.to.target != *target {
            bail!(
                "a change to {} is not finished; hint: `ragstone model migrate --finish` or `--abort` first",
                record.to.target.describe()
            );
        }
        if active.is_some_and(|active| active.spec == record.to.spec) {
            bail!(
                "{} answers already; hint: `ragstone model migrate --finish`",
                target.describe()
            );
        }
        record.phase = MigrationPhase::Filling;
        (record.gate, record.compared) = (gate, None);
        record.save_to(self.catalogue.as_ref()).await
    }

    async fn start_new_migration(
        &self,
        sides: &Arc<DualIndex>,
        target: TargetModel,
        gate: Option<QualityGate>,
    ) -> anyhow::Result<()> {
        let active = ActiveIndex::load_from(self.catalogue.as_ref()).await?;
        let (EmbedderState::Ready(_), Some(active)) = (self.vectors.state(), active) else {
            bail!(
                "the library has no vectors in use that could go on answering (embedder: {}); hint: name the model in \
                 the settings and run `ragstone index rebuild`",
                self.vectors.state().describe()
            );
        };
        let known = active.known_as.clone().or_else(|| active.spec.embedder.clone());
        let known_as = known.context("the library has no vectors")?;
        let embedder = (self.embedders)(target.clone()).await?;
        let spec = IndexSpec {
            embedder: Some(embedder.fingerprint().digest()),
            dimensions: Some(embedder.fingerprint().dimensions),
            lexical: active.spec.lexical.clone(),
        };
        if spec == active.spec {
            bail!("the library's vectors are {}'s already", target.describe());
        }
        let place = new_id()().simple().to_string();
        let record = MigrationRecord {
            from: SideRecord {
                place: active.place,
                spec: active.spec,
                target: TargetModel::from_settings(&self.settings),
            },
            to: SideRecord {
                place: Some(place.clone()),
                spec: spec.clone(),
                target,
            },
            known_as,
            phase: MigrationPhase::Filling,
            gate,
            compared: None,
        };
        let folder = self.folder.as_deref().context("there is no data directory")?;
        let side = open_side(folder, place, self.reserve.as_ref()).await?;
        side.index.prepare_index(&spec).await?;
        side.set_embedder(embedder);
        record.save_to(self.catalogue.as_ref()).await?;
        sides.set_shadow(Some(side)).await;
        for place in list_text_destinations(&record.to.target.apply_to(&self.settings)) {
            tracing::info!("while both models are kept, text goes out: {place}");
        }
        Ok(())
    }

    /// Makes the old model answer again; both indexes are kept.
    pub async fn roll_back_migration(&self) -> anyhow::Result<MigrationStatus> {
        let sides = self.require_dual_index()?;
        let _one = self.command_lock.lock().await;
        self.run_while_halted(async {
            let (mut record, active) = self.require_unfinished().await?;
            if active.is_none_or(|active| active.spec != record.to.spec) {
                bail!("{} answers already", record.from.target.describe());
            }
            self.switch_active(&sides, &mut record, MigrationPhase::RolledBack)
                .await
        })
        .await?;
        self.current_status().await
    }

    /// Abandons the new model and removes its index.
    pub async fn abort_migration(&self) -> anyhow::Result<MigrationStatus> {
        let sides = self.require_dual_index()?;
        let _one = self.command_lock.lock().await;
        self.run_while_halted(async {
            let (record, active) = self.require_unfinished().await?;
            if active.is_some_and(|active| active.spec == record.to.spec) {
                bail!(
                    "{} answers; hint: `ragstone model rollback` first",
                    record.to.target.describe()
                );
            }
            self.discard_shadow(&sides).await
        })
        .await?;
        self.current_status().await
    }

    /// Keeps the new model only and removes the old one's index. The settings must name the new model.
    pub async fn finish_migration(&self) -> anyhow::Result<MigrationStatus> {
        let sides = self.require_dual_index()?;
        let _one = self.command_lock.lock().await;
        self.run_while_halted(async {
            let (record, active) = self.require_unfinished().await?;
            let target = &record.to.target;
            if active.is_none_or(|active| active.spec != record.to.spec) {
                bail!(
                    "{} does not answer yet; hint: `ragstone model migrate --status`",
                    target.describe()
                );
            }
            if *target != TargetModel::from_settings(&self.settings) {
                bail!(
                    "the settings name another model, which the next start would ask for; hint: {}, and start again \
                     before this",
                    target.describe_settings()
                );
            }
            self.discard_shadow(&sides).await
        })
        .await?;
        self.current_status().await
    }

    /// Removes the side that does not answer.
    async fn discard_shadow(&self, sides: &Arc<DualIndex>) -> anyhow::Result<()> {
        let Some(gone) = sides.current_pair().shadow else {
            return MigrationRecord::clear_record(self.catalogue.as_ref()).await;
        };
        MigrationRecord::clear_record(self.catalogue.as_ref()).await?;
        sides.set_shadow(None).await;
        self.vectors.set_advice(None);
        self.set_last_error(None);
        if let Err(error) = self.remove_side(sides, &gone).await {
            tracing::warn!("an index that is not used any more is removed at the next start: {error:#}");
        }
        Ok(())
    }

    async fn remove_side(&self, sides: &DualIndex, gone: &IndexSide) -> anyhow::Result<()> {
        if gone.place.is_none() {
            return Ok(clear_index(gone.index.as_ref()).await?);
        }
        let folder = self.folder.clone().context("there is no data directory")?;
        let kept = sides.current_pair().active.place.clone();
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        Ok(remove_other_indexes(&folder, &kept)?)
    }

    async fn require_unfinished(&self) -> anyhow::Result<(MigrationRecord, Option<ActiveIndex>)> {
        let standing = self.load_unfinished().await?;
        standing.context("no model is being changed; hint: `ragstone model migrate --to MODEL`")
    }

    fn require_dual_index(&self) -> anyhow::Result<Arc<DualIndex>> {
        self.vectors.dual_index.clone().context(
            "the model of shared stores is not changed while they answer; hint: `ragstone index rebuild`, or import an \
             export into a library of the other model",
        )
    }

    /// Runs `work` while filling is halted.
    async fn run_while_halted<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.halted.send_replace(true);
        let _work = self.work_lock.lock().await;
        let done = work.await;
        self.halted.send_replace(false);
        // Resumes what was halted and is not finished.
        self.wake.notify_one();
        done
    }
}
