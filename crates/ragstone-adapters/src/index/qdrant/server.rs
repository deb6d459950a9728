//! Requests to the server: tried again where that may help, and every failure told in the words of the seam.

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

    /// The collection's name, as every request wants it.
    pub fn collection_name(&self) -> String {
        self.options.collection.clone()
    }

    /// Reads; `what` names it in an error.
    pub async fn send_read<T, F>(&self, what: &str, request: impl Fn(Qdrant) -> F) -> Result<T, IndexError>
    where
        F: Future<Output = Result<T, QdrantError>>,
    {
        self.send_request(self.options.read_retries, what, request).await
    }

    /// Changes points, and returns once every search sees it. Every change of ours may be made twice.
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

    /// Writes. Every write of ours may be done twice.
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

    /// The answer with the client's own error, for a caller that knows what to do with it.
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

/// A server that is behind answers in time, and says that it has not done what it was asked.
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
