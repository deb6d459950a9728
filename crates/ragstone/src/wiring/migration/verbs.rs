//! What the operator says of a change of the model: begin, give up, go back, finish.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::{Context, bail};
use ragstone_adapters::data_dir::remove_indexes_but;
use ragstone_core::seam::index::IndexSpec;

use super::super::VectorState;
use super::super::describe::text_goes_to;
use super::super::stores::open_side;
use super::record::{Active, Gate, Phase, Record, SideRecord, Target};
use super::sides::{Side, Sides};
use super::{Migration, Status, clear};
use crate::clock::new_id;

impl Migration {
    /// Begins to change to `target`, or goes on with that; it answers as soon as it is full and passes the gate.
    pub async fn begin(&self, target: Target, gate: Option<Gate>) -> anyhow::Result<Status> {
        let sides = self.sides()?;
        if let Some(gate) = &gate {
            gate.check()?;
        }
        let target = Target::of(&target.over(&self.settings));
        let _one = self.verbs.lock().await;
        self.halted_while(async {
            match self.standing().await? {
                Some((record, active)) => self.go_again(record, active, &target, gate).await,
                None => self.begin_anew(&sides, target, gate).await,
            }
        })
        .await?;
        self.fills.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        self.status().await
    }

    async fn go_again(
        &self,
        mut record: Record,
        active: Option<Active>,
        target: &Target,
        gate: Option<Gate>,
    ) -> anyhow::Result<()> {
        if record.to.target != *target {
            bail!(
                "a change to {} is not finished; hint: `ragstone model migrate --finish` or `--abort` first",
                record.to.target.words()
            );
        }
        if active.is_some_and(|active| active.spec == record.to.spec) {
            bail!(
                "{} answers already; hint: `ragstone model migrate --finish`",
                target.words()
            );
        }
        record.phase = Phase::Filling;
        (record.gate, record.compared) = (gate, None);
        record.write(self.catalogue.as_ref()).await
    }

    async fn begin_anew(&self, sides: &Arc<Sides>, target: Target, gate: Option<Gate>) -> anyhow::Result<()> {
        let active = Active::read(self.catalogue.as_ref()).await?;
        let (VectorState::Ready(_), Some(active)) = (self.vectors.state(), active) else {
            bail!(
                "the library has no vectors in use that could go on answering (embedder: {}); hint: name the model in \
                 the settings and run `ragstone index rebuild`",
                self.vectors.state().words()
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
            bail!("the library's vectors are {}'s already", target.words());
        }
        let place = new_id()().simple().to_string();
        let record = Record {
            from: SideRecord {
                place: active.place,
                spec: active.spec,
                target: Target::of(&self.settings),
            },
            to: SideRecord {
                place: Some(place.clone()),
                spec: spec.clone(),
                target,
            },
            known_as,
            phase: Phase::Filling,
            gate,
            compared: None,
        };
        let folder = self.folder.as_deref().context("there is no data directory")?;
        let side = open_side(folder, place, self.reserve.as_ref()).await?;
        side.index.ensure(&spec).await?;
        side.takes(embedder);
        record.write(self.catalogue.as_ref()).await?;
        sides.set_other(Some(side)).await;
        for place in text_goes_to(&record.to.target.over(&self.settings)) {
            tracing::info!("while both models are kept, text goes out: {place}");
        }
        Ok(())
    }

    /// Lets the old model answer again; both are kept.
    pub async fn roll_back(&self) -> anyhow::Result<Status> {
        let sides = self.sides()?;
        let _one = self.verbs.lock().await;
        self.halted_while(async {
            let (mut record, active) = self.unfinished().await?;
            if active.is_none_or(|active| active.spec != record.to.spec) {
                bail!("{} answers already", record.from.target.words());
            }
            self.switch(&sides, &mut record, Phase::RolledBack).await
        })
        .await?;
        self.status().await
    }

    /// Gives the new model up, and removes what was made for it.
    pub async fn abort(&self) -> anyhow::Result<Status> {
        let sides = self.sides()?;
        let _one = self.verbs.lock().await;
        self.halted_while(async {
            let (record, active) = self.unfinished().await?;
            if active.is_some_and(|active| active.spec == record.to.spec) {
                bail!(
                    "{} answers; hint: `ragstone model rollback` first",
                    record.to.target.words()
                );
            }
            self.end(&sides).await
        })
        .await?;
        self.status().await
    }

    /// Keeps the new model alone, and removes what the old one had. The settings have to name it.
    pub async fn finish(&self) -> anyhow::Result<Status> {
        let sides = self.sides()?;
        let _one = self.verbs.lock().await;
        self.halted_while(async {
            let (record, active) = self.unfinished().await?;
            let target = &record.to.target;
            if active.is_none_or(|active| active.spec != record.to.spec) {
                bail!(
                    "{} does not answer yet; hint: `ragstone model migrate --status`",
                    target.words()
                );
            }
            if *target != Target::of(&self.settings) {
                bail!(
                    "the settings name another model, which the next start would ask for; hint: {}, and start again \
                     before this",
                    target.advice()
                );
            }
            self.end(&sides).await
        })
        .await?;
        self.status().await
    }

    /// Takes the side that does not answer away.
    async fn end(&self, sides: &Arc<Sides>) -> anyhow::Result<()> {
        let Some(gone) = sides.pair().other else {
            return Record::forget(self.catalogue.as_ref()).await;
        };
        Record::forget(self.catalogue.as_ref()).await?;
        sides.set_other(None).await;
        self.vectors.advise(None);
        self.note(None);
        if let Err(error) = self.remove(sides, &gone).await {
            tracing::warn!("an index that is not used any more is removed at the next start: {error:#}");
        }
        Ok(())
    }

    async fn remove(&self, sides: &Sides, gone: &Side) -> anyhow::Result<()> {
        if gone.place.is_none() {
            return Ok(clear(gone.index.as_ref()).await?);
        }
        let folder = self.folder.clone().context("there is no data directory")?;
        let kept = sides.pair().active.place.clone();
        let kept: Vec<&str> = kept.iter().map(String::as_str).collect();
        Ok(remove_indexes_but(&folder, &kept)?)
    }

    async fn unfinished(&self) -> anyhow::Result<(Record, Option<Active>)> {
        let standing = self.standing().await?;
        standing.context("no model is being changed; hint: `ragstone model migrate --to MODEL`")
    }

    fn sides(&self) -> anyhow::Result<Arc<Sides>> {
        self.vectors.sides.clone().context(
            "the model of shared stores is not changed while they answer; hint: `ragstone index rebuild`, or import an \
             export into a library of the other model",
        )
    }

    /// Does something while nothing is filled.
    async fn halted_while<T>(&self, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
        self.halted.send_replace(true);
        let _work = self.work.lock().await;
        let done = work.await;
        self.halted.send_replace(false);
        // What was halted and is still to be done goes on.
        self.wake.notify_one();
        done
    }
}
