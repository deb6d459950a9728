//! Filling the second index in the background, and what follows when it is full.
//!
//! Invariant: all of it may be broken off at any point and begun again; what is there already is not made again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use ragstone_core::access::Principal;
use ragstone_core::id::TenantId;
use ragstone_core::seam::index::{DocumentGeneration, IndexError};

use super::super::arrival::logged;
use super::super::{model, upkeep};
use super::compare::compare;
use super::record::{Active, Phase, Record};
use super::sides::{Pair, Sides};
use super::{Embedders, Migration};
use crate::config::Settings;
use crate::operator;

/// Documents that are filled in at a time.
const AT_ONCE: usize = 2;
/// First and longest wait before what did not work is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Works whenever it is woken, until the process ends.
pub async fn keep(migration: Arc<Migration>, sides: Arc<Sides>) {
    loop {
        migration.wake.notified().await;
        let _work = migration.work.lock().await;
        migration.get_on(&sides).await;
    }
}

impl Migration {
    async fn get_on(&self, sides: &Arc<Sides>) {
        let mut wait = FIRST_WAIT;
        while let Err(error) = self.go_on(sides).await {
            tracing::warn!("the change of the model waits: {error:#}");
            self.note(Some(format!("{error:#}")));
            if self.unless_halted(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        self.note(None);
    }

    /// Work that may be broken off anywhere; none if it was.
    async fn unless_halted<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut halted = self.halted.subscribe();
        tokio::select! {
            biased;
            _ = halted.wait_for(|halted| *halted) => None,
            done = work => Some(done),
        }
    }

    /// As far as it goes.
    async fn go_on(&self, sides: &Arc<Sides>) -> anyhow::Result<()> {
        let (Some((mut record, active)), Pair { other: Some(other), .. }) = (self.standing().await?, sides.pair())
        else {
            return Ok(());
        };
        let (answers, beside) = record.by(active.as_ref());
        self.advise(&answers.target);
        if other.embedder().is_err() {
            let made = self.unless_halted((self.embedders)(beside.target.clone()));
            let Some(made) = made.await else { return Ok(()) };
            other.takes(made?);
        }
        if !self.fills.load(Ordering::Relaxed) || record.phase != Phase::Filling {
            return Ok(());
        }
        if active.is_some_and(|active| active.spec == record.to.spec) {
            record.phase = Phase::Switched;
            return record.write(self.catalogue.as_ref()).await;
        }
        sides.pair().active.embedder().context("the model that answers")?;
        let Some(filled) = self.unless_halted(self.fill(sides)).await else {
            return Ok(());
        };
        filled?;
        if let Some(gate) = &record.gate {
            let active = sides.pair().active;
            let compared = compare(&self.catalogue, &self.blobs, (&active, &other), gate);
            let Some(compared) = self.unless_halted(compared).await else {
                return Ok(());
            };
            let compared = compared?;
            let passes = compared.passes();
            tracing::info!(?compared, passes, "both models answered the questions of the set");
            record.compared = Some(compared);
            if !passes {
                record.phase = Phase::Refused;
                return record.write(self.catalogue.as_ref()).await;
            }
        }
        self.switch(sides, &mut record, Phase::Switched).await
    }

    /// Everything that is visible.
    async fn fill(&self, sides: &Arc<Sides>) -> anyhow::Result<()> {
        let held = sides.pair().active.index.generations(None).await?;
        let each = stream::iter(held).map(|(generation, _)| sides.fill(generation, operator::of));
        Ok(each.buffer_unordered(AT_ONCE).try_collect::<()>().await?)
    }

    /// Lets the other side answer: one row, and the process follows it.
    pub(super) async fn switch(&self, sides: &Arc<Sides>, record: &mut Record, phase: Phase) -> anyhow::Result<()> {
        let Some(other) = sides.pair().other else {
            bail!("there is no other model to switch to");
        };
        let side = match phase {
            Phase::RolledBack => &record.from,
            _ => &record.to,
        };
        if other.embedder().is_err() {
            other.takes((self.embedders)(side.target.clone()).await?);
        }
        let embedder = other.embedder()?;
        let (active, target) = (
            Active {
                spec: side.spec.clone(),
                place: side.place.clone(),
                known_as: Some(record.known_as.clone()),
            },
            side.target.clone(),
        );
        let _one = self.vectors.switching.lock().await;
        // A rollback is noted before it is made, so that no one goes forward again; a switch after it is.
        let rolls_back = phase == Phase::RolledBack;
        record.phase = if rolls_back { phase } else { record.phase };
        record.write(self.catalogue.as_ref()).await?;
        let turned = self.turn.lock().await;
        let written = active.write(self.catalogue.as_ref()).await;
        if Active::read(self.catalogue.as_ref()).await?.as_ref() != Some(&active) {
            written?;
            bail!("the catalogue did not keep which model answers");
        }
        sides.swap();
        self.vectors.answer_by(embedder, &active);
        self.advise(&target);
        drop(turned);
        tracing::info!(model = %target.words(), "this model answers from here on");
        record.phase = phase;
        record.write(self.catalogue.as_ref()).await?;
        upkeep::calibrate(&self.library).await;
        Ok(())
    }
}

/// The embedders of models as these settings have them.
pub fn embedders(settings: Settings) -> Embedders {
    Arc::new(move |target| {
        let settings = target.over(&settings);
        let found = async move {
            let found = model::embedder(&settings, &logged()).await;
            let found = found.with_context(|| target.words())?;
            found.with_context(|| format!("{} embeds nothing", target.words()))
        };
        found.boxed()
    })
}

impl Sides {
    /// Brings a generation that is visible into the other side, and makes it visible there.
    async fn fill(
        &self,
        (document, generation): DocumentGeneration,
        operator: fn(TenantId) -> Principal,
    ) -> Result<(), IndexError> {
        let Pair {
            active,
            other: Some(other),
        } = self.pair()
        else {
            return Ok(());
        };
        let first = active.points.points(document, generation, 0, 1).await?;
        let Some(first) = first.first() else {
            return Ok(());
        };
        let scope = operator(first.acl.tenant.clone()).scope();
        let visible = active.index.scroll(&scope, document, generation, 0, 1).await?;
        // What is not visible yet is brought by whoever makes it so.
        if visible.is_empty() {
            return Ok(());
        }
        self.complete(&active, &other, (document, generation)).await?;
        self.show(&other, (document, generation)).await
    }
}
