//! Limits and defaults of the HTTP interface.

use std::sync::Arc;
use std::time::Duration;

use ragstone_core::access::ReaderSet;

use super::auth::AdminKey;
use super::auth::jwt::TokenIssuers;
use super::{FeedbackSettings, LimitSettings, TrustedProxies};

/// Limits and defaults of the HTTP interface.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// The first key; while there is neither a key nor an issuer the caller is the local operator, and only from this
    /// machine.
    pub admin_key: Option<AdminKey>,
    /// Who may vouch for callers with tokens.
    pub issuers: Option<Arc<TokenIssuers>>,
    /// Other origins whose pages may call, such as `https://wiki.example.com`; CORS is off while there are none.
    pub allowed_origins: Vec<String>,
    /// Who may read an upload that names nobody; empty asks every upload to name somebody. None: as shipped, which is
    /// everyone of the tenant while there is no key, and nobody once there is one.
    pub default_readers: Option<ReaderSet>,
    /// Passages of a search or an answer that does not say.
    pub passages: usize,
    /// Largest multipart body, in bytes; a single file is also bound by the ingestor.
    pub body_bytes: u64,
    /// Largest JSON body, in bytes.
    pub json_bytes: usize,
    /// Longest question, in bytes.
    pub question_bytes: usize,
    /// Requests that are worked on at once, their answers' bodies included; one more is told to come back.
    pub max_requests: usize,
    /// The same of one caller, and of one address; 0 is half of all.
    pub caller_requests: usize,
    /// Most bytes of one page of a list; it ends early, and the next one goes on from there.
    pub list_bytes: usize,
    /// Proxies whose word on their client's address is taken.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Longest time to the head of an answer, where nothing is streamed in or out.
    pub request_timeout: Duration,
    /// Longest pause of a sender within a body.
    pub idle_timeout: Duration,
    /// Pause of a stream after which a comment is sent.
    pub heartbeat: Duration,
    /// How often a job's progress is looked up for its listeners.
    pub job_poll: Duration,
    /// What one caller and one tenant may use.
    pub limits: LimitSettings,
    /// What becomes of answers beside being sent.
    pub feedback: FeedbackSettings,
    /// How long a resumable answer goes on without a reader.
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
