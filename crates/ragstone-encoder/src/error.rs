//! Errors of loading and running a model.

use std::path::{Path, PathBuf};

/// Error of a model; it names the file or setting to correct.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file is missing or cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// A file exists but its content is invalid.
    #[error("{} is not usable: {reason}", path.display())]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the content.
        reason: String,
    },
    /// The model requires something that this crate does not implement exactly.
    #[error("{} asks for {setting} = {value}, which is not supported", path.display())]
    Unsupported {
        /// The file with the setting.
        path: PathBuf,
        /// Name of the setting.
        setting: String,
        /// Value of the setting.
        value: String,
    },
    /// The tokenizer refused a text, with its message.
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
