//! Settings. Precedence, lowest first: `default.toml`, settings file, `.env`, environment, flags; typed and checked.
//!
//! Invariant: this is the only module that reads the environment, and it reads it once.

mod check;
pub mod evaluation;
pub mod fetch;
mod issuer;
mod layers;
mod names;
mod reference;
mod secret;
pub mod sections;
mod service;
mod shared;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::Deserialize;

use evaluation::{EvalSection, FeedbackSection};
use fetch::FetchSection;
pub use issuer::{ClaimPath, IssuerSettings, SignatureAlgorithm, is_loopback, parse_key_url};
pub use layers::{DEFAULTS, SettingsLayers, UnknownNames};
pub use names::SHORT_NAMES;
pub use reference::SecretReferences;
pub use secret::SecretSetting;
use sections::{
    AccessSection, AskSection, AuditSection, ChatProvider, ChatSection, DataSection, EmbedProvider, EmbedSection,
    IngestSection, JobsSection, LimitsSection, ModelSection, ParseSection, ServerSection, SplitSection, SyncSection,
    TelemetrySection,
};
pub use service::{KeyHeaderSetting, ModelService, OpenAiSection};
pub use shared::{BlobLocation, IndexSection, S3Section, SHARED_KEYS, ServerRole, SharedStores};

/// The settings file that is read if it exists.
const SETTINGS_FILE: &str = "ragstone.toml";
/// Keys whose values must appear in no message.
const SECRET_KEYS: [&str; 15] = [
    "access.admin_key",
    "chat.api_key",
    "chat.headers",
    "data.database_url",
    "embed.api_key",
    "embed.headers",
    "eval.judge_api_key",
    "index.qdrant_api_key",
    "jobs.redis_url",
    "model.hub_token",
    "openai.api_key",
    "openai.headers",
    "s3.access_key_id",
    "s3.secret_access_key",
    "s3.session_token",
];

/// All settings, after the checks of each section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Listening, request limits and timeouts.
    pub server: ServerSection,
    /// Rates and budgets of callers and tenants.
    pub limits: LimitsSection,
    /// The audit log of requests.
    pub audit: AuditSection,
    /// The data directory and shared stores.
    pub data: DataSection,
    /// Default readers, admin key and issuers.
    pub access: AccessSection,
    /// Limits of the parser processes.
    pub parse: ParseSection,
    /// How text becomes chunks.
    pub split: SplitSection,
    /// Size of the embedding cache.
    pub ingest: IngestSection,
    /// Limits of fetching third-party addresses.
    pub fetch: FetchSection,
    /// Limits of a sync.
    pub sync: SyncSection,
    /// The default service for models.
    pub openai: OpenAiSection,
    /// The embedding model, local or remote.
    pub embed: EmbedSection,
    /// The local model and where it is fetched from.
    pub model: ModelSection,
    /// The model that answers.
    pub chat: ChatSection,
    /// Defaults and limits of questions.
    pub ask: AskSection,
    /// The judge of evaluations.
    pub eval: EvalSection,
    /// Ratings and how long answers are kept.
    pub feedback: FeedbackSection,
    /// Workers, retries, leases and batches.
    pub jobs: JobsSection,
    /// Qdrant, in place of the embedded index.
    pub index: IndexSection,
    /// Access to the bucket of blobs.
    pub s3: S3Section,
    /// Level and format of the log.
    pub telemetry: TelemetrySection,
    /// The variables that secrets by reference may name.
    #[serde(skip)]
    pub references: SecretReferences,
    /// Whether `access.default_readers` was set explicitly, even to its default.
    #[serde(skip)]
    pub default_readers_given: bool,
    /// Names in the environment that have the prefix of settings but are none.
    #[serde(skip)]
    pub unknown_names: UnknownNames,
    /// Path of the settings file that was read, if any.
    #[serde(skip)]
    pub file: Option<String>,
}

/// One setting that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// Key of the setting, `section.key`.
    pub key: String,
    /// Where the value was given; empty if that is not known.
    pub place: String,
    /// What is wrong, and what is allowed.
    pub detail: String,
}

/// All settings that are wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError(pub Vec<SettingProblem>);

impl SettingsError {
    fn unless_empty(problems: Vec<SettingProblem>) -> Result<(), Self> {
        match problems.is_empty() {
            true => Ok(()),
            false => Err(Self(problems)),
        }
    }
}

impl From<SettingProblem> for SettingsError {
    fn from(problem: SettingProblem) -> Self {
        Self(vec![problem])
    }
}

impl std::error::Error for SettingsError {}

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, SettingProblem { key, place, detail }) in self.0.iter().enumerate() {
            let separator = if n == 0 { "" } else { "\n" };
            match place.is_empty() {
                true => write!(f, "{separator}setting {key}: {detail}")?,
                false => write!(f, "{separator}setting {key} (from {place}): {detail}")?,
            }
        }
        Ok(())
    }
}

/// Settings given on the command line.
#[derive(Debug, Clone, Default)]
pub struct CommandFlags {
    /// Path of another settings file.
    pub config: Option<PathBuf>,
    /// How each flag was written, its key and its value.
    pub values: Vec<(String, String, String)>,
}

impl Settings {
    /// Reads the settings file, `.env` and the environment, and applies `flags` over them.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn load(flags: CommandFlags) -> Result<Self, SettingsError> {
        let environment: Vec<(String, String)> = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let dotenv = read_dotenv(Path::new(".env"))?;
        let named =
            find_variable(&environment, names::CONFIG_FILE).or_else(|| find_variable(&dotenv, names::CONFIG_FILE));
        let file = read_settings_file(flags.config.or(named.map(PathBuf::from)))?;
        let cache = user_cache_folder(&environment);
        let layers = SettingsLayers {
            file,
            dotenv,
            environment,
            flags: flags.values,
        };
        let mut settings = Self::from_layers(&layers)?;
        if settings.model.directory.as_os_str().is_empty() {
            settings.model.directory = cache.join("ragstone").join("models");
        }
        Ok(settings)
    }

    /// Merges `layers`, checks the result and returns all findings at once as the error.
    pub fn from_layers(layers: &SettingsLayers) -> Result<Self, SettingsError> {
        let figment = layers.build_figment()?;
        let mut settings: Self = figment.extract().map_err(|errors| {
            SettingsError(
                errors
                    .into_iter()
                    .map(|error| build_problem(&figment, &error))
                    .collect(),
            )
        })?;
        settings.default_readers_given = find_origin(&figment, "access.default_readers") != layers::BUILT_IN;
        settings.references = SecretReferences::new(&layers.dotenv, &layers.environment);
        settings.unknown_names = layers.unknown_names()?;
        settings.file = layers.file.as_ref().map(|(name, _)| name.clone());
        let found = check::check_settings(&settings);
        let problems = found.0.into_iter().map(|(key, detail)| SettingProblem {
            key: key.into(),
            place: find_origin(&figment, key),
            detail,
        });
        SettingsError::unless_empty(problems.collect()).map(|()| settings)
    }

    /// Whether passages and questions are sent to a service for embedding.
    pub fn embeds_remotely(&self) -> bool {
        match self.embed.provider {
            EmbedProvider::OpenAi => true,
            EmbedProvider::Auto => !self.names_local_model(),
            EmbedProvider::Local | EmbedProvider::None => false,
        }
    }

    /// Whether this process computes embeddings itself.
    pub fn embeds_locally(&self) -> bool {
        match self.embed.provider {
            EmbedProvider::Local => true,
            EmbedProvider::Auto => self.names_local_model(),
            EmbedProvider::OpenAi | EmbedProvider::None => false,
        }
    }

    /// Whether questions and passages are sent to a chat service.
    pub fn chats_remotely(&self) -> bool {
        match self.chat.provider {
            ChatProvider::OpenAi => true,
            ChatProvider::Auto => !matches!(self.chat.model.trim(), "" | "extractive"),
            ChatProvider::Extractive => false,
        }
    }

    /// Whether a model judges evaluations.
    pub fn has_judge(&self) -> bool {
        !self.eval.judge_model.trim().is_empty()
    }

    fn names_local_model(&self) -> bool {
        let name = self.embed.model.as_str();
        name == self.model.manifest.name || name == self.model.manifest.repository || name == "local"
    }
}

fn build_problem(figment: &figment::Figment, error: &figment::Error) -> SettingProblem {
    let key = error.path.join(".");
    let is_secret = SECRET_KEYS.iter().any(|secret| key.starts_with(secret));
    let detail = match is_secret {
        true => "must be text".to_owned(),
        false => error.kind.to_string(),
    };
    SettingProblem {
        place: find_origin(figment, &key),
        key,
        detail,
    }
}

fn find_origin(figment: &figment::Figment, key: &str) -> String {
    figment
        .find_metadata(key)
        .map(|metadata| metadata.name.to_string())
        .unwrap_or_default()
}

fn find_variable(pairs: &[(String, String)], name: &str) -> Option<String> {
    pairs
        .iter()
        .find(|(known, value)| known == name && !value.is_empty())
        .map(|(_, value)| value.clone())
}

fn unreadable_error(path: &Path, detail: impl std::fmt::Display) -> SettingsError {
    SettingsError::from(SettingProblem {
        key: path.display().to_string(),
        place: String::new(),
        detail: format!("cannot be read: {detail}"),
    })
}

fn read_settings_file(named: Option<PathBuf>) -> Result<Option<(String, String)>, SettingsError> {
    let path = named.clone().unwrap_or_else(|| SETTINGS_FILE.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path.display().to_string(), text))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => Ok(None),
        Err(error) => Err(unreadable_error(&path, error)),
    }
}

/// Parses a `.env` file; nothing is put into the process's own environment.
fn read_dotenv(path: &Path) -> Result<Vec<(String, String)>, SettingsError> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(unreadable_error(path, error)),
        Ok(bytes) => {
            let lines = dotenvy::Iter::new(bytes.as_slice());
            // The parser's message quotes the line, which may hold a secret.
            lines
                .map(|line| line.map_err(|_| unreadable_error(path, "a line is not NAME=VALUE")))
                .collect()
        }
    }
}

/// The user's cache folder: `XDG_CACHE_HOME`, else that of the platform, else the temporary folder.
fn user_cache_folder(environment: &[(String, String)]) -> PathBuf {
    let absolute = |name: &str| {
        find_variable(environment, name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| {
            let home = absolute("HOME")?;
            Some(home.join(if cfg!(target_os = "macos") {
                "Library/Caches"
            } else {
                ".cache"
            }))
        })
        .unwrap_or_else(std::env::temp_dir)
}
