//! What goes on beside requests: the embedder's arrival, upkeep, looking after the stores, and how jobs are worked off.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::task::JoinHandle;

use super::workers::job_workers;
use super::{Built, ModelFetch, arrival, disk, ring, routes, upkeep};
use crate::config::Settings;
use crate::jobs::WorkerOptions;

impl Built {
    /// What goes on beside requests and jobs. A command that comes and goes leaves most of it to whoever stays.
    pub(super) async fn background(
        &self,
        settings: &Settings,
        fetch: &ModelFetch,
        operator: &Router,
    ) -> anyhow::Result<Vec<JoinHandle<()>>> {
        let mut background = Vec::new();
        if let Some(directory) = self.stores.home.alone() {
            background.push(routes::listen(&directory.socket(), operator.clone())?);
        }
        if let Some(reserve) = &self.stores.reserve {
            background.push(disk::watch(
                reserve,
                &self.stores.doorbell,
                self.stores.shorten_log.clone(),
            ));
        }
        let in_use = self.migration.settings().await?;
        background.extend(arrival::take_embedder(&self.vectors, &in_use, fetch).await);
        background.extend(self.migration.keep(fetch));
        let stays = matches!(fetch, ModelFetch::Background);
        let is_shared = self.stores.home.is_shared();
        if stays && is_shared {
            if let Err(error) = self.vectors.keep_up().await {
                tracing::warn!("the shared library is not ready: {error:#}");
            }
            background.extend(self.health.watch(self.vectors.clone()).await);
        }
        upkeep::calibrate(&self.library).await;
        if stays && is_shared && settings.server.role.serves() {
            background.push(upkeep::follow(self.library.clone()));
        }
        if stays {
            background.push(upkeep::keep_mark(self.ingestor.clone()));
            background.push(upkeep::remove_abandoned(self.ingestor.clone()));
        }
        if stays && (settings.server.role.works() || !is_shared) {
            let sweep = upkeep::Sweep {
                ingestor: self.ingestor.clone(),
                blobs: self.stores.home.blobs(),
                started: self.started,
                shared: is_shared.then(|| self.stores.catalogue.clone()),
                doorbell: ring(&self.stores.doorbell),
            };
            background.push(sweep.start());
        }
        if stays && (settings.server.role.works() || !is_shared) && settings.jobs.keep_days > 0 {
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
            doorbell: self.stores.doorbell.clone(),
            may_work: Arc::new(move || vectors.may_work()),
            events: self.events.clone(),
            on_idle: upkeep::on_idle(&self.library),
        }
    }
}
