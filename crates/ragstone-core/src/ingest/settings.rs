//! Bounds and waits of ingestion, with their defaults.

use std::time::Duration;

/// Bounds of ingestion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngestSettings {
    /// Largest accepted file, in bytes.
    pub max_bytes: u64,
    /// Most chunks embedded and stored at once.
    pub batch_chunks: usize,
    /// Most bytes of text embedded and stored at once.
    pub batch_bytes: usize,
    /// Attempts before a failure that may pass is final.
    pub max_attempts: u32,
    /// Attempts, all of them counted, before a job whose embedder or store is away or busy fails for good. Until then such
    /// an attempt spends nothing.
    pub max_outage_attempts: u32,
    /// Wait before the second attempt; doubled for each further one, with jitter.
    pub retry_base: Duration,
    /// Longest wait between attempts.
    pub retry_cap: Duration,
    /// How long a worker that gives no sign of life keeps its job.
    pub lease: Duration,
    /// How long a job may note no progress before its attempt is given up.
    pub stall: Duration,
    /// How long blobs that no row explains are kept in quarantine.
    pub quarantine: Duration,
    /// Generations after which a job that ends marks by itself how far the library has come, beside what is marked now
    /// and then: two requests to the blob store.
    pub mark_every: u64,
    /// The library's id, which stands in manifests.
    pub library: String,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            max_bytes: 256 * 1024 * 1024,
            batch_chunks: 64,
            batch_bytes: 256 * 1024,
            max_attempts: 5,
            max_outage_attempts: 500,
            retry_base: Duration::from_secs(2),
            retry_cap: Duration::from_secs(300),
            lease: Duration::from_secs(60),
            stall: Duration::from_secs(1_800),
            quarantine: Duration::from_secs(7 * 24 * 60 * 60),
            mark_every: 64,
            library: String::new(),
        }
    }
}
