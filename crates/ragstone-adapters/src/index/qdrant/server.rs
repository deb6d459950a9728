//! Requests to the server, with retries, and failures mapped to the errors of the seam.

use std::future::Future;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use qdrant_client::qdrant::{PointsOperationResponse, UpdateStatus};
use qdrant_client::{Qdrant, QdrantError};
use ragstone_core::seam::index::IndexError;
use tonic::Status;

use super::error::{index_error, is_transient, retry_after};
use super::options::QdrantOptions;

/// A client with its options.
pub(super) struct QdrantClient {
    client: Qdrant,
    pub options: QdrantOptions,
}

impl QdrantClient {
    pub fn new(options: QdrantOptions) -> Result<Self, IndexError> {
        Ok(Self {
            client: options.build_client()?,
            options,
        })
    }

    /// The collection's name, as a request needs it.
    pub fn collection_name(&self) -> String {
        self.options.collection.clone()
    }

    /// Sends a read request; `what` names it in errors.
    pub async fn send_read<T, F>(&self, what: &str, request: impl Fn(Qdrant) -> F) -> Result<T, IndexError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.send_request(self.options.read_retries, what, request).await
    }

    /// Changes points, and returns once every search sees the change. All changes here are idempotent, so they are
    /// retried.
    pub async fn send_change<F>(&self, what: &str, request: impl Fn(Qdrant) -> F) -> Result<(), IndexError>
    where
        F: Future<Output = Result<PointsOperationResponse, QdrantError>>,
    {
        let seen = |client| {
            let answer = request(client);
            async move { check_applied(&answer.await?) }
        };
        self.send_write(what, seen).await
    }

    /// Sends a write request. All writes here are idempotent, so they are retried.
    pub async fn send_write<T, F>(&self, what: &str, request: impl Fn(Qdrant) -> F) -> Result<T, IndexError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.send_request(self.options.write_retries, what, request).await
    }

    async fn send_request<T, F>(
        &self,
        retries: usize,
        what: &str,
        request: impl Fn(Qdrant) -> F,
    ) -> Result<T, IndexError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.with_retry(retries, request)
            .await
            .map_err(|error| index_error(what, &error))
    }

    /// Returns the answer or the client's own error, for callers that handle certain errors.
    pub async fn with_retry<T, F>(&self, retries: usize, request: impl Fn(Qdrant) -> F) -> Result<T, QdrantError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        let waits = ExponentialBuilder::default()
            .with_min_delay(self.options.first_wait)
            .with_max_delay(self.options.longest_wait)
            .with_jitter()
            .with_max_times(retries);
        let longest = self.options.longest_wait;
        let adjust = move |error: &QdrantError, wait: Option<Duration>| {
            let asked = retry_after(error).unwrap_or_default().min(longest);
            wait.map(|wait| wait.max(asked))
        };
        let attempt = || request(self.client.clone());
        attempt.retry(waits).when(is_transient).adjust(adjust).await
    }
}

/// Checks that a change was applied: an overloaded server may answer in time without having done so.
fn check_applied(answer: &PointsOperationResponse) -> Result<(), QdrantError> {
    let status = answer
        .result
        .as_ref()
        .map_or(UpdateStatus::UnknownUpdateStatus, |result| result.status());
    match status {
        UpdateStatus::Completed => Ok(()),
        _ => Err(Status::unavailable(format!("the update is {}", status.as_str_name())).into()),
    }
}
