//! Origin of a document on the command line: a file or a URL.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tokio_util::io::ReaderStream;

use super::collect;
use crate::config::Settings;
use crate::wiring::UrlFetcher;

/// Bytes that are read from disk at once.
const READ_BYTES: usize = 256 * 1024;
/// Media type of a file whose type is unknown.
const UNKNOWN: &str = "application/octet-stream";
/// Characters that are percent-encoded in a path segment of a URI (RFC 3986).
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A file or a URL to ingest.
pub enum DocumentOrigin {
    /// A file on this machine.
    File(PathBuf),
    /// A URL to fetch.
    Address {
        /// The URL without its fragment.
        url: String,
        /// Fetches it within the limits of `[fetch]`.
        fetcher: Arc<UrlFetcher>,
    },
}

/// A document's bytes with name and type.
pub struct OpenedDocument {
    /// File name of the document.
    pub name: String,
    /// Media type of the document.
    pub media_type: String,
    /// Address at which people can open it, if there is one.
    pub source_url: Option<String>,
    /// Bytes of the document; an error ends the stream.
    pub bytes: BoxStream<'static, std::io::Result<Bytes>>,
    /// Why the stream ended early, once it did: the HTTP client reports only a broken connection.
    pub broken: Arc<Mutex<Option<String>>>,
}

/// Why a document cannot be opened: a code and a text for people.
pub type OpenFailure = (&'static str, String);

/// Parses the arguments: URLs in their order, then files.
pub fn parse_origins(named: &[String], settings: &Settings) -> anyhow::Result<Vec<DocumentOrigin>> {
    let (addresses, paths): (Vec<_>, Vec<_>) = named.iter().cloned().partition(|name| is_address(name));
    let mut origins = Vec::with_capacity(named.len());
    if !addresses.is_empty() {
        let fetcher = Arc::new(UrlFetcher::new(settings)?);
        origins.extend(addresses.into_iter().map(|address| DocumentOrigin::Address {
            url: address.split('#').next().unwrap_or_default().to_owned(),
            fetcher: fetcher.clone(),
        }));
    }
    origins.extend(collect::collect_files(&paths)?.into_iter().map(DocumentOrigin::File));
    Ok(origins)
}

fn is_address(name: &str) -> bool {
    let begins = |scheme: &str| {
        name.get(..scheme.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(scheme))
    };
    begins("http://") || begins("https://")
}

impl DocumentOrigin {
    /// URI of the document in the library.
    pub fn document_uri(&self) -> anyhow::Result<String> {
        match self {
            Self::File(file) => file_uri(file),
            Self::Address { url, .. } => Ok(url.clone()),
        }
    }

    /// Opens the document for reading.
    pub async fn open_document(&self) -> Result<OpenedDocument, OpenFailure> {
        match self {
            Self::File(file) => open_file(file).await,
            Self::Address { url, fetcher } => open_address(url, fetcher).await,
        }
    }
}

async fn open_file(file: &Path) -> Result<OpenedDocument, OpenFailure> {
    let opened = tokio::fs::File::open(file).await;
    let opened = opened.map_err(|error| ("unreadable", format!("cannot be read: {error}")))?;
    Ok(OpenedDocument {
        name: file.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        media_type: UNKNOWN.to_owned(),
        source_url: None,
        bytes: ReaderStream::with_capacity(opened, READ_BYTES).boxed(),
        broken: Arc::default(),
    })
}

async fn open_address(url: &str, fetcher: &UrlFetcher) -> Result<OpenedDocument, OpenFailure> {
    let fetched = fetcher.fetch_url(url).await.map_err(|error| ("not_fetched", error))?;
    let broken = Arc::<Mutex<Option<String>>>::default();
    let noted = broken.clone();
    let bytes = fetched.bytes.map(move |piece| {
        piece.map_err(|error| {
            *noted.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone());
            std::io::Error::other(error)
        })
    });
    Ok(OpenedDocument {
        name: fetched.name,
        media_type: fetched.media_type.unwrap_or_else(|| UNKNOWN.to_owned()),
        source_url: Some(url.to_owned()),
        bytes: bytes.boxed(),
        broken,
    })
}

/// The URI `file://` with the absolute path, percent-encoded.
fn file_uri(file: &Path) -> anyhow::Result<String> {
    let path = file.canonicalize().or_else(|_| std::path::absolute(file));
    let path = path.with_context(|| format!("cannot name {}", file.display()))?;
    Ok(format!(
        "file://{}",
        percent_encode(path.as_os_str().as_encoded_bytes(), PATH)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_percent_encoded() {
        let check = |path: &str, expected: &str| assert_eq!(file_uri(Path::new(path)).unwrap(), expected);
        check("/none/a b.md", "file:///none/a%20b.md");
        check("/none/100%#?.md", "file:///none/100%25%23%3F.md");
        check("/none/ä.md", "file:///none/%C3%A4.md");
    }

    #[test]
    fn an_address_is_told_from_a_path() {
        let check = |name: &str, expected: bool| assert_eq!(is_address(name), expected, "{name}");
        check("https://x.test/a.pdf", true);
        check("HTTP://x.test", true);
        check("https", false);
        check("http:/x", false);
        check("ftp://x.test/a.pdf", false);
        check("häuser/https://", false);
    }
}
