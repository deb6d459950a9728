//! Why a model could not be had.

use std::fmt::{Display, Formatter, Result};
use std::path::PathBuf;

/// What stands between this process and the model, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelFetchError {
    /// The folder given by setting holds no model.
    #[error("the given model folder is not usable: no {}", file.display())]
    Given {
        /// The file that is missing.
        file: PathBuf,
    },
    /// No route led to the model.
    #[error(
        "no weights for {model}: {}; hint: fetch the model ahead on a machine with a network, or put its files into {}",
        FailedRouteList(attempts),
        folder.display()
    )]
    Unavailable {
        /// The model's name.
        model: String,
        /// Where its files would be found.
        folder: PathBuf,
        /// What was tried, in order; empty if nothing may be fetched.
        attempts: Vec<FailedRoute>,
    },
    /// The models' folder cannot be written.
    #[error("cannot store models in {}: {source}", path.display())]
    Storage {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// A route that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedRoute {
    /// Which.
    pub route: String,
    /// Why it failed.
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
