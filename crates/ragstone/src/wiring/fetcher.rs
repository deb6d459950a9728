//! Fetches a URL that the command line names, under the same rules as a web source.

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use percent_encoding::percent_decode_str;
use ragstone_adapters::source::guard::{FetchGuard, GuardError};

use super::options;
use crate::config::Settings;

/// Fetches URLs within the limits of `[fetch]`.
pub struct UrlFetcher(FetchGuard);

/// A response whose bytes are still to be read.
pub struct FetchedUrl {
    /// Last path segment of the final URL, or its host.
    pub name: String,
    /// Media type that the server sent.
    pub media_type: Option<String>,
    /// Bytes of the body; an error is a text and ends the stream.
    pub bytes: BoxStream<'static, Result<Bytes, String>>,
}

impl UrlFetcher {
    /// Builds a fetcher from the settings.
    pub fn new(settings: &Settings) -> anyhow::Result<Self> {
        Ok(Self(
            FetchGuard::new(options::guard_options(settings)).context("[fetch]")?,
        ))
    }

    /// Fetches a URL. The error is a text for people, with a hint where a setting decides.
    pub async fn fetch_url(&self, url: &str) -> Result<FetchedUrl, String> {
        let answer = self.0.open_url(url, Default::default()).await.map_err(describe_error)?;
        let answer = answer.ensure_success().map_err(describe_error)?;
        let mut parts = answer.url.path_segments().into_iter().flatten();
        let last = parts.rfind(|part| !part.is_empty());
        let name = last.or(answer.url.host_str()).unwrap_or_default();
        Ok(FetchedUrl {
            name: percent_decode_str(name).decode_utf8_lossy().replace(['/', '\\'], "_"),
            media_type: answer.media_type(),
            bytes: answer
                .into_byte_stream()
                .map(|piece| piece.map_err(describe_error))
                .boxed(),
        })
    }
}

fn describe_error(error: GuardError) -> String {
    match error {
        GuardError::Refused { .. } => {
            format!("{error}; hint: [fetch] in the settings says what may be fetched")
        }
        GuardError::TooLarge { .. } => format!("{error}; hint: fetch.max_bytes"),
        GuardError::Status { .. } | GuardError::Broken { .. } => error.to_string(),
    }
}
