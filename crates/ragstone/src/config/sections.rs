//! The sections of `default.toml`, typed. What each key means and allows stands there.

use std::net::SocketAddr;
use std::path::PathBuf;

use ragstone_core::access::Reader;
use ragstone_core::split::{KeepSeparator, SplitStrategy};
use serde::Deserialize;

use super::issuer::IssuerSettings;
use super::secret::SecretSetting;
use super::service::KeyHeaderSetting;
use super::shared::ServerRole;

/// `[server]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// What this process does.
    pub role: ServerRole,
    /// Where the API listens.
    #[serde(deserialize_with = "deserialize_address")]
    pub listen: SocketAddr,
    /// Origins whose pages may call the API.
    pub cors_origins: Vec<String>,
    /// Seconds between heartbeats of a stream.
    pub heartbeat_seconds: u64,
    /// Seconds for a graceful end.
    pub shutdown_seconds: u64,
    /// Requests at once.
    pub max_requests: usize,
    /// Requests at once of one caller, and of one address; 0 for half of all.
    pub caller_requests: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Connections at once of one address; 0 for half of all.
    pub address_connections: usize,
    /// Addresses of proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// Bytes of one page of a list.
    pub list_bytes: usize,
    /// Bytes of a form.
    pub body_bytes: u64,
    /// Bytes of a JSON body.
    pub json_bytes: usize,
    /// Bytes of a request's head.
    pub head_bytes: usize,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Seconds for a request's head.
    pub head_seconds: u64,
    /// Seconds of a pause within a body.
    pub idle_seconds: u64,
    /// Seconds in which a client takes nothing.
    pub write_seconds: u64,
}

fn deserialize_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| format!("must be an address and a port such as 127.0.0.1:8080, got {text:?}");
    text.parse().map_err(wrong).map_err(serde::de::Error::custom)
}

/// `[limits]`; 0 is no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// Requests of a caller a minute.
    pub requests_per_minute: u32,
    /// Requests of a tenant a minute.
    pub tenant_requests_per_minute: u32,
    /// Streams of a caller at once.
    pub caller_streams: usize,
    /// Streams at once.
    pub streams: usize,
    /// Tokens of a caller a day.
    pub tokens_per_day: u64,
    /// Tokens of a tenant a day.
    pub tenant_tokens_per_day: u64,
    /// Wrong keys, tokens and tickets of one address a minute.
    pub wrong_proofs_per_minute: u32,
}

/// `[audit]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSection {
    /// The file; empty for none.
    pub file: PathBuf,
    /// Whether questions are told.
    pub query_text: bool,
}

/// `[data]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The data directory.
    pub directory: PathBuf,
    /// Copies of its database that are kept from before upgrades.
    pub upgrade_copies: usize,
    /// Bytes of its disk that are kept for deletes, reads and a restart.
    pub reserve_bytes: u64,
    /// PostgreSQL, in place of the data directory's database.
    pub database_url: SecretSetting,
    /// Certificates to trust with it.
    pub database_ca_file: PathBuf,
    /// Connections of a process to it.
    pub database_connections: usize,
    /// Where blobs are shared.
    pub blobs_url: String,
    /// Days for which blobs that no row explains are kept before they are deleted.
    pub quarantine_days: u32,
}

/// `[access]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSection {
    /// Readers where a sender named none.
    pub default_readers: Vec<Reader>,
    /// The first key.
    pub admin_key: SecretSetting,
    /// Who may vouch for callers with tokens.
    pub issuers: Vec<IssuerSettings>,
}

/// `[parse]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseSection {
    /// Parser processes, 0 for as many as fit.
    pub workers: usize,
    /// Bytes of a file.
    pub max_bytes: u64,
    /// Pages of a file.
    pub max_pages: u32,
    /// Bytes of its text.
    pub max_text_bytes: u64,
    /// Processor seconds a file, at most.
    pub cpu_seconds: u64,
    /// Processor seconds of a small file.
    pub small_cpu_seconds: u64,
    /// Elapsed seconds a file.
    pub wall_seconds: u64,
    /// Address space of a process.
    pub memory_bytes: u64,
    /// Files a process.
    pub files_per_process: u32,
}

/// `[split]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSection {
    /// Characters of a chunk.
    pub chunk_size: usize,
    /// Characters repeated.
    pub chunk_overlap: usize,
    /// Where to cut.
    pub separators: Vec<String>,
    /// What becomes of a separator.
    pub keep_separator: KeepSeparator,
    /// Whether white space goes.
    pub strip: bool,
    /// How Markdown and HTML are split.
    pub structured: SplitStrategy,
}

/// `[ingest]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSection {
    /// Bytes of the embedding cache, 0 for none.
    pub embedding_cache_bytes: u64,
}

/// Who embeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedProvider {
    /// By the model's name.
    Auto,
    /// This process.
    Local,
    /// A service.
    OpenAi,
    /// Nobody.
    None,
}

/// Arithmetic of the local model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionSetting {
    /// As the CPU can.
    Auto,
    /// Single precision.
    F32,
    /// Brain floats.
    Bf16,
}

/// `[embed]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedSection {
    /// Who embeds.
    pub provider: EmbedProvider,
    /// With which model.
    pub model: String,
    /// Another service than `[openai]`.
    pub base_url: String,
    /// Its key.
    pub api_key: SecretSetting,
    /// How the key is sent.
    pub key_header: KeyHeaderSetting,
    /// The version of Azure's API.
    pub api_version: String,
    /// The name of a deployment there.
    pub deployment: String,
    /// Headers of every request.
    pub headers: Vec<SecretSetting>,
    /// Length of a vector, 0 for what the model gives.
    pub dimensions: usize,
    /// Put before questions.
    pub query_prefix: String,
    /// Put before passages.
    pub passage_prefix: String,
    /// Threads for passages.
    pub threads: usize,
    /// Arithmetic.
    pub precision: PrecisionSetting,
    /// Texts a request.
    pub batch_texts: usize,
    /// Tokens of a text, 0 where they are not known.
    pub text_tokens: usize,
    /// Requests at once.
    pub concurrency: usize,
    /// Seconds a request.
    pub timeout_seconds: u64,
    /// Attempts a request.
    pub max_attempts: u32,
}

/// `[sync]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSection {
    /// The share of a source's documents that a sync deletes without a person's word.
    pub max_deleted_share: f64,
}

/// `[model]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The folder of all models; empty for the user's cache.
    pub directory: PathBuf,
    /// A model that is there already.
    pub path: PathBuf,
    /// Fetch nothing.
    pub offline: bool,
    /// The hub.
    pub hub_endpoint: String,
    /// Its token.
    pub hub_token: SecretSetting,
    /// Leave the hub alone.
    pub hub_offline: bool,
    /// The Python with pip.
    pub python: PathBuf,
    /// What is fetched.
    pub manifest: ModelManifest,
}

/// `[model.manifest]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Its name.
    pub name: String,
    /// Its repository on the hub.
    pub repository: String,
    /// The pinned commit.
    pub revision: String,
    /// Its files.
    pub files: Vec<ModelFile>,
    /// The package that carries it.
    pub package: ModelPackage,
}

/// A file of the model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Its path below the model's folder.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// `[model.manifest.package]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPackage {
    /// Its name; empty for none.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The folder inside that holds the model.
    pub folder: String,
}

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatProvider {
    /// By the model's name.
    Auto,
    /// Quotes, no model.
    Extractive,
    /// A service.
    OpenAi,
}

/// `[chat]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatSection {
    /// Who answers.
    pub provider: ChatProvider,
    /// With which model.
    pub model: String,
    /// Another service than `[openai]`.
    pub base_url: String,
    /// Its key.
    pub api_key: SecretSetting,
    /// How the key is sent.
    pub key_header: KeyHeaderSetting,
    /// The version of Azure's API.
    pub api_version: String,
    /// The name of a deployment there.
    pub deployment: String,
    /// Headers of every request.
    pub headers: Vec<SecretSetting>,
    /// Further models that a request may name.
    pub models: Vec<String>,
    /// Tokens the model reads.
    pub context_tokens: usize,
    /// Seconds until the service begins its answer, all attempts and waits together.
    pub first_token_seconds: u64,
    /// Seconds between words.
    pub idle_seconds: u64,
    /// Whether a model's first answer is held until it is known whether it begins with thoughts.
    pub hold_first_answer: bool,
    /// Attempts.
    pub max_attempts: u32,
}

/// `[ask]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskSection {
    /// Passages.
    pub limit: usize,
    /// Bytes of a question.
    pub question_bytes: usize,
    /// Tokens of a prompt.
    pub prompt_tokens: usize,
    /// A file with the prompt's text.
    pub template: PathBuf,
}

/// `[jobs]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsSection {
    /// Documents at once.
    pub workers: usize,
    /// Seconds between looks.
    pub poll_seconds: u64,
    /// Attempts a job.
    pub max_attempts: u32,
    /// Attempts a job while what it needs is away.
    pub max_outage_attempts: u32,
    /// Seconds before the second attempt.
    pub retry_base_seconds: u64,
    /// Longest wait.
    pub retry_cap_seconds: u64,
    /// How long a worker without a sign of life keeps its job.
    pub lease_seconds: u64,
    /// How long an attempt may make no progress.
    pub stall_seconds: u64,
    /// How long jobs that ended are kept.
    pub keep_days: u32,
    /// Chunks a batch.
    pub batch_chunks: usize,
    /// Bytes a batch.
    pub batch_bytes: usize,
    /// Who wakes the workers of shared stores.
    pub redis_url: SecretSetting,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// What is logged.
    pub log: String,
    /// How.
    pub format: LogFormat,
}
