//! Downloads from the model hub: plain HTTPS, one try, every byte counted and hashed while it is written to disk.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::manifest::{ManifestFile, WeightsManifest};
use super::{FetchProgress, ModelHub};

/// Limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Limit for the next bytes of a download to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Downloads every file of the manifest into `folder`.
pub(super) async fn download_files(
    hub: &ModelHub,
    manifest: &WeightsManifest,
    folder: &Path,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> Result<(), String> {
    let client = build_client()?;
    let total = manifest.total_bytes();
    let mut before = 0;
    for file in &manifest.files {
        let url = format!(
            "{}/{}/resolve/{}/{}",
            hub.endpoint, manifest.repository, manifest.revision, file.path
        );
        let mut request = client.get(&url);
        if let Some(token) = &hub.token {
            request = request.bearer_auth(token);
        }
        let report = |done| {
            progress(FetchProgress::Downloading {
                file: &file.path,
                done: before + done,
                total,
            })
        };
        receive_file(request, file, folder, report)
            .await
            .map_err(|reason| format!("{}: {reason}", file.path))?;
        before += file.bytes;
    }
    Ok(())
}

fn build_client() -> Result<reqwest::Client, String> {
    // Fails only if the process has installed a provider before, which is just as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT);
    builder.build().map_err(|error| describe_error(&error))
}

async fn receive_file(
    request: reqwest::RequestBuilder,
    file: &ManifestFile,
    folder: &Path,
    report: impl Fn(u64),
) -> Result<(), String> {
    let response = request.send().await.and_then(reqwest::Response::error_for_status);
    let mut bytes = response
        .map_err(|error| describe_error(&error.without_url()))?
        .bytes_stream();
    let mut out = create_file(&folder.join(&file.path))
        .await
        .map_err(|error| error.to_string())?;
    let (mut hasher, mut done) = (Sha256::new(), 0);
    while let Some(part) = bytes.next().await {
        let part = part.map_err(|error| describe_error(&error.without_url()))?;
        done += part.len() as u64;
        if done > file.bytes {
            return Err(format!("longer than the expected {} bytes", file.bytes));
        }
        hasher.update(&part);
        out.write_all(&part).await.map_err(|error| error.to_string())?;
        report(done);
    }
    // Without it a crash of the machine could leave a renamed folder with empty files.
    out.sync_all().await.map_err(|error| error.to_string())?;
    file.compare_digest(&hasher.finalize())
}

async fn create_file(path: &Path) -> std::io::Result<tokio::fs::File> {
    if let Some(parent) = path.parent() {
        tokio::fs::create_dir_all(parent).await?;
    }
    tokio::fs::File::create(path).await
}

/// An error with all its causes, which reqwest omits from its message.
fn describe_error(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
