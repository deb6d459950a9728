//! An answer that the guard admitted, and the limits on reading it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Response, Url};
use tokio::time::{Instant, timeout};

use super::{GuardError, connection_error, host_name, too_slow};
use crate::retry_after::parse_retry_after;

/// An answer whose body is still to be read.
pub struct GuardedResponse {
    /// Final address, after redirects.
    pub url: Url,
    /// HTTP status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub headers: HeaderMap,
    pub(super) response: Response,
    pub(super) limit: usize,
    /// How long reading the body may still wait.
    pub(super) left: Duration,
}

impl GuardedResponse {
    /// Returns the answer if its status is 2xx, otherwise `Status`.
    pub fn ensure_success(self) -> Result<Self, GuardError> {
        match self.status {
            200..=299 => Ok(self),
            status => Err(GuardError::Status {
                host: host_name(&self.url),
                status,
            }),
        }
    }

    /// Media type that the server declared.
    pub fn media_type(&self) -> Option<String> {
        let value = self.headers.get(CONTENT_TYPE)?.to_str().ok()?;
        Some(value.to_owned())
    }

    /// Reads the body, at most `most` bytes and no more than the guard allows.
    pub async fn read_bytes(mut self, most: usize) -> Result<Bytes, GuardError> {
        self.limit = self.limit.min(most);
        let (mut bytes, mut pieces) = (BytesMut::new(), self.into_byte_stream());
        while let Some(piece) = pieces.next().await {
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes.freeze())
    }

    /// Reads the body like [`Self::read_bytes`], even if it is gzip-compressed: the caller unpacks it within limits of
    /// its own.
    pub async fn read_packed_bytes(mut self, most: usize) -> Result<Bytes, GuardError> {
        let is_gzip = |encoding: &HeaderValue| {
            let encoding = encoding.as_bytes();
            encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip")
        };
        if self.headers.get(CONTENT_ENCODING).is_some_and(is_gzip) {
            self.headers.remove(CONTENT_ENCODING);
        }
        self.read_bytes(most).await
    }

    /// `Retry-After` of the answer, if the server sent it.
    pub fn retry_after(&self) -> Option<Duration> {
        parse_retry_after(&self.headers)
    }

    /// Streams the body piece by piece; an error ends the stream.
    pub fn into_byte_stream(self) -> BoxStream<'static, Result<Bytes, GuardError>> {
        let (host, limit) = (host_name(&self.url), self.limit);
        let encoding = self.headers.get(CONTENT_ENCODING);
        // Nothing is decompressed, so no body can be larger than what was sent.
        if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
            let reason = "it sends compressed bytes unasked".to_owned();
            return futures::stream::iter([Err(GuardError::Refused { host, reason })]).boxed();
        }
        let start = (Box::pin(self.response.bytes_stream()), 0_usize, self.left, host);
        let pieces = futures::stream::try_unfold(start, move |(mut parts, read, left, host)| async move {
            // Only waiting for the server counts; the consumer may take its time.
            let begun = Instant::now();
            let part = match timeout(left, parts.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(part)) => part.map_err(|error| connection_error(&host, &error.without_url()))?,
                Err(_) => return Err(too_slow(&host)),
            };
            let (read, left) = (read + part.len(), left.saturating_sub(begun.elapsed()));
            match read > limit {
                true => Err(GuardError::TooLarge { host, limit }),
                false => Ok(Some((part, (parts, read, left, host)))),
            }
        });
        pieces.boxed()
    }
}
