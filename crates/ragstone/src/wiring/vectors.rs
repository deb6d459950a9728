//! Which embedder the library uses: it may become available while the process runs, and may not fit the stored vectors.
//!
//! Invariant: vectors of two embedders are never mixed. The catalogue's setting `index_spec` names the embedder of all
//! published points; a question is embedded only by that one, and searched only in the index of its vectors.

mod state;
mod tenants;

use std::sync::{Arc, PoisonError, RwLock};

use anyhow::bail;
use ragstone_core::access::Principal;
use ragstone_core::id::{JobId, TenantId};
use ragstone_core::ingest::{IngestPipeline, Ingestor};
use ragstone_core::library::mark::{RECOVERING_POINTS, RECOVERY_SETTING};
use ragstone_core::library::{ActiveEmbedder, EmbedderSlot};
use ragstone_core::seam::catalogue::DocumentFilter;
use ragstone_core::seam::embedder::EmbedderFingerprint;
use ragstone_core::seam::index::IndexSpec;
use ragstone_core::seam::{Catalogue, Embedder, VectorIndex};
use ragstone_core::split::{SplitSettings, SplitStrategy};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use state::EmbedderState;

use super::absent::AbsentEmbedder;
use super::migration::{ActiveIndex, DualIndex, PinnedIndex};

/// Manages the embedder of a running process.
pub struct EmbedderManager {
    /// Source of truth; also stores the active spec.
    pub catalogue: Arc<dyn Catalogue>,
    /// Index that holds the points.
    pub index: Arc<dyn VectorIndex>,
    /// Ingestor whose pipeline is switched.
    pub ingestor: Arc<Ingestor>,
    /// The embedder that questions use, with its index.
    pub slot: EmbedderSlot,
    /// How pipelines are built.
    pub recipe: PipelineRecipe,
    /// Returns the local operator of a tenant.
    pub operator: fn(TenantId) -> Principal,
    /// Notifies the workers of queued jobs.
    pub notify_workers: Arc<dyn Fn() + Send + Sync>,
    /// State of the embedder.
    pub state: RwLock<EmbedderState>,
    /// The embedder of the settings, once it is available.
    pub embedder: RwLock<Option<Arc<dyn Embedder>>>,
    /// Whether other processes use the same library; the first one decides its embedder.
    pub shared: bool,
    /// Serialises changes of the active embedder.
    pub switching: Mutex<()>,
    /// The index with its two sides, if the model can be changed while it answers.
    pub dual_index: Option<Arc<DualIndex>>,
    /// Advice for the settings: the model in use, if they name another one.
    pub advice: RwLock<Option<String>>,
}

/// What a pipeline is built from, besides its embedder.
#[derive(Debug, Clone)]
pub struct PipelineRecipe {
    /// Fingerprint of the parser.
    pub parser: String,
    /// Settings of the splitter.
    pub split: SplitSettings,
    /// Strategy for Markdown and HTML.
    pub structured: SplitStrategy,
}

impl PipelineRecipe {
    /// Builds a pipeline with this embedder, or without any.
    pub fn build_pipeline(&self, embedder: Option<Arc<dyn Embedder>>) -> IngestPipeline {
        IngestPipeline::new(&self.parser, self.split.clone(), self.structured, embedder)
    }

    /// The same, named in the pipeline's fingerprint by the digest `known_as` of an earlier embedder.
    fn build_pipeline_as(&self, embedder: Arc<dyn Embedder>, known_as: &str) -> IngestPipeline {
        let split = self.split.clone();
        IngestPipeline::with_embedder_digest(&self.parser, split, self.structured, Some(embedder), Some(known_as))
    }
}

impl EmbedderManager {
    /// Current state of the embedder.
    pub fn state(&self) -> EmbedderState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the state of the embedder.
    pub fn set_state(&self, state: EmbedderState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// State of the embedder for people, with the advice for the settings.
    pub fn describe(&self) -> String {
        let words = self.state().describe();
        match &*self.advice.read().unwrap_or_else(PoisonError::into_inner) {
            Some(advice) => format!("{words}; {advice}"),
            None => words,
        }
    }

    /// Sets or clears the advice for the settings.
    pub fn set_advice(&self, advice: Option<String>) {
        *self.advice.write().unwrap_or_else(PoisonError::into_inner) = advice;
    }

    /// Whether the model is being changed: there is a shadow index.
    pub fn is_migrating(&self) -> bool {
        let sides = self.dual_index.as_ref();
        sides.is_some_and(|sides| sides.current_pair().shadow.is_some())
    }

    /// The pipeline of an embedder, under the name that the library knows it by, writing to the index of its vectors.
    fn embedder_pipeline(&self, embedder: Arc<dyn Embedder>, active: Option<&ActiveIndex>) -> IngestPipeline {
        let digest = Some(embedder.fingerprint().digest());
        let active = active.filter(|active| active.spec.embedder == digest);
        let pipeline = match active.and_then(|active| active.known_as.as_deref()) {
            Some(known_as) => self.recipe.build_pipeline_as(embedder, known_as),
            None => self.recipe.build_pipeline(Some(embedder)),
        };
        match &self.dual_index {
            Some(sides) => pipeline.with_index(Arc::new(PinnedIndex {
                side: sides.current_pair().active,
                dual_index: sides.clone(),
            })),
            None => pipeline,
        }
    }

    /// Makes `embedder` answer and embed new documents; the active side's vectors must be its own.
    pub fn activate_side(&self, embedder: Arc<dyn Embedder>, active: &ActiveIndex) {
        *self.embedder.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder.clone());
        self.ingestor
            .set_pipeline(self.embedder_pipeline(embedder.clone(), Some(active)));
        self.fill_slot(embedder);
    }

    /// Sets the embedder and the index of its vectors in one step.
    fn fill_slot(&self, embedder: Arc<dyn Embedder>) {
        let index = match &self.dual_index {
            Some(sides) => {
                let active = sides.current_pair().active;
                active.set_embedder(embedder.clone());
                active.index.clone()
            }
            None => self.index.clone(),
        };
        self.set_state(EmbedderState::Ready(embedder.fingerprint().model.clone()));
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(ActiveEmbedder { embedder, index });
    }

    /// Uses an embedder as far as the stored points allow. With `catch_up`, jobs embed the documents without vectors,
    /// and the library becomes hybrid when all have them.
    pub async fn adopt_embedder(&self, embedder: Arc<dyn Embedder>, catch_up: bool) -> anyhow::Result<()> {
        let _one = self.switching.lock().await;
        *self.embedder.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder.clone());
        let active = ActiveIndex::load_from(self.catalogue.as_ref()).await?;
        let pipeline = self.embedder_pipeline(embedder.clone(), active.as_ref());
        let wanted = pipeline.index_spec();
        let active = active.map(|active| active.spec);
        if self.shared && active.as_ref().is_some_and(|active| *active != wanted) {
            return self.note_mismatch(active.as_ref());
        }
        let empty = self.index.count_points().await? == 0;
        let is_lexical = active.as_ref().is_none_or(|active| active.embedder.is_none());
        if empty || active.as_ref() == Some(&wanted) {
            self.index.prepare_index(&wanted).await?;
            self.ingestor.set_pipeline(pipeline);
            self.activate_embedder(embedder, &wanted).await?;
            if catch_up {
                self.embed_lexical_documents().await?;
            }
            return Ok(());
        }
        if !is_lexical {
            self.ingestor.set_pipeline(self.recipe.build_pipeline(None));
            return self.note_mismatch(active.as_ref());
        }
        if !catch_up {
            self.set_state(EmbedderState::Missing(
                "the documents have no vectors yet; `ragstone index rebuild` makes them, and `ragstone serve` does by itself".into(),
            ));
            return Ok(());
        }
        self.set_state(EmbedderState::CatchingUp);
        let by_it = pipeline.fingerprint().to_owned();
        self.ingestor.set_pipeline(pipeline);
        self.wait_for_jobs(self.live_jobs().await?).await?;
        // Documents that this pipeline published before a restart have their vectors.
        let behind = DocumentFilter {
            not_made_by: Some(by_it),
            ..DocumentFilter::default()
        };
        let jobs = self.requeue_documents(behind).await?;
        tracing::info!(documents = jobs.len(), "documents are being embedded");
        self.wait_for_jobs(jobs).await?;
        self.activate_embedder(embedder, &wanted).await
    }

    /// Queues documents that were ingested without vectors while the library's embedder was unavailable.
    async fn embed_lexical_documents(&self) -> anyhow::Result<()> {
        let lexical = self.recipe.build_pipeline(None).fingerprint().to_owned();
        let went_without = DocumentFilter {
            made_by: Some(lexical),
            ..DocumentFilter::default()
        };
        let jobs = self.requeue_documents(went_without).await?;
        if !jobs.is_empty() {
            tracing::info!(
                documents = jobs.len(),
                "documents that were taken in by words alone are being embedded"
            );
        }
        Ok(())
    }

    /// Records that the library's vectors, or their absence, do not fit the settings.
    fn note_mismatch(&self, active: Option<&IndexSpec>) -> anyhow::Result<()> {
        let has_vectors = active.is_some_and(|active| active.embedder.is_some());
        let why = match has_vectors {
            true => "the library was embedded by another model",
            false => "the library was begun without vectors",
        };
        let remedy = "`ragstone index rebuild` makes them by the model of the settings";
        let state = EmbedderState::Mismatch(format!("{why}; {remedy}"));
        if self.state() != state {
            tracing::warn!("the embedder of the settings {}", state.describe());
            self.set_state(state);
        }
        Ok(())
    }

    /// Whether jobs may run: a process over a shared library publishes nothing without the library's vectors.
    pub fn may_run_jobs(&self) -> bool {
        use EmbedderState::{CatchingUp, Off, Ready};
        !self.shared || matches!(self.state(), Ready(_) | Off | CatchingUp)
    }

    /// Updates the state to what other processes made of a shared library since the last check.
    pub async fn follow_library(&self) -> anyhow::Result<()> {
        let embedder = self.embedder.read().unwrap_or_else(PoisonError::into_inner).clone();
        let wanted = self.recipe.build_pipeline(embedder.clone()).index_spec();
        let active = self.active_spec().await?;
        let fits = active.as_ref() == Some(&wanted);
        match (self.state(), embedder) {
            (EmbedderState::Ready(_), _) if !fits => {
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
                self.note_mismatch(active.as_ref())
            }
            (EmbedderState::Mismatch(_), Some(embedder)) if fits => {
                self.adopt_embedder(embedder, false).await?;
                (self.notify_workers)();
                Ok(())
            }
            (EmbedderState::Mismatch(_), None) if fits => {
                self.set_state(EmbedderState::Off);
                Ok(())
            }
            (EmbedderState::Off, None) if !fits => self.begin_lexical(&wanted, active.as_ref()).await,
            _ => Ok(()),
        }
    }

    /// Gives a shared library without a spec the lexical one; any other spec is a mismatch.
    async fn begin_lexical(&self, wanted: &IndexSpec, active: Option<&IndexSpec>) -> anyhow::Result<()> {
        if active.is_some() {
            return self.note_mismatch(active);
        }
        self.index.prepare_index(wanted).await?;
        self.save_active_spec(wanted).await
    }

    /// Makes new documents wait for an unavailable embedder if the library was embedded by it: without vectors they
    /// would rank last for good. `expected` gives its fingerprint for the length of the stored vectors.
    pub async fn wait_for_embedder(
        &self,
        expected: impl FnOnce(usize) -> Option<EmbedderFingerprint> + Send,
    ) -> anyhow::Result<()> {
        let Some(active) = ActiveIndex::load_from(self.catalogue.as_ref()).await? else {
            return Ok(());
        };
        let expected = active.spec.dimensions.and_then(expected);
        let by_it = |expected: &EmbedderFingerprint| active.spec.embedder == Some(expected.digest());
        if let Some(expected) = expected.filter(by_it) {
            tracing::warn!("new documents wait for the embedder");
            let absent = self.embedder_pipeline(Arc::new(AbsentEmbedder(expected)), Some(&active));
            self.ingestor.set_pipeline(absent);
        }
        Ok(())
    }

    /// Queues a rebuild of every document's points, with the embedder of the settings if available; returns the jobs.
    /// Refused where that would drop vectors that the settings want.
    pub async fn rebuild_index(&self) -> anyhow::Result<Vec<JobId>> {
        let _one = self.switching.lock().await;
        if self.is_migrating() {
            bail!("the embedding model is being changed; hint: `ragstone model migrate --finish` or `--abort` first");
        }
        let embedder = self.embedder.read().unwrap_or_else(PoisonError::into_inner).clone();
        let active = ActiveIndex::load_from(self.catalogue.as_ref()).await?;
        let pipeline = match &embedder {
            Some(embedder) => self.embedder_pipeline(embedder.clone(), active.as_ref()),
            None => self.recipe.build_pipeline(None),
        };
        let wanted = pipeline.index_spec();
        let active = active.map(|active| active.spec);
        let had = active.as_ref().is_some_and(|active| active.embedder.is_some());
        if had && embedder.is_none() && self.state() != EmbedderState::Off {
            bail!(
                "the library has vectors, and their embedder is not there ({}): a rebuild would drop them; hint: \
                 try again once it is there, or set embed.provider = \"none\" to go by words alone",
                self.state().describe()
            );
        }
        if active.as_ref() != Some(&wanted) {
            *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
            for ((document, generation), _) in self.index.list_generations(None).await? {
                self.index.delete_generation(document, generation).await?;
            }
            self.index.prepare_index(&wanted).await?;
        }
        self.ingestor.set_pipeline(pipeline);
        let all = self.requeue_documents(DocumentFilter::default()).await?;
        let jobs = all.into_iter().map(|(_, job)| job).collect();
        match embedder {
            Some(embedder) => self.activate_embedder(embedder, &wanted).await?,
            None => self.save_active_spec(&wanted).await?,
        }
        if self.catalogue.get_setting(RECOVERY_SETTING).await?.as_deref() == Some(RECOVERING_POINTS) {
            // The recovery ends here, because all documents are queued.
            self.catalogue.set_setting(RECOVERY_SETTING, "").await?;
        }
        Ok(jobs)
    }

    /// What the index holds, as JSON for the operator.
    pub async fn index_status(&self) -> anyhow::Result<Value> {
        let active = self.active_spec().await?;
        Ok(json!({
            "points": self.index.count_points().await?,
            "documents": self.list_published_documents(DocumentFilter::default()).await?.len(),
            "spec": active,
            "embedder": self.state().describe(),
        }))
    }

    async fn activate_embedder(&self, embedder: Arc<dyn Embedder>, wanted: &IndexSpec) -> anyhow::Result<()> {
        self.save_active_spec(wanted).await?;
        self.fill_slot(embedder);
        Ok(())
    }

    /// The library's active spec; `None` before it was first set.
    pub async fn active_spec(&self) -> anyhow::Result<Option<IndexSpec>> {
        let active = ActiveIndex::load_from(self.catalogue.as_ref()).await?;
        Ok(active.map(|active| active.spec))
    }

    /// Makes `spec` the active one, for the index in its present place.
    pub async fn save_active_spec(&self, spec: &IndexSpec) -> anyhow::Result<()> {
        let before = ActiveIndex::load_from(self.catalogue.as_ref()).await?;
        let active = ActiveIndex {
            spec: spec.clone(),
            place: before.as_ref().and_then(|before| before.place.clone()),
            known_as: before
                .filter(|before| before.spec == *spec)
                .and_then(|before| before.known_as),
        };
        active.save_to(self.catalogue.as_ref()).await
    }
}

#[cfg(test)]
mod tests;
