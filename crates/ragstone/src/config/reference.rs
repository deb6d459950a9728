//! Secrets by reference: `env:NAME` or `file:PATH`, so that only the place is stored, not the secret.
//!
//! Invariant: the value behind a reference appears in no message and is not stored.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use super::SecretSetting;

/// Largest file that may hold a secret, in bytes.
const MAX_FILE_BYTES: u64 = 64 << 10;

/// The variables that references may name.
#[derive(Debug, Clone, Default)]
pub struct SecretReferences {
    variables: Arc<BTreeMap<String, SecretSetting>>,
}

/// Why a reference could not be resolved.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The text is not a reference; it is not repeated, because it may be the secret itself.
    #[error("a secret is named by env:NAME or file:PATH, never written out")]
    Form,
    /// The environment has no such variable.
    #[error("the environment of this process has no variable {0}")]
    Variable(String),
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {detail}")]
    File {
        /// Path of the file.
        path: String,
        /// Kind of the I/O error.
        detail: String,
    },
    /// The file is empty, longer than 64 KiB or not text.
    #[error("the file {0} holds no secret: it is empty, longer than 64 KiB or no text")]
    Content(String),
}

impl SecretReferences {
    /// Collects the variables of `.env` and of the environment; the environment takes precedence.
    pub(super) fn new(dotenv: &[(String, String)], environment: &[(String, String)]) -> Self {
        let all = dotenv.iter().chain(environment);
        let variables = all.map(|(name, value)| (name.clone(), SecretSetting::new(value.clone())));
        Self {
            variables: Arc::new(variables.collect()),
        }
    }

    /// Resolves a reference now. A file is read each time, so it may be replaced while a server runs.
    pub fn resolve_secret(&self, reference: &str) -> Result<String, ReferenceError> {
        match reference.split_once(':') {
            Some(("env", name)) if !name.is_empty() => {
                let secret = self.variables.get(name).and_then(SecretSetting::expose_secret);
                let secret = secret.map(|secret| secret.trim().to_owned());
                secret.ok_or_else(|| ReferenceError::Variable(name.to_owned()))
            }
            Some(("file", path)) if path.starts_with('/') => read_secret_file(path),
            _ => Err(ReferenceError::Form),
        }
    }
}

fn read_secret_file(path: &str) -> Result<String, ReferenceError> {
    let failed = |error: std::io::Error| ReferenceError::File {
        path: path.to_owned(),
        detail: error.kind().to_string(),
    };
    let (mut bytes, file) = (Vec::new(), std::fs::File::open(path).map_err(failed)?);
    let length = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    match text.trim() {
        "" => Err(ReferenceError::Content(path.to_owned())),
        _ if length as u64 > MAX_FILE_BYTES => Err(ReferenceError::Content(path.to_owned())),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_names_a_variable_or_a_file() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let all = SecretReferences::new(
            &[pair("ONE", "weak"), pair("TWO", "two")],
            &[pair("ONE", "strong"), pair("NONE", "")],
        );
        assert_eq!(all.resolve_secret("env:ONE").unwrap(), "strong");
        assert_eq!(all.resolve_secret("env:TWO").unwrap(), "two");
        for missing in ["env:NONE", "env:THREE"] {
            assert!(matches!(all.resolve_secret(missing), Err(ReferenceError::Variable(_))));
        }
        for wrong in ["ATATT-written-out", "env:", "file:relative", ""] {
            let error = all.resolve_secret(wrong).unwrap_err();
            assert_eq!(error, ReferenceError::Form);
            assert!(wrong.is_empty() || !error.to_string().contains("ATATT"));
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let named = format!("file:{}", file.path().display());
        assert!(matches!(all.resolve_secret(&named), Err(ReferenceError::Content(_))));
        std::fs::write(file.path(), " a-token\n").unwrap();
        assert_eq!(all.resolve_secret(&named).unwrap(), "a-token");
        std::fs::write(file.path(), vec![b'x'; 1 << 17]).unwrap();
        assert!(matches!(all.resolve_secret(&named), Err(ReferenceError::Content(_))));
        assert!(matches!(
            all.resolve_secret("file:/there/is/none"),
            Err(ReferenceError::File { .. })
        ));
        assert!(!format!("{all:?}").contains("strong"));
    }
}
