//! Fills the shadow index in the background, then compares and switches.
//!
//! Invariant: all of it may be interrupted at any point and started again; what exists already is not made again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;
use ragstone_core::seam::index::{DocumentGeneration, IndexError};

use super::super::arrival::log_fetch;
use super::super::{model, upkeep};
use super::compare::compare_models;
use super::record::{ActiveIndex, MigrationPhase, MigrationRecord};
use super::sides::{ActiveAndShadow, DualIndex};
use super::{EmbedderFactory, ModelMigration};
use crate::config::Settings;
use crate::operator;

/// Documents that are filled in concurrently.
const AT_ONCE: usize = 2;
/// First and longest wait before a failed step is retried.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Works whenever it is woken, until the process ends.
pub async fn run_migration_worker(migration: Arc<ModelMigration>, sides: Arc<DualIndex>) {
    loop {
        migration.wake.notified().await;
        let _work = migration.work_lock.lock().await;
        migration.advance_with_retry(&sides).await;
    }
}

impl ModelMigration {
    async fn advance_with_retry(&self, sides: &Arc<DualIndex>) {
        let mut wait = FIRST_WAIT;
        while let Err(error) = self.advance_migration(sides).await {
            tracing::warn!("the change of the model waits: {error:#}");
            self.set_last_error(Some(format!("{error:#}")));
            if self.unless_halted(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        self.set_last_error(None);
    }

    /// Runs work that can be interrupted at any point; `None` if it was halted.
    async fn unless_halted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut halted = self.halted.subscribe();
        tokio::select! {
            biased;
            _ = halted.wait_for(|halted| *halted) => None,
            done = work => Some(done),
        }
    }

    /// Advances the migration as far as it can.
    async fn advance_migration(&self, sides: &Arc<DualIndex>) -> anyhow::Result<()> {
        let (
            Some((mut record, active)),
            ActiveAndShadow {
                shadow: Some(other), ..
            },
        ) = (self.load_unfinished().await?, sides.current_pair())
        else {
            return Ok(());
        };
        let (answers, beside) = record.active_and_other(active.as_ref());
        self.advise_settings_change(&answers.target);
        if other.embedder().is_err() {
            let made = self.unless_halted((self.embedders)(beside.target.clone()));
            let Some(made) = made.await else { return Ok(()) };
            other.set_embedder(made?);
        }
        if !self.fills.load(Ordering::Relaxed) || record.phase != MigrationPhase::Filling {
            return Ok(());
        }
        if active.is_some_and(|active| active.spec == record.to.spec) {
            record.phase = MigrationPhase::Switched;
            return record.save_to(self.catalogue.as_ref()).await;
        }
        sides
            .current_pair()
            .active
            .embedder()
            .context("the model that answers")?;
        let Some(filled) = self.unless_halted(self.fill_shadow(sides)).await else {
            return Ok(());
        };
        filled?;
        if let Some(gate) = &record.gate {
            let active = sides.current_pair().active;
            let compared = compare_models(&self.catalogue, &self.blobs, (&active, &other), gate);
            let Some(compared) = self.unless_halted(compared).await else {
                return Ok(());
            };
            let compared = compared?;
            let passes = compared.passes_gate();
            tracing::info!(?compared, passes, "both models answered the questions of the set");
            record.compared = Some(compared);
            if !passes {
                record.phase = MigrationPhase::Refused;
                return record.save_to(self.catalogue.as_ref()).await;
            }
        }
        self.switch_active(sides, &mut record, MigrationPhase::Switched).await
    }

    /// Copies everything that is visible into the shadow index.
    async fn fill_shadow(&self, sides: &Arc<DualIndex>) -> anyhow::Result<()> {
        let held = sides.current_pair().active.index.list_generations(None).await?;
        let each = stream::iter(held)
            .map(|(generation, _)| sides.fill_generation(generation, operator::operator_principal_of));
        Ok(each.buffer_unordered(AT_ONCE).try_collect::<()>().await?)
    }

    /// Makes the shadow answer. One row decides, and this process follows it.
    pub(super) async fn switch_active(
        &self,
        sides: &Arc<DualIndex>,
        record: &mut MigrationRecord,
        phase: MigrationPhase,
    ) -> anyhow::Result<()> {
        let Some(other) = sides.current_pair().shadow else {
            bail!("there is no other model to switch to");
        };
        let side = match phase {
            MigrationPhase::RolledBack => &record.from,
            _ => &record.to,
        };
        if other.embedder().is_err() {
            other.set_embedder((self.embedders)(side.target.clone()).await?);
        }
        let embedder = other.embedder()?;
        let (active, target) = (
            ActiveIndex {
                spec: side.spec.clone(),
                place: side.place.clone(),
                known_as: Some(record.known_as.clone()),
            },
            side.target.clone(),
        );
        let _one = self.vectors.switching.lock().await;
        // A rollback is recorded before it is made, so that no process switches forward again; a switch is recorded
        // after it.
        let rolls_back = phase == MigrationPhase::RolledBack;
        record.phase = if rolls_back { phase } else { record.phase };
        record.save_to(self.catalogue.as_ref()).await?;
        let turned = self.switch_lock.lock().await;
        let written = active.save_to(self.catalogue.as_ref()).await;
        if ActiveIndex::load_from(self.catalogue.as_ref()).await?.as_ref() != Some(&active) {
            written?;
            bail!("the catalogue did not keep which model answers");
        }
        sides.swap_sides();
        self.vectors.activate_side(embedder, &active);
        self.advise_settings_change(&target);
        drop(turned);
        tracing::info!(model = %target.describe(), "this model answers from here on");
        record.phase = phase;
        record.save_to(self.catalogue.as_ref()).await?;
        upkeep::calibrate_threshold(&self.library).await;
        Ok(())
    }
}

/// Creates embedders of target models, with the other settings unchanged.
pub fn embedder_factory(settings: Settings) -> EmbedderFactory {
    Arc::new(move |target| {
        let settings = target.apply_to(&settings);
        let found = async move {
            let found = model::load_embedder(&settings, &log_fetch()).await;
            let found = found.with_context(|| target.describe())?;
            found.with_context(|| format!("{} embeds nothing", target.describe()))
        };
        found.boxed()
    })
}

impl DualIndex {
    /// Copies a visible generation into the shadow index and makes it visible there.
    async fn fill_generation(
        &self,
        (document, generation): DocumentGeneration,
        operator: fn(TenantId) -> Principal,
    ) -> Result<(), IndexError> {
        let ActiveAndShadow {
            active,
            shadow: Some(other),
        } = self.current_pair()
        else {
            return Ok(());
        };
        let first = active.points.read_points(document, generation, 0, 1).await?;
        let Some(first) = first.first() else {
            return Ok(());
        };
        let scope = operator(first.acl.tenant.clone()).scope();
        let visible = active.index.list_chunks(&scope, document, generation, 0, 1).await?;
        // A generation that is not visible yet is copied when it is published.
        if visible.is_empty() {
            return Ok(());
        }
        self.copy_if_behind(&active, &other, (document, generation)).await?;
        self.publish_on_side(&other, (document, generation)).await
    }
}
