//! Limits and defaults of the HTTP API.

use std::sync::Arc;
use std::time::Duration;

use ragstone_core::access::ReaderSet;

use super::auth::AdminKey;
use super::auth::jwt::TokenIssuers;
use super::{FeedbackSettings, LimitSettings, TrustedProxies};

/// Limits and defaults of the HTTP API.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Hash of the admin key of the settings. While there is neither a key nor a token issuer, every caller is the
    /// local operator, and only this machine may call.
    pub admin_key: Option<AdminKey>,
    /// Issuers whose tokens authenticate callers.
    pub issuers: Option<Arc<TokenIssuers>>,
    /// Other origins whose pages may call, such as `https://wiki.example.com`; if empty, CORS is off.
    pub allowed_origins: Vec<String>,
    /// Readers of an upload that names none; empty requires every upload to name some. `None` is the default: everyone
    /// of the tenant while no authentication is required, and nobody after that.
    pub default_readers: Option<ReaderSet>,
    /// Passages of a search or an answer if the request sets no limit.
    pub passages: usize,
    /// Largest multipart body, in bytes; the ingestor limits each file as well.
    pub body_bytes: u64,
    /// Largest JSON body, in bytes.
    pub json_bytes: usize,
    /// Longest question, in bytes.
    pub question_bytes: usize,
    /// Requests in progress at once, including the sending of their bodies; further ones get 503 with `Retry-After`.
    pub max_requests: usize,
    /// The same per caller and per client address; 0 means half of all.
    pub caller_requests: usize,
    /// Maximum bytes of one page of a list; a page that reaches it ends early.
    pub list_bytes: usize,
    /// Proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Time limit to the response head, for routes that stream neither request nor response.
    pub request_timeout: Duration,
    /// Longest pause of a client while it sends a body.
    pub idle_timeout: Duration,
    /// Pause of a stream after which a comment is sent.
    pub heartbeat: Duration,
    /// Interval at which a job's progress is polled for its listeners.
    pub job_poll: Duration,
    /// Limits per caller and per tenant.
    pub limits: LimitSettings,
    /// How long answers can be rated, and which are kept.
    pub feedback: FeedbackSettings,
    /// How long a resumable answer continues without a reader.
    pub resume_for: Duration,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            admin_key: None,
            issuers: None,
            allowed_origins: Vec::new(),
            default_readers: None,
            passages: 5,
            body_bytes: 1024 * 1024 * 1024,
            json_bytes: 16 * 1024 * 1024,
            question_bytes: ragstone_core::library::MAX_QUESTION_BYTES,
            max_requests: 2048,
            caller_requests: 0,
            list_bytes: 8 * 1024 * 1024,
            trusted_proxies: Arc::default(),
            request_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            heartbeat: Duration::from_secs(15),
            job_poll: Duration::from_millis(500),
            limits: LimitSettings::default(),
            feedback: FeedbackSettings::default(),
            resume_for: Duration::from_secs(30),
        }
    }
}
