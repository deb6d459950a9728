//! Builds the routers' state: the parts of a built process, in the form that the API uses.
//!
//! Invariant: nothing is opened here.

use std::sync::Arc;

use axum::Router;
use ragstone_core::sync::SourceSyncer;
use tokio_util::task::TaskTracker;

use super::evaluations::{self, EvaluationService};
use super::{BuiltProcess, answer, migration, moving, notify_callback, options, routes, sources};
use crate::clock::{new_id, system_entropy, utc_clock};
use crate::config::Settings;
use crate::http::{self, ApiKeyring, ApiServices, ShutdownSignal};
use crate::operator;
use crate::telemetry::audit::AuditLog;

impl BuiltProcess {
    /// The API as served to the local operator.
    pub(super) fn operator_router(
        &self,
        settings: &Settings,
        parts: &Arc<ApiServices>,
        api: &Router,
    ) -> anyhow::Result<Router> {
        let own = routes::index_router(self.vectors.clone())
            .merge(evaluations::evaluation_router(self.build_evaluation_service(settings)?))
            .merge(moving::transfer_router(self.build_transfer()))
            .merge(migration::migration_router(self.migration.clone()));
        Ok(routes::operator_router(
            api.clone(),
            http::wrap_operator_routes(parts.clone(), own),
        ))
    }

    fn build_evaluation_service(&self, settings: &Settings) -> anyhow::Result<EvaluationService> {
        Ok(EvaluationService {
            store: self.stores.evaluations.clone(),
            catalogue: self.stores.catalogue.clone(),
            library: self.library.clone(),
            vectors: self.vectors.clone(),
            settings: evaluations::describe_retrieval_settings(settings),
            model: answer::chat_model(settings)?.model_description().model,
            prompt: answer::prompt_digest(settings)?,
            clock: utc_clock(),
        })
    }

    fn build_transfer(&self) -> moving::LibraryTransfer {
        let stores = &self.stores;
        moving::LibraryTransfer {
            export_store: stores.export_store.clone(),
            points: stores.points.clone(),
            blobs: stores.blobs.clone(),
            sources: stores.sources.clone(),
            library: self.library.clone(),
            vectors: self.vectors.clone(),
            operator: operator::operator_principal_of,
        }
    }

    fn build_syncer(&self, settings: &Settings) -> SourceSyncer {
        SourceSyncer {
            sources: self.stores.sources.clone(),
            catalogue: self.stores.catalogue.clone(),
            ingestor: self.ingestor.clone(),
            source_opener: sources::SourceFactory::from_settings(settings).into_opener(),
            operator: operator::operator_principal_of,
            notify_workers: notify_callback(&self.stores.notifier),
            clock: utc_clock(),
            new_id: new_id(),
            max_deleted_share: settings.sync.max_deleted_share,
            running_syncs: Default::default(),
        }
    }

    pub(super) fn build_api(&self, settings: &Settings, audit: Option<AuditLog>) -> anyhow::Result<ApiServices> {
        let chat = answer::chat_model(settings)?;
        let (vectors, health) = (self.vectors.clone(), self.health.clone());
        Ok(ApiServices {
            library: self.library.clone(),
            ingestor: self.ingestor.clone(),
            upload_tasks: TaskTracker::new(),
            catalogue: self.stores.catalogue.clone(),
            keys: ApiKeyring::new(self.stores.keys.clone(), system_entropy(), utc_clock()),
            usage: self.stores.usage.clone(),
            syncer: Arc::new(self.build_syncer(settings)),
            idempotency: self.stores.idempotency.clone(),
            feedback: self.stores.feedback.clone(),
            audit,
            answerer: answer::build_answerer(settings, self.library.clone(), chat.clone())?,
            operator: operator::operator_principal,
            notify_workers: notify_callback(&self.stores.notifier),
            job_events: self.events.clone(),
            shutdown: ShutdownSignal::default(),
            readiness: Arc::new(move || health.current_readiness(&vectors, &chat.model_description().model)),
            clock: utc_clock(),
            new_id: new_id(),
            metrics: http::metrics::install_recorder(),
            settings: options::http_settings(settings)?,
        })
    }
}
