//! The typed sections of `default.toml`. That file is the manual: it gives the full meaning and range of each key.

use std::net::SocketAddr;
use std::path::PathBuf;

use ragstone_core::access::Reader;
use ragstone_core::split::{KeepSeparator, SplitStrategy};
use serde::Deserialize;

use super::issuer::IssuerSettings;
use super::secret::SecretSetting;
use super::service::KeyHeaderSetting;
use super::shared::ServerRole;

/// The `[server]` section: listening, request limits and timeouts.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerSection {
    /// Which work this process does: API, background jobs or both.
    pub role: ServerRole,
    /// Address and port on which the API listens.
    #[serde(deserialize_with = "deserialize_address")]
    pub listen: SocketAddr,
    /// Origins whose pages may call the API (CORS); empty switches CORS off.
    pub cors_origins: Vec<String>,
    /// Seconds between the comments that keep a silent stream open, 1 to 300.
    pub heartbeat_seconds: u64,
    /// Seconds that requests, streams and jobs get to end at shutdown, 1 to 600.
    pub shutdown_seconds: u64,
    /// Most concurrent requests of this process, 1 to 100000; further ones are answered 503.
    pub max_requests: usize,
    /// Most concurrent requests of one caller, and of one address, 0 to 100000; 0 means half of `max_requests`.
    pub caller_requests: usize,
    /// Most open connections of this process, 1 to 1000000.
    pub max_connections: usize,
    /// Most open connections of one address (IPv6: one /64), 0 to 1000000; 0 means half of `max_connections`.
    pub address_connections: usize,
    /// Addresses or ranges of reverse proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<String>,
    /// Bytes after which a page of a list ends, 65536 to 1 GiB.
    pub list_bytes: usize,
    /// Largest form with files, in bytes, 1024 to 1 TiB.
    pub body_bytes: u64,
    /// Largest JSON body, in bytes, 1024 to 1 GiB.
    pub json_bytes: usize,
    /// Largest request head, in bytes, 1024 to 1 MiB.
    pub head_bytes: usize,
    /// Most header fields of a request, 10 to 1000.
    pub max_headers: usize,
    /// Seconds for a request's head, and the longest pause between two requests of a connection, 1 to 600.
    pub head_seconds: u64,
    /// Longest pause of a sender within a body, in seconds, 1 to 3600.
    pub idle_seconds: u64,
    /// Seconds after which a client that reads nothing of an answer is disconnected, 1 to 3600.
    pub write_seconds: u64,
}

fn deserialize_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wrong = |_| format!("must be an address and a port such as 127.0.0.1:8080, got {text:?}");
    text.parse().map_err(wrong).map_err(serde::de::Error::custom)
}

/// The `[limits]` section: what callers and tenants may use; 0 means no limit.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsSection {
    /// Requests of one caller per minute, at most 60000000; also the burst size.
    pub requests_per_minute: u32,
    /// Requests of all callers of one tenant per minute, at most 60000000; also the burst size.
    pub tenant_requests_per_minute: u32,
    /// Open streams of one caller, at most 1000000.
    pub caller_streams: usize,
    /// Open streams of all callers, at most 1000000.
    pub streams: usize,
    /// Chat tokens of one caller per UTC day, prompt and answer together, at most 10^12.
    pub tokens_per_day: u64,
    /// Chat tokens of one tenant per UTC day, prompt and answer together, at most 10^12.
    pub tenant_tokens_per_day: u64,
    /// Invalid keys, tokens and tickets of one address per minute, at most 60000000; also the burst size.
    pub wrong_proofs_per_minute: u32,
}

/// The `[audit]` section: the log of who did what to which document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditSection {
    /// Path of the audit log; empty writes none.
    pub file: PathBuf,
    /// Whether audit lines contain the text of searches and questions, up to 1000 characters.
    pub query_text: bool,
}

/// The `[data]` section: the data directory, or the shared stores in its place.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// Path of the data directory; must not be empty.
    pub directory: PathBuf,
    /// Copies of its database kept from before upgrades, 0 to 100; 0 makes none.
    pub upgrade_copies: usize,
    /// Bytes of its disk reserved for deletes, reads and a restart, 0 to 16 GiB; 0 reserves nothing.
    pub reserve_bytes: u64,
    /// URL of PostgreSQL, used in place of the data directory's database; not set means local stores.
    pub database_url: SecretSetting,
    /// PEM file of certificates to trust for PostgreSQL; empty means the machine's.
    pub database_ca_file: PathBuf,
    /// Database connections of this process, 2 to 1000.
    pub database_connections: usize,
    /// Location of shared blobs: `s3://bucket/prefix` or an absolute path; empty means the data directory.
    pub blobs_url: String,
    /// Days for which blobs that no row refers to stay in quarantine before they are deleted, 0 to 3650.
    pub quarantine_days: u32,
}

/// The `[access]` section: default readers, the admin key and issuers of tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSection {
    /// Readers of a document whose sender named none.
    pub default_readers: Vec<Reader>,
    /// First key, at least 32 characters; manages the keys of all tenants.
    pub admin_key: SecretSetting,
    /// Issuers whose tokens (JWT) identify callers, at most 32.
    pub issuers: Vec<IssuerSettings>,
}

/// The `[parse]` section: limits of the parser processes and of each file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParseSection {
    /// Parser processes that run at once, 0 to 64; 0 means two per core, at most 8.
    pub workers: usize,
    /// Largest file, in bytes, 1 to 4 GiB.
    pub max_bytes: u64,
    /// Most pages of a file, 1 to 1000000.
    pub max_pages: u32,
    /// Most bytes of extracted text of a file, 1 to 1 GiB.
    pub max_text_bytes: u64,
    /// Most processor seconds for a file of any size, 2 to 3600.
    pub cpu_seconds: u64,
    /// Processor seconds for a small file, 1 to 3600; larger files get more, up to `cpu_seconds`.
    pub small_cpu_seconds: u64,
    /// Elapsed seconds for one file, 2 to 3600.
    pub wall_seconds: u64,
    /// Address space of one parser process, in bytes, at least 128 MiB.
    pub memory_bytes: u64,
    /// Files after which a parser process is replaced, 1 to 1000000.
    pub files_per_process: u32,
}

/// The `[split]` section: how text becomes chunks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitSection {
    /// Longest chunk, in characters (Unicode code points), 1 to 100000.
    pub chunk_size: usize,
    /// Most characters of a chunk's end that the next one repeats, less than `chunk_size`.
    pub chunk_overlap: usize,
    /// Separators of the recursive splitter, best first; the empty one cuts anywhere.
    pub separators: Vec<String>,
    /// Which chunk keeps a separator: the next, the last or none.
    pub keep_separator: KeepSeparator,
    /// Whether white space around a chunk is removed.
    pub strip: bool,
    /// How Markdown and HTML are split: by structure or recursively.
    pub structured: SplitStrategy,
}

/// The `[ingest]` section: the embedding cache.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestSection {
    /// Largest size of the embedding cache, in bytes, 1 MiB to 1 TiB; 0 switches it off.
    pub embedding_cache_bytes: u64,
}

/// What computes the embeddings of passages and questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EmbedProvider {
    /// Chosen by the model's name: local for the model of `[model]`, a service for any other.
    Auto,
    /// The local model, in this process.
    Local,
    /// A service with an OpenAI-compatible API.
    OpenAi,
    /// No embeddings: search uses words alone.
    None,
}

/// Arithmetic of the local model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionSetting {
    /// `Bf16` where the CPU multiplies it, else `F32`.
    Auto,
    /// 32-bit floating point (single precision).
    F32,
    /// 16-bit brain floating point (bfloat16).
    Bf16,
}

/// The `[embed]` section: the embedding model, local or remote.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedSection {
    /// What computes embeddings, or nothing at all.
    pub provider: EmbedProvider,
    /// Name of the embedding model.
    pub model: String,
    /// URL of the embedding service; empty means that of `[openai]`.
    pub base_url: String,
    /// Key of the embedding service; not set means that of `[openai]`, unless `base_url` is set.
    pub api_key: SecretSetting,
    /// Header that carries the key.
    pub key_header: KeyHeaderSetting,
    /// Azure: value of `api-version` in each request; empty sends none.
    pub api_version: String,
    /// Azure: name of the model's deployment; empty for none.
    pub deployment: String,
    /// Headers of every request, each `Name: value`.
    pub headers: Vec<SecretSetting>,
    /// Length of a vector, at most 16384; 0 means what the model gives.
    pub dimensions: usize,
    /// Text put before every question.
    pub query_prefix: String,
    /// Text put before every passage.
    pub passage_prefix: String,
    /// Local: threads for passages, 0 to 256; 0 means one per core.
    pub threads: usize,
    /// Local: arithmetic of the forward pass.
    pub precision: PrecisionSetting,
    /// Service: most texts in one request, 1 to 2048.
    pub batch_texts: usize,
    /// Service: tokens of a text that the model reads, 16 to 1000000; 0 means unknown.
    pub text_tokens: usize,
    /// Service: concurrent requests, 1 to 256.
    pub concurrency: usize,
    /// Service: seconds for one request, 1 to 600.
    pub timeout_seconds: u64,
    /// Service: attempts for one request, 1 to 20.
    pub max_attempts: u32,
}

/// The `[sync]` section: limits of a sync.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyncSection {
    /// Largest share of a source's documents that a sync deletes without `--allow-deletions`, 0 to 1.
    pub max_deleted_share: f64,
}

/// The `[model]` section: the local embedding model and where it is fetched from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// Folder of all models, or a model itself; empty means the user's cache folder.
    pub directory: PathBuf,
    /// Folder with a sentence-transformers model to use as it is; empty means `manifest` is used.
    pub path: PathBuf,
    /// Whether nothing is fetched from anywhere.
    pub offline: bool,
    /// URL of the model hub.
    pub hub_endpoint: String,
    /// Access token for the hub, if it needs one.
    pub hub_token: SecretSetting,
    /// Whether the hub is never contacted.
    pub hub_offline: bool,
    /// Python whose pip may fetch `manifest.package`; empty switches that off.
    pub python: PathBuf,
    /// The model that is fetched, pinned by its hashes.
    pub manifest: ModelManifest,
}

/// The `[model.manifest]` section: a model whose files are pinned.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelManifest {
    /// Name of the model, and of its folder.
    pub name: String,
    /// Repository on the hub, `owner/name`.
    pub repository: String,
    /// Pinned commit of the repository.
    pub revision: String,
    /// Files of the model; no others are fetched.
    pub files: Vec<ModelFile>,
    /// Python package with the same files.
    pub package: ModelPackage,
}

/// One pinned file of the model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFile {
    /// Path relative to the model's folder.
    pub path: String,
    /// Exact length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// The `[model.manifest.package]` section: a Python package that contains the model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPackage {
    /// Name of the package; empty for none.
    pub name: String,
    /// Exact version of the package.
    pub version: String,
    /// Folder in the package that holds the model.
    pub folder: String,
}

/// What writes the answers to questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatProvider {
    /// Chosen by the model's name: extractive where it is empty or `extractive`, else a service.
    Auto,
    /// Quotes the best sentences, without a model.
    Extractive,
    /// A service with an OpenAI-compatible API.
    OpenAi,
}

/// The `[chat]` section: the model that answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatSection {
    /// What writes answers: quotes or a model.
    pub provider: ChatProvider,
    /// Name of the chat model; may be empty unless `provider` is `openai`.
    pub model: String,
    /// URL of the chat service; empty means that of `[openai]`.
    pub base_url: String,
    /// Key of the chat service; not set means that of `[openai]`, unless `base_url` is set.
    pub api_key: SecretSetting,
    /// Header that carries the key.
    pub key_header: KeyHeaderSetting,
    /// Azure: value of `api-version` in each request; empty sends none.
    pub api_version: String,
    /// Azure: name of the model's deployment; empty for none.
    pub deployment: String,
    /// Headers of every request, each `Name: value`.
    pub headers: Vec<SecretSetting>,
    /// Further models that a request may name.
    pub models: Vec<String>,
    /// Tokens the model can read, prompt and answer together, 1024 to 10000000.
    pub context_tokens: usize,
    /// Seconds until the service begins its answer, all attempts and waits together, 1 to 600.
    pub first_token_seconds: u64,
    /// Longest pause between two pieces of an answer, in seconds, 1 to 600.
    pub idle_seconds: u64,
    /// Whether a model's first answer is held back until it is known whether it begins with unmarked reasoning.
    pub hold_first_answer: bool,
    /// Attempts before the first word of an answer, 1 to 20.
    pub max_attempts: u32,
}

/// The `[ask]` section: defaults and limits of questions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskSection {
    /// Passages where the request does not give a number, 1 to 100.
    pub limit: usize,
    /// Longest question, in bytes, 1 to 32768.
    pub question_bytes: usize,
    /// Most tokens of a prompt, 256 to 10000000.
    pub prompt_tokens: usize,
    /// Path of the prompt template; empty means the built-in one.
    pub template: PathBuf,
}

/// The `[jobs]` section: workers, retries, leases and batches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobsSection {
    /// Documents ingested at once, 0 to 256; 0 means two per core, at most 8.
    pub workers: usize,
    /// Seconds after which a worker checks for jobs without a notification, 1 to 3600.
    pub poll_seconds: u64,
    /// Attempts before a temporary failure is final, 1 to 100.
    pub max_attempts: u32,
    /// Attempts before a job fails because a service, index or disk is unavailable, 1 to 100000.
    pub max_outage_attempts: u32,
    /// Seconds before the second attempt, doubled for each further one, 1 to 3600.
    pub retry_base_seconds: u64,
    /// Longest wait between two attempts, in seconds, 1 to 86400.
    pub retry_cap_seconds: u64,
    /// Seconds without a heartbeat after which a worker loses its job, 5 to 3600.
    pub lease_seconds: u64,
    /// Seconds without progress after which an attempt is given up, 60 to 86400; more than `parse.wall_seconds`.
    pub stall_seconds: u64,
    /// Days for which ended jobs are kept, 0 to 36500; 0 keeps all.
    pub keep_days: u32,
    /// Most chunks that are embedded and stored at once, 1 to 4096.
    pub batch_chunks: usize,
    /// Most bytes of text that are embedded and stored at once, 1024 to 64 MiB.
    pub batch_bytes: usize,
    /// URL of the Redis that notifies the workers of shared stores; not set means PostgreSQL does.
    pub redis_url: SecretSetting,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines of text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// The `[telemetry]` section: logging.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// Level or filter of the log, such as `info,ragstone=debug`.
    pub log: String,
    /// Format of the log lines.
    pub format: LogFormat,
}
