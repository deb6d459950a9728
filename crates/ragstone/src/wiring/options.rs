//! Converts the settings to the options of ingestion and of the HTTP interface.

use std::sync::Arc;
use std::time::Duration;

use ragstone_adapters::source::guard::GuardOptions;
use ragstone_core::ingest::IngestSettings;

use super::limits;
use crate::clock::system_time;
use crate::config::Settings;
use crate::http::{AdminKey, FeedbackSettings, HttpSettings, TokenIssuers, TrustedProxies};

/// Generations after which an ending job marks a shared store itself. In a local folder a mark is a small file, so
/// there every job marks, and a killed process leaves no outdated mark.
const MARK_SHARED_EVERY: u64 = 64;

/// Limits, waits and batches of the ingestion of a library.
pub fn ingest_settings(settings: &Settings, library: String) -> IngestSettings {
    let jobs = &settings.jobs;
    IngestSettings {
        max_bytes: settings.parse.max_bytes,
        batch_chunks: jobs.batch_chunks,
        batch_bytes: jobs.batch_bytes,
        max_attempts: jobs.max_attempts,
        max_outage_attempts: jobs.max_outage_attempts,
        retry_base: Duration::from_secs(jobs.retry_base_seconds),
        retry_cap: Duration::from_secs(jobs.retry_cap_seconds),
        lease: Duration::from_secs(jobs.lease_seconds),
        stall: Duration::from_secs(jobs.stall_seconds),
        quarantine: Duration::from_secs(u64::from(settings.data.quarantine_days) * 24 * 60 * 60),
        library,
        mark_every: match settings.shared_stores() {
            Some(_) => MARK_SHARED_EVERY,
            None => 1,
        },
    }
}

/// Which third-party addresses may be fetched. Values that do not parse were refused with the settings.
pub fn guard_options(settings: &Settings) -> GuardOptions {
    let fetch = &settings.fetch;
    GuardOptions {
        allowed_hosts: fetch.allowed_hosts.clone(),
        allowed_ranges: fetch.allowed_ranges.iter().flat_map(|range| range.parse()).collect(),
        ports: fetch.ports.iter().flat_map(|port| port.parse()).collect(),
        max_redirects: fetch.max_redirects,
        max_bytes: fetch.max_bytes,
        connect: Duration::from_secs(fetch.connect_seconds),
        total: Duration::from_secs(fetch.total_seconds),
    }
}

/// Limits and defaults of the HTTP interface. Fails if the admin key or an issuer cannot be used.
pub fn http_settings(settings: &Settings) -> anyhow::Result<HttpSettings> {
    let key = settings
        .access
        .admin_key
        .expose_secret()
        .map(AdminKey::new)
        .transpose()?;
    let issuers = TokenIssuers::new(&settings.access.issuers, &system_time())?.map(Arc::new);
    Ok(HttpSettings {
        admin_key: key,
        issuers,
        allowed_origins: settings.server.cors_origins.clone(),
        // The default "everyone" applies only while there is no key and no issuer; after that an upload has to name its
        // readers.
        default_readers: settings
            .default_readers_given
            .then(|| settings.access.default_readers.iter().cloned().collect()),
        passages: settings.ask.limit,
        heartbeat: Duration::from_secs(settings.server.heartbeat_seconds),
        body_bytes: settings.server.body_bytes,
        json_bytes: settings.server.json_bytes,
        idle_timeout: Duration::from_secs(settings.server.idle_seconds),
        question_bytes: settings.ask.question_bytes,
        limits: limits::limit_settings(settings),
        feedback: FeedbackSettings {
            remember_for: Duration::from_secs(60 * settings.feedback.remember_minutes),
            keep_all: settings.feedback.keep_all,
        },
        max_requests: settings.server.max_requests,
        caller_requests: settings.server.caller_requests,
        list_bytes: settings.server.list_bytes,
        trusted_proxies: Arc::new(trusted_proxies(settings)?),
        ..HttpSettings::default()
    })
}

/// The proxies whose `X-Forwarded-For` is trusted.
pub fn trusted_proxies(settings: &Settings) -> anyhow::Result<TrustedProxies> {
    let wrong = |range: &str| anyhow::anyhow!("server.trusted_proxies: {range:?} is no address and no range");
    TrustedProxies::new(&settings.server.trusted_proxies).map_err(wrong)
}
