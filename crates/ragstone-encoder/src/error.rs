//! Why a model directory cannot be used.

use std::path::{Path, PathBuf};

/// What is wrong with a model, named so that its owner can put it right.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is missing or unreadable.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file is there, but is not what its name says.
    #[error("{} is not usable: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The model asks for something that would not be run faithfully.
    #[error("{} asks for {setting} = {value}, which is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The setting in it.
        setting: String,
        /// Its value.
        value: String,
    },
    /// The tokenizer refused a text.
    #[error("the tokenizer refused a text: {0}")]
    Tokenizer(String),
}

impl ModelError {
    pub(super) fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(super) fn unsupported(path: &Path, setting: &str, value: impl ToString) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            setting: setting.to_owned(),
            value: value.to_string(),
        }
    }
}

pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    std::fs::read(path).map_err(|source| ModelError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
