//! Errors when a model cannot be provided.

use std::fmt::{Display, Formatter, Result};
use std::path::PathBuf;

/// Why a model cannot be provided, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelFetchError {
    /// The folder given by setting contains no model.
    #[error("the given model folder is not usable: no {}", file.display())]
    Given {
        /// Path of the file that is missing.
        file: PathBuf,
    },
    /// No route provided the model.
    #[error(
        "no weights for {model}: {}; hint: fetch the model ahead on a machine with a network, or put its files into {}",
        FailedRouteList(attempts),
        folder.display()
    )]
    Unavailable {
        /// Name of the model.
        model: String,
        /// Folder where its files are expected.
        folder: PathBuf,
        /// Routes that were tried, in order; empty if nothing may be downloaded.
        attempts: Vec<FailedRoute>,
    },
    /// The folder of models cannot be written.
    #[error("cannot store models in {}: {source}", path.display())]
    Storage {
        /// Path of the folder.
        path: PathBuf,
        /// Error from the operating system.
        source: std::io::Error,
    },
}

/// A route that was tried and failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRoute {
    /// Name of the route.
    pub route: String,
    /// Why the route failed.
    pub reason: String,
}

struct FailedRouteList<'a>(&'a [FailedRoute]);

impl Display for FailedRouteList<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        if self.0.is_empty() {
            return formatter.write_str("not here, and fetching is switched off (offline)");
        }
        for (index, FailedRoute { route, reason }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{route}: {reason}")?;
        }
        Ok(())
    }
}
