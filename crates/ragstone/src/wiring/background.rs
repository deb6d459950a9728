//! Background tasks of the process: embedder, upkeep, store health, and the options of its workers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

use super::workers::job_workers;
use super::{BuiltProcess, ModelFetch, arrival, disk, notify_callback, routes, upkeep};
use crate::config::Settings;
use crate::jobs::WorkerOptions;

impl BuiltProcess {
    /// Starts the background tasks. A short-lived command leaves most of them to servers.
    pub(super) async fn start_background_tasks(
        &self,
        settings: &Settings,
        fetch: &ModelFetch,
        operator: &Router,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let mut background = Vec::new();
        if let Some(directory) = self.stores.location.local_directory() {
            background.push(routes::serve_socket(&directory.socket_path(), operator.clone())?);
        }
        if let Some(reserve) = &self.stores.reserve {
            background.push(disk::watch_disk(
                reserve,
                &self.stores.notifier,
                self.stores.shorten_log.clone(),
            ));
        }
        let in_use = self.migration.active_settings().await?;
        background.extend(arrival::start_embedder(&self.vectors, &in_use, fetch).await);
        background.extend(self.migration.start_worker(fetch));
        let stays = matches!(fetch, ModelFetch::Background);
        let is_shared = self.stores.location.is_shared();
        if stays && is_shared {
            if let Err(error) = self.vectors.follow_library().await {
                tracing::warn!("the shared library is not ready: {error:#}");
            }
            background.extend(self.health.start_watching(self.vectors.clone()).await);
        }
        upkeep::calibrate_threshold(&self.library).await;
        if stays && is_shared && settings.server.role.serves_api() {
            background.push(upkeep::follow_threshold(self.library.clone()));
        }
        if stays {
            background.push(upkeep::mark_periodically(self.ingestor.clone()));
            background.push(upkeep::remove_abandoned(self.ingestor.clone()));
        }
        if stays && (settings.server.role.runs_jobs() || !is_shared) {
            let sweep = upkeep::SweepTask {
                ingestor: self.ingestor.clone(),
                blobs: self.stores.location.blob_folder(),
                started: self.started,
                shared: is_shared.then(|| self.stores.catalogue.clone()),
                notify_workers: notify_callback(&self.stores.notifier),
            };
            background.push(sweep.start());
        }
        if stays && (settings.server.role.runs_jobs() || !is_shared) && settings.jobs.keep_days > 0 {
            let catalogue = self.stores.catalogue.clone();
            background.push(upkeep::remove_ended_jobs(catalogue, settings.jobs.keep_days));
        }
        Ok(background)
    }

    pub(super) fn worker_options(&self, settings: &Settings) -> WorkerOptions {
        let vectors = self.vectors.clone();
        WorkerOptions {
            workers: job_workers(settings.jobs.workers),
            poll: Duration::from_secs(settings.jobs.poll_seconds),
            notifier: self.stores.notifier.clone(),
            may_work: Arc::new(move || vectors.may_run_jobs()),
            events: self.events.clone(),
            on_idle: upkeep::on_idle(&self.library),
        }
    }
}
