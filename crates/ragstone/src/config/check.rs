//! Checks of values beyond their types: ranges, addresses and what a section needs.

mod services;

use std::fmt::Display;
use std::ops::RangeInclusive;

use ragstone_core::metric::ragas::RagasMetric;
use ragstone_core::split::{SplitSettings, SplitStrategy};

use super::evaluation::{EvalSection, FeedbackSection};
use super::fetch::is_address_range;
use super::sections::{
    AccessSection, AskSection, ChatSection, DataSection, EmbedProvider, EmbedSection, IngestSection, JobsSection,
    LimitsSection, ModelSection, ParseSection, ServerSection, SplitSection, TelemetrySection,
};
use super::{OpenAiSection, SecretSetting, Settings};

/// Least characters of the admin key.
pub const MIN_ADMIN_KEY: usize = 32;

/// Largest value of `data.quarantine_days`.
const MAX_QUARANTINE_DAYS: u32 = 3_650;
/// Largest value of each rate in `[limits]`, in requests per minute.
const MAX_REQUESTS_PER_MINUTE: u32 = 60_000_000;
/// Largest value of `data.reserve_bytes`: 16 GiB.
const MAX_RESERVE_BYTES: u64 = 16 << 30;
/// Largest value of each token budget in `[limits]`.
const MAX_TOKENS_PER_DAY: u64 = 1_000_000_000_000;

/// Findings: the key of a wrong setting, and what is wrong with it.
#[derive(Debug, Default)]
pub struct SettingsFindings(pub Vec<(&'static str, String)>);

impl SettingsFindings {
    /// Adds a finding if `value` is outside `allowed`.
    pub fn check_range<T: PartialOrd + Display>(&mut self, key: &'static str, value: T, allowed: RangeInclusive<T>) {
        if !allowed.contains(&value) {
            let (low, high) = allowed.into_inner();
            self.add_finding(key, format!("must be {low} to {high}, got {value}"));
        }
    }

    /// Adds a finding if `value` is neither empty nor an http(s) URL.
    pub fn check_url(&mut self, key: &'static str, value: &str) {
        let known = value.starts_with("http://") || value.starts_with("https://");
        if !value.is_empty() && (!known || value.contains(char::is_whitespace)) {
            self.add_finding(key, "must be an http:// or https:// address".into());
        }
    }

    /// Adds a finding if a header is not written as `Name: value`. It shows the position only: a header may be secret.
    fn check_headers(&mut self, key: &'static str, headers: &[SecretSetting]) {
        let wrong =
            |header: &&SecretSetting| super::service::split_header(header.expose_secret().unwrap_or_default()).is_err();
        if let Some(at) = headers.iter().position(|header| wrong(&header)) {
            self.add_finding(key, format!("header {} is not written as \"Name: value\"", at + 1));
        }
    }

    /// Adds a finding for `key`; `detail` follows the key in the message.
    pub fn add_finding(&mut self, key: &'static str, detail: String) {
        self.0.push((key, detail));
    }
}

/// Checks all sections and returns everything that is wrong.
pub fn check_settings(settings: &Settings) -> SettingsFindings {
    let mut found = SettingsFindings::default();
    settings.server.check_values(&mut found);
    settings.limits.check_values(&mut found);
    settings.data.check_values(&mut found);
    settings.access.check_values(&mut found);
    settings.parse.check_values(&mut found);
    settings.split.check_values(&mut found);
    settings.ingest.check_values(&mut found);
    settings.fetch.check_values(&mut found);
    let share = settings.sync.max_deleted_share;
    found.check_range("sync.max_deleted_share", share, 0.0..=1.0);
    settings.openai.check_values(&mut found);
    settings.embed.check_values(&mut found);
    settings.model.check_values(&mut found);
    settings.chat.check_values(&mut found);
    settings.ask.check_values(&mut found);
    settings.eval.check_values(&mut found);
    settings.feedback.check_values(&mut found);
    settings.jobs.check_values(&mut found);
    settings.telemetry.check_values(&mut found);
    services::check_service_keys(settings, &mut found);
    super::shared::check_shared_stores(settings, &mut found);
    found
}

impl ServerSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        let is_origin = |origin: &str| {
            origin.split_once("://").is_some_and(|(scheme, host)| {
                matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('/')
            })
        };
        if let Some(origin) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            found.add_finding(
                "server.cors_origins",
                format!("{origin:?} is not an origin such as https://app.example.com"),
            );
        }
        found.check_range("server.heartbeat_seconds", self.heartbeat_seconds, 1..=300);
        found.check_range("server.shutdown_seconds", self.shutdown_seconds, 1..=600);
        found.check_range("server.max_requests", self.max_requests, 1..=100_000);
        found.check_range("server.caller_requests", self.caller_requests, 0..=100_000);
        found.check_range("server.max_connections", self.max_connections, 1..=1_000_000);
        found.check_range("server.address_connections", self.address_connections, 0..=1_000_000);
        found.check_range("server.list_bytes", self.list_bytes, 65_536..=1 << 30);
        if let Some(range) = self.trusted_proxies.iter().find(|range| !is_address_range(range)) {
            let detail = format!("{range:?} is neither an address nor a range such as 10.0.0.0/8");
            found.add_finding("server.trusted_proxies", detail);
        }
        found.check_range("server.body_bytes", self.body_bytes, 1024..=1 << 40);
        found.check_range("server.json_bytes", self.json_bytes, 1024..=1 << 30);
        found.check_range("server.head_bytes", self.head_bytes, 1024..=1 << 20);
        found.check_range("server.max_headers", self.max_headers, 10..=1000);
        found.check_range("server.head_seconds", self.head_seconds, 1..=600);
        found.check_range("server.idle_seconds", self.idle_seconds, 1..=3600);
        found.check_range("server.write_seconds", self.write_seconds, 1..=3600);
    }
}

impl LimitsSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range(
            "limits.requests_per_minute",
            self.requests_per_minute,
            0..=MAX_REQUESTS_PER_MINUTE,
        );
        found.check_range(
            "limits.tenant_requests_per_minute",
            self.tenant_requests_per_minute,
            0..=MAX_REQUESTS_PER_MINUTE,
        );
        found.check_range("limits.caller_streams", self.caller_streams, 0..=1_000_000);
        found.check_range("limits.streams", self.streams, 0..=1_000_000);
        found.check_range("limits.tokens_per_day", self.tokens_per_day, 0..=MAX_TOKENS_PER_DAY);
        found.check_range(
            "limits.tenant_tokens_per_day",
            self.tenant_tokens_per_day,
            0..=MAX_TOKENS_PER_DAY,
        );
        let (key, rate) = ("limits.wrong_proofs_per_minute", 0..=MAX_REQUESTS_PER_MINUTE);
        found.check_range(key, self.wrong_proofs_per_minute, rate);
    }
}

impl DataSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        if self.directory.as_os_str().is_empty() {
            found.add_finding("data.directory", "must name a folder".into());
        }
        found.check_range("data.upgrade_copies", self.upgrade_copies, 0..=100);
        found.check_range("data.reserve_bytes", self.reserve_bytes, 0..=MAX_RESERVE_BYTES);
        let days = 0..=MAX_QUARANTINE_DAYS;
        found.check_range("data.quarantine_days", self.quarantine_days, days);
    }
}

impl AccessSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        if let Some(key) = self.admin_key.expose_secret() {
            let length = key.chars().count();
            if length < MIN_ADMIN_KEY {
                found.add_finding(
                    "access.admin_key",
                    format!("must have {MIN_ADMIN_KEY} characters or more, got {length}"),
                );
            }
            if !key.chars().all(|c| c.is_ascii_graphic()) {
                found.add_finding("access.admin_key", "must be printable ASCII without spaces".into());
            }
        }
        for detail in super::issuer::check_issuers(&self.issuers) {
            found.add_finding("access.issuers", detail);
        }
    }
}

impl ParseSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range("parse.workers", self.workers, 0..=64);
        found.check_range("parse.max_bytes", self.max_bytes, 1..=4 << 30);
        found.check_range("parse.max_pages", self.max_pages, 1..=1_000_000);
        found.check_range("parse.max_text_bytes", self.max_text_bytes, 1..=1 << 30);
        found.check_range("parse.cpu_seconds", self.cpu_seconds, 2..=3600);
        found.check_range("parse.small_cpu_seconds", self.small_cpu_seconds, 1..=3600);
        found.check_range("parse.wall_seconds", self.wall_seconds, 2..=3600);
        found.check_range(
            "parse.memory_bytes",
            self.memory_bytes,
            128 << 20..=u64::from(u32::MAX) << 12,
        );
        found.check_range("parse.files_per_process", self.files_per_process, 1..=1_000_000);
    }
}

impl SplitSection {
    /// Settings of the recursive splitter.
    pub fn splitter_settings(&self) -> SplitSettings {
        SplitSettings {
            chunk_size: self.chunk_size,
            chunk_overlap: self.chunk_overlap,
            separators: self.separators.clone(),
            keep_separator: self.keep_separator,
            strip: self.strip,
            strategy: SplitStrategy::Recursive,
        }
    }

    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range("split.chunk_size", self.chunk_size, 1..=100_000);
        let strictest = SplitSettings {
            strategy: self.structured,
            ..self.splitter_settings()
        };
        if self.chunk_size > 0
            && let Err(error) = strictest.validate()
        {
            let key = match error {
                ragstone_core::split::SplitSettingsError::Overlap { .. } => "split.chunk_overlap",
                ragstone_core::split::SplitSettingsError::TooManySeparators(_) => "split.separators",
                ragstone_core::split::SplitSettingsError::NoSize => "split.chunk_size",
            };
            found.add_finding(key, error.to_string());
        }
    }
}

impl IngestSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        if self.embedding_cache_bytes != 0 {
            found.check_range(
                "ingest.embedding_cache_bytes",
                self.embedding_cache_bytes,
                1 << 20..=1 << 40,
            );
        }
    }
}

impl OpenAiSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_url("openai.base_url", &self.base_url);
        found.check_headers("openai.headers", &self.headers);
    }
}

impl EmbedSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_url("embed.base_url", &self.base_url);
        found.check_headers("embed.headers", &self.headers);
        if self.model.trim().is_empty() && self.provider != EmbedProvider::None {
            found.add_finding(
                "embed.model",
                "must name a model; provider = \"none\" searches by words alone".into(),
            );
        }
        found.check_range("embed.dimensions", self.dimensions, 0..=16_384);
        found.check_range("embed.threads", self.threads, 0..=256);
        found.check_range("embed.batch_texts", self.batch_texts, 1..=2048);
        if self.text_tokens != 0 {
            found.check_range("embed.text_tokens", self.text_tokens, 16..=1_000_000);
        }
        found.check_range("embed.concurrency", self.concurrency, 1..=256);
        found.check_range("embed.timeout_seconds", self.timeout_seconds, 1..=600);
        found.check_range("embed.max_attempts", self.max_attempts, 1..=20);
    }
}

impl ModelSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_url("model.hub_endpoint", &self.hub_endpoint);
        let is_hash = |hash: &str| hash.len() == 64 && hash.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        if let Some(file) = self.manifest.files.iter().find(|file| !is_hash(&file.sha256)) {
            let detail = format!("{}: sha256 must be 64 lower-case hexadecimal digits", file.path);
            found.add_finding("model.manifest.files", detail);
        }
        let escapes = |path: &str| path.starts_with('/') || path.split('/').any(|part| part == "..");
        if let Some(file) = self.manifest.files.iter().find(|file| escapes(&file.path)) {
            found.add_finding(
                "model.manifest.files",
                format!("{:?} leaves the model's folder", file.path),
            );
        }
        let name = &self.manifest.name;
        if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
            found.add_finding(
                "model.manifest.name",
                format!("must be the name of a folder, got {name:?}"),
            );
        }
    }
}

impl ChatSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_url("chat.base_url", &self.base_url);
        found.check_headers("chat.headers", &self.headers);
        found.check_range("chat.context_tokens", self.context_tokens, 1024..=10_000_000);
        found.check_range("chat.first_token_seconds", self.first_token_seconds, 1..=600);
        found.check_range("chat.idle_seconds", self.idle_seconds, 1..=600);
        found.check_range("chat.max_attempts", self.max_attempts, 1..=20);
        if self.provider == super::sections::ChatProvider::OpenAi && self.model.trim().is_empty() {
            found.add_finding("chat.model", "must name a model of the service".into());
        }
    }
}

impl EvalSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_url("eval.judge_base_url", &self.judge_base_url);
        for name in &self.metrics {
            if RagasMetric::from_name(name).is_none() {
                found.add_finding("eval.metrics", format!("{name:?} is not a metric that a judge knows"));
            }
        }
    }
}

impl FeedbackSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range("feedback.remember_minutes", self.remember_minutes, 0..=43_200);
        found.check_range("feedback.retention_days", self.retention_days, 0..=36_500);
        found.check_range("feedback.max_answers", self.max_answers, 1..=100_000_000);
    }
}

impl AskSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range("ask.limit", self.limit, 1..=ragstone_core::library::MAX_PASSAGES);
        found.check_range(
            "ask.question_bytes",
            self.question_bytes,
            1..=ragstone_core::library::MAX_QUESTION_BYTES,
        );
        found.check_range("ask.prompt_tokens", self.prompt_tokens, 256..=10_000_000);
    }
}

impl JobsSection {
    fn check_values(&self, found: &mut SettingsFindings) {
        found.check_range("jobs.workers", self.workers, 0..=256);
        found.check_range("jobs.poll_seconds", self.poll_seconds, 1..=3600);
        found.check_range("jobs.max_attempts", self.max_attempts, 1..=100);
        found.check_range("jobs.max_outage_attempts", self.max_outage_attempts, 1..=100_000);
        found.check_range("jobs.retry_base_seconds", self.retry_base_seconds, 1..=3600);
        found.check_range("jobs.retry_cap_seconds", self.retry_cap_seconds, 1..=86_400);
        found.check_range("jobs.lease_seconds", self.lease_seconds, 5..=3600);
        found.check_range("jobs.stall_seconds", self.stall_seconds, 60..=86_400);
        found.check_range("jobs.keep_days", self.keep_days, 0..=36_500);
        found.check_range("jobs.batch_chunks", self.batch_chunks, 1..=4096);
        found.check_range("jobs.batch_bytes", self.batch_bytes, 1024..=64 << 20);
    }
}

impl TelemetrySection {
    fn check_values(&self, found: &mut SettingsFindings) {
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log) {
            found.add_finding("telemetry.log", format!("{:?} is not a filter: {error}", self.log));
        }
    }
}
