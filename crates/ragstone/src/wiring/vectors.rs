//! Which embedder the library uses: it may arrive while the process runs, and it may not fit what is stored.
//!
//! Invariant: vectors of two embedders are never mixed. The catalogue's setting `index_spec` names the one that all
//! published points have; a question is embedded only by that one.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context;
use ragstone_core::access::{Principal, Scope};
use ragstone_core::document::{DocumentStatus, Job, JobState};
use ragstone_core::id::{DocumentId, JobId, TenantId};
use ragstone_core::ingest::{Ingestor, Pipeline};
use ragstone_core::library::EmbedderSlot;
use ragstone_core::seam::catalogue::{DocumentFilter, JobFilter, PageRequest};
use ragstone_core::seam::embedder::EmbedderFingerprint;
use ragstone_core::seam::index::IndexSpec;
use ragstone_core::seam::{Catalogue, Embedder, VectorIndex};
use ragstone_core::split::{SplitSettings, SplitStrategy};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::absent::Absent;

/// The catalogue's setting that holds the active spec.
const ACTIVE_SPEC: &str = "index_spec";
/// Rows read at once.
const PAGE: usize = 500;
/// How often it is looked whether jobs have ended.
const LOOK: Duration = Duration::from_millis(200);

/// How the vectors stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VectorState {
    /// Settings want none.
    Off,
    /// The model is on its way.
    Fetching,
    /// There is no model, and why.
    Missing(String),
    /// Documents get their vectors; searched by words until all have them.
    Catching,
    /// The library was embedded by another model.
    Mismatch(String),
    /// In use.
    Ready(String),
}

impl VectorState {
    /// A word or two.
    pub fn words(&self) -> String {
        match self {
            Self::Off => "off".into(),
            Self::Fetching => "fetching".into(),
            Self::Missing(why) => format!("missing: {why}"),
            Self::Catching => "documents are being embedded".into(),
            Self::Mismatch(why) => format!("does not fit: {why}"),
            Self::Ready(model) => model.clone(),
        }
    }
}

/// The embedder's place in a running process.
pub struct Vectors {
    /// The truth.
    pub catalogue: Arc<dyn Catalogue>,
    /// Where points are.
    pub index: Arc<dyn VectorIndex>,
    /// Whose pipeline is switched.
    pub ingestor: Arc<Ingestor>,
    /// The library's embedder.
    pub slot: EmbedderSlot,
    /// How pipelines are made.
    pub recipe: Recipe,
    /// Names the local operator of a tenant.
    pub operator: fn(TenantId) -> Principal,
    /// Wakes the workers.
    pub doorbell: Arc<dyn Fn() + Send + Sync>,
    /// How it stands.
    pub state: RwLock<VectorState>,
    /// What the settings mean, once it is there.
    pub embedder: RwLock<Option<Arc<dyn Embedder>>>,
    /// Whether other processes use the same library: the first one decides which embedder that has.
    pub shared: bool,
    /// One switch at a time.
    pub switching: Mutex<()>,
}

/// What a pipeline is made of, beside its embedder.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// The parser's fingerprint.
    pub parser: String,
    /// How texts are split.
    pub split: SplitSettings,
    /// How Markdown and HTML are.
    pub structured: SplitStrategy,
}

impl Recipe {
    /// A pipeline with this embedder, or none.
    pub fn pipeline(&self, embedder: Option<Arc<dyn Embedder>>) -> Pipeline {
        Pipeline::new(&self.parser, self.split.clone(), self.structured, embedder)
    }
}

impl Vectors {
    /// How it stands.
    pub fn state(&self) -> VectorState {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how it stands.
    pub fn note(&self, state: VectorState) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    /// Takes an embedder into use as far as the stored points allow. With `catch_up`, documents without vectors get
    /// theirs by jobs, and the library turns hybrid when all have them.
    pub async fn adopt(&self, embedder: Arc<dyn Embedder>, catch_up: bool) -> anyhow::Result<()> {
        let _one = self.switching.lock().await;
        *self.embedder.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder.clone());
        let pipeline = self.recipe.pipeline(Some(embedder.clone()));
        let wanted = pipeline.index_spec();
        let active = self.active().await?;
        if self.shared && active.as_ref().is_some_and(|active| *active != wanted) {
            return self.refuse(active.as_ref());
        }
        let empty = self.index.count().await? == 0;
        let is_lexical = active.as_ref().is_none_or(|active| active.embedder.is_none());
        if empty || active.as_ref() == Some(&wanted) {
            self.index.ensure(&wanted).await?;
            self.ingestor.set_pipeline(pipeline);
            return self.use_it(embedder, &wanted).await;
        }
        if !is_lexical {
            self.ingestor.set_pipeline(self.recipe.pipeline(None));
            return self.refuse(active.as_ref());
        }
        if !catch_up {
            self.note(VectorState::Missing(
                "the documents have no vectors yet; `ragstone index rebuild` makes them, and `ragstone serve` does by itself".into(),
            ));
            return Ok(());
        }
        self.note(VectorState::Catching);
        let by_it = pipeline.fingerprint().to_owned();
        self.ingestor.set_pipeline(pipeline);
        self.wait_for(self.live_jobs().await?).await?;
        // What was published by this pipeline before a restart has its vectors.
        let jobs = self.again(Some(by_it)).await?;
        tracing::info!(documents = jobs.len(), "documents are being embedded");
        self.wait_for(jobs).await?;
        self.use_it(embedder, &wanted).await
    }

    /// Notes that the library's vectors, or that it has none, do not fit the settings.
    fn refuse(&self, active: Option<&IndexSpec>) -> anyhow::Result<()> {
        let has_vectors = active.is_some_and(|active| active.embedder.is_some());
        let why = match has_vectors {
            true => "the library was embedded by another model",
            false => "the library was begun without vectors",
        };
        let remedy = "`ragstone index rebuild` makes them by the model of the settings";
        let state = VectorState::Mismatch(format!("{why}; {remedy}"));
        if self.state() != state {
            tracing::warn!("the embedder of the settings {}", state.words());
            self.note(state);
        }
        Ok(())
    }

    /// Whether jobs may be done: a process that shares the library publishes nothing without the library's vectors.
    pub fn may_work(&self) -> bool {
        use VectorState::{Catching, Off, Ready};
        !self.shared || matches!(self.state(), Ready(_) | Off | Catching)
    }

    /// Follows what other processes made of a shared library since the last look.
    pub async fn keep_up(&self) -> anyhow::Result<()> {
        let embedder = self
            .embedder
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let wanted = self.recipe.pipeline(embedder.clone()).index_spec();
        let active = self.active().await?;
        let fits = active.as_ref() == Some(&wanted);
        match (self.state(), embedder) {
            (VectorState::Ready(_), _) if !fits => {
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
                self.refuse(active.as_ref())
            }
            (VectorState::Mismatch(_), Some(embedder)) if fits => {
                self.adopt(embedder, false).await?;
                (self.doorbell)();
                Ok(())
            }
            (VectorState::Mismatch(_), None) if fits => {
                self.note(VectorState::Off);
                Ok(())
            }
            (VectorState::Off, None) if !fits => self.begin_without(&wanted, active.as_ref()).await,
            _ => Ok(()),
        }
    }

    /// A shared library that nobody began has no vectors where the settings want none.
    async fn begin_without(&self, wanted: &IndexSpec, active: Option<&IndexSpec>) -> anyhow::Result<()> {
        if active.is_some() {
            return self.refuse(active);
        }
        self.index.ensure(wanted).await?;
        self.remember(wanted).await
    }

    /// Lets new documents wait for an embedder that is not there, where the library was embedded by it: without vectors
    /// they would stand last among the others for good. `expected` names it by the length of its vectors.
    pub async fn wait_for_embedder(
        &self,
        expected: impl FnOnce(usize) -> Option<EmbedderFingerprint> + Send,
    ) -> anyhow::Result<()> {
        let Some(active) = self.active().await? else {
            return Ok(());
        };
        let expected = active.dimensions.and_then(expected);
        let by_it = |expected: &EmbedderFingerprint| active.embedder == Some(expected.digest());
        if let Some(expected) = expected.filter(by_it) {
            tracing::warn!("new documents wait for the embedder");
            let absent = self.recipe.pipeline(Some(Arc::new(Absent(expected))));
            self.ingestor.set_pipeline(absent);
        }
        Ok(())
    }

    /// Makes every document's points again, with the embedder of the settings if it is there. Gives the jobs.
    pub async fn rebuild(&self) -> anyhow::Result<Vec<JobId>> {
        let _one = self.switching.lock().await;
        let embedder = self
            .embedder
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let pipeline = self.recipe.pipeline(embedder.clone());
        let wanted = pipeline.index_spec();
        if self.active().await?.as_ref() != Some(&wanted) {
            *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
            for ((document, generation), _) in self.index.generations(None).await? {
                self.index.delete(document, generation).await?;
            }
            self.index.ensure(&wanted).await?;
        }
        self.ingestor.set_pipeline(pipeline);
        let jobs = self.again(None).await?.into_iter().map(|(_, job)| job).collect();
        match embedder {
            Some(embedder) => self.use_it(embedder, &wanted).await?,
            None => self.remember(&wanted).await?,
        }
        Ok(jobs)
    }

    /// What the index holds, for a person.
    pub async fn status(&self) -> anyhow::Result<Value> {
        let active = self.active().await?;
        Ok(json!({
            "points": self.index.count().await?,
            "documents": self.documents(None).await?.len(),
            "spec": active,
            "embedder": self.state().words(),
        }))
    }

    async fn use_it(&self, embedder: Arc<dyn Embedder>, wanted: &IndexSpec) -> anyhow::Result<()> {
        self.remember(wanted).await?;
        self.note(VectorState::Ready(embedder.fingerprint().model.clone()));
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(embedder);
        Ok(())
    }

    /// The library's active spec, if anybody began it.
    pub async fn active(&self) -> anyhow::Result<Option<IndexSpec>> {
        let text = self.catalogue.setting(ACTIVE_SPEC).await?;
        text.map(|text| serde_json::from_str(&text).context("the catalogue's index_spec is damaged"))
            .transpose()
    }

    /// Makes a spec the library's.
    pub async fn remember(&self, spec: &IndexSpec) -> anyhow::Result<()> {
        Ok(self
            .catalogue
            .set_setting(ACTIVE_SPEC, &serde_json::to_string(spec)?)
            .await?)
    }

    /// A job of any tenant.
    pub async fn job(&self, job: JobId) -> anyhow::Result<Option<Job>> {
        for scope in self.scopes().await? {
            if let Some(found) = self.catalogue.job(&scope, job).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Queues every tenant's published documents for the current pipeline, but for those that `made_by` made.
    async fn again(&self, made_by: Option<String>) -> anyhow::Result<Vec<(TenantId, JobId)>> {
        let mut jobs = Vec::new();
        for (tenant, document) in self.documents(made_by).await? {
            let principal = (self.operator)(tenant.clone());
            let job = self.ingestor.reingest(&principal, document).await?;
            jobs.extend(job.map(|job| (tenant, job.id)));
            (self.doorbell)();
        }
        Ok(jobs)
    }

    /// Every tenant's published documents, but for those that `made_by` made.
    pub async fn documents(&self, made_by: Option<String>) -> anyhow::Result<Vec<(TenantId, DocumentId)>> {
        let filter = DocumentFilter {
            status: Some(DocumentStatus::Published),
            not_made_by: made_by,
            ..DocumentFilter::default()
        };
        let mut found = Vec::new();
        for scope in self.scopes().await? {
            let mut cursor = None;
            loop {
                let request = PageRequest { cursor, limit: PAGE };
                let page = self.catalogue.documents(&scope, &filter, &request).await?;
                let ids = page.items.iter().map(|document| document.id);
                found.extend(ids.map(|id| (scope.tenant().clone(), id)));
                match page.next_cursor {
                    Some(next) => cursor = Some(next),
                    None => break,
                }
            }
        }
        Ok(found)
    }

    /// Every tenant's jobs that are not final.
    async fn live_jobs(&self) -> anyhow::Result<Vec<(TenantId, JobId)>> {
        let mut found = Vec::new();
        for scope in self.scopes().await? {
            for state in [JobState::Queued, JobState::Running] {
                let jobs = self.jobs(&scope, state).await?;
                found.extend(jobs.into_iter().map(|id| (scope.tenant().clone(), id)));
            }
        }
        Ok(found)
    }

    async fn jobs(&self, scope: &Scope, state: JobState) -> anyhow::Result<Vec<JobId>> {
        let filter = JobFilter {
            state: Some(state),
            ..JobFilter::default()
        };
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let request = PageRequest { cursor, limit: PAGE };
            let page = self.catalogue.jobs(scope, &filter, &request).await?;
            ids.extend(page.items.iter().map(|job| job.id));
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(ids),
            }
        }
    }

    /// The operator's scope in every tenant that has documents.
    async fn scopes(&self) -> anyhow::Result<Vec<Scope>> {
        let tenants = self.catalogue.tenants().await?;
        let scope = |tenant| (self.operator)(tenant).scope();
        Ok(tenants.into_iter().map(scope).collect())
    }

    async fn wait_for(&self, jobs: Vec<(TenantId, JobId)>) -> anyhow::Result<()> {
        for (tenant, job) in jobs {
            let scope = (self.operator)(tenant).scope();
            while self
                .catalogue
                .job(&scope, job)
                .await?
                .is_some_and(|job| !job.state.is_final())
            {
                tokio::time::sleep(LOOK).await;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
