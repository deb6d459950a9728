//! What the routes are given: the parts of a built process, under the names the API knows them by.
//!
//! Invariant: nothing is opened here.

use std::sync::Arc;

use axum::Router;
use ragstone_core::sync::Syncer;
use tokio_util::task::TaskTracker;

use super::evaluations::{self, Evaluations};
use super::{Built, answer, migration, moving, options, ring, routes, sources};
use crate::clock::{clock, entropy, new_id};
use crate::config::Settings;
use crate::http::{self, Api, Keyring, Shutdown};
use crate::operator;
use crate::telemetry::audit::AuditLog;

impl Built {
    /// The API as the local operator has it.
    pub(super) fn operator_router(
        &self,
        settings: &Settings,
        parts: &Arc<Api>,
        api: &Router,
    ) -> anyhow::Result<Router> {
        let own = routes::router(self.vectors.clone())
            .merge(evaluations::router(self.evaluations(settings)?))
            .merge(moving::router(self.moving()))
            .merge(migration::router(self.migration.clone()));
        Ok(routes::operator_router(
            api.clone(),
            http::operators(parts.clone(), own),
        ))
    }

    fn evaluations(&self, settings: &Settings) -> anyhow::Result<Evaluations> {
        Ok(Evaluations {
            store: self.stores.evaluations.clone(),
            catalogue: self.stores.catalogue.clone(),
            library: self.library.clone(),
            vectors: self.vectors.clone(),
            settings: evaluations::settings_that_matter(settings),
            model: answer::chat_model(settings)?.describe().model,
            prompt: answer::prompt_digest(settings)?,
            clock: clock(),
        })
    }

    fn moving(&self) -> moving::Moving {
        let stores = &self.stores;
        moving::Moving {
            portable: stores.portable.clone(),
            points: stores.points.clone(),
            blobs: stores.blobs.clone(),
            sources: stores.sources.clone(),
            library: self.library.clone(),
            vectors: self.vectors.clone(),
            operator: operator::of,
        }
    }

    fn syncer(&self, settings: &Settings) -> Syncer {
        Syncer {
            sources: self.stores.sources.clone(),
            catalogue: self.stores.catalogue.clone(),
            ingestor: self.ingestor.clone(),
            open: sources::Tools::of(settings).opener(),
            operator: operator::of,
            doorbell: ring(&self.stores.doorbell),
            clock: clock(),
            new_id: new_id(),
            max_deleted_share: settings.sync.max_deleted_share,
            at_work: Default::default(),
        }
    }

    pub(super) fn api(&self, settings: &Settings, audit: Option<AuditLog>) -> anyhow::Result<Api> {
        let chat = answer::chat_model(settings)?;
        let (vectors, health) = (self.vectors.clone(), self.health.clone());
        Ok(Api {
            library: self.library.clone(),
            ingestor: self.ingestor.clone(),
            arrivals: TaskTracker::new(),
            catalogue: self.stores.catalogue.clone(),
            keys: Keyring::new(self.stores.keys.clone(), entropy(), clock()),
            usage: self.stores.usage.clone(),
            syncer: Arc::new(self.syncer(settings)),
            idempotency: self.stores.idempotency.clone(),
            feedback: self.stores.feedback.clone(),
            audit,
            answerer: answer::answerer(settings, self.library.clone(), chat.clone())?,
            operator: operator::principal,
            doorbell: ring(&self.stores.doorbell),
            job_events: self.events.clone(),
            shutdown: Shutdown::default(),
            readiness: Arc::new(move || health.readiness(&vectors, &chat.describe().model)),
            clock: clock(),
            new_id: new_id(),
            metrics: http::metrics::recorder(),
            settings: options::http(settings)?,
        })
    }
}
