//! Pool of parser processes, which are reused between documents and replaced after a failure.
//!
//! Invariant: whatever a document does to its parser, this process gets a [`ParseError`] within the limits, and
//! never holds more than one page besides what the caller keeps.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ragstone_core::document::ParsedDocument;
use ragstone_core::id::TenantId;
use ragstone_core::seam::parser::{PageReceiver, ParseOutput};

use super::ParseLimits;
use super::child::ParserProcess;
use super::error::{ParseClock, ParseError, ParseProblem};
use super::frame::ParserProcessRequest;
use super::isolate::ProcessIsolation;
use super::share::{FairShare, ParserPermit};
use super::sink::DocumentCollector;

/// Bytes of a document for which it gets one more second of processor time: ten times what the slowest format takes for
/// a sound file.
pub const BYTES_PER_CPU_SECOND: u64 = 128 * 1024;

/// How parser processes are started and limited.
#[derive(Debug, Clone)]
pub struct ParserOptions {
    /// Program that calls [`super::worker_main`] when given `args`.
    pub program: PathBuf,
    /// Arguments of that program.
    pub args: Vec<OsString>,
    /// Most processes at work at once, at least 1; one tenant has at most half of them, but always one.
    pub workers: usize,
    /// Most callers that wait for a process; one more is refused with `Busy`.
    pub max_waiting: usize,
    /// Documents after which a process is replaced, at least 1; this frees memory that a format's reader keeps.
    pub documents_per_worker: u32,
    /// Limits on bytes, pages and text.
    pub limits: ParseLimits,
    /// Most processor seconds for one document, however large it is.
    pub cpu_seconds: u64,
    /// Processor seconds for a small document, at least 1; each [`BYTES_PER_CPU_SECOND`] of it add one more.
    pub small_cpu_seconds: u64,
    /// Most elapsed seconds for one document.
    pub wall_seconds: u64,
    /// Address space of one process, in bytes.
    pub memory_bytes: u64,
}

impl ParserOptions {
    /// Creates options with the default limits: 2 processes, 2 to 15 s of processor time, 60 s elapsed, 1 GiB.
    pub fn new(program: impl Into<PathBuf>, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            workers: 2,
            max_waiting: 10_000,
            documents_per_worker: 200,
            limits: ParseLimits::default(),
            cpu_seconds: 15,
            small_cpu_seconds: 2,
            wall_seconds: 60,
            memory_bytes: 1 << 30,
        }
    }

    /// Processor seconds for a document of this many bytes; a small one that needs long was crafted to.
    fn cpu_seconds_for(&self, bytes: u64) -> u64 {
        let grown = self.small_cpu_seconds.max(1) + bytes / BYTES_PER_CPU_SECOND;
        grown.min(self.cpu_seconds.max(1))
    }
}

/// Parses files in child processes.
#[derive(Debug)]
pub struct ParserPool {
    options: ParserOptions,
    idle: Mutex<Vec<ParserProcess>>,
    shares: Arc<FairShare>,
}

impl ParserPool {
    /// Creates a pool that starts its processes when they are first needed.
    pub fn new(options: ParserOptions) -> Self {
        let shares = Arc::new(FairShare::new(options.workers, options.max_waiting));
        Self {
            options,
            idle: Mutex::default(),
            shares,
        }
    }

    /// Parses the file at `path`, named `name`, into memory, for the default tenant.
    ///
    /// `declared` is the media type that its sender gave, a hint only. Dropping the future kills the process at work.
    pub async fn parse_file(
        &self,
        path: &Path,
        name: &str,
        declared: Option<&str>,
    ) -> Result<ParsedDocument, ParseError> {
        let mut gathered = DocumentCollector::new(self.options.limits.max_text_bytes);
        let tenant = TenantId::default();
        let parsed = self.parse_into(&tenant, path, name, declared, &mut gathered).await?;
        Ok(gathered.finish(&parsed.media_type, parsed.outline))
    }

    /// Parses the file at `path` for `tenant` and passes its text to `pages` as it comes; the process waits while a
    /// page is received.
    ///
    /// On an error the pages passed so far are invalid.
    pub async fn parse_into(
        &self,
        tenant: &TenantId,
        path: &Path,
        name: &str,
        declared: Option<&str>,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseError> {
        let parsed = async {
            let bytes = self.check_size(path).await?;
            let request = self.build_request(path, name, declared, bytes)?;
            let _turn = self.acquire_permit(tenant).await?;
            self.run_request(&request, pages).await
        };
        parsed.await.map_err(|problem| problem.in_file(name))
    }

    /// Starts a process, if none is idle, and returns how it is isolated from the network.
    pub async fn probe_isolation(&self) -> Result<ProcessIsolation, ParseProblem> {
        let _turn = self.acquire_permit(&TenantId::default()).await?;
        let child = self.take_process().await?;
        let isolation = child.isolation();
        self.return_process(child);
        Ok(isolation)
    }

    /// Size of the file in bytes; an error if it may not be parsed.
    async fn check_size(&self, path: &Path) -> Result<u64, ParseProblem> {
        let metadata = tokio::fs::metadata(path)
            .await
            .map_err(|error| ParseProblem::Unreadable {
                detail: error.to_string(),
            })?;
        if !metadata.is_file() {
            return Err(ParseProblem::Unreadable {
                detail: "it is not a regular file".to_owned(),
            });
        }
        let limit = self.options.limits.max_bytes;
        match metadata.len() {
            0 => Err(ParseProblem::Empty),
            bytes if bytes > limit => Err(ParseProblem::TooLarge { bytes, limit }),
            bytes => Ok(bytes),
        }
    }

    fn build_request(
        &self,
        path: &Path,
        name: &str,
        declared: Option<&str>,
        bytes: u64,
    ) -> Result<ParserProcessRequest, ParseProblem> {
        // The process has another working directory, so the path must be absolute.
        let path = std::path::absolute(path).map_err(|error| ParseProblem::Unreadable {
            detail: error.to_string(),
        })?;
        Ok(ParserProcessRequest {
            path,
            name: name.to_owned(),
            declared: declared.map(str::to_owned),
            limits: self.options.limits,
            cpu_seconds: self.options.cpu_seconds_for(bytes),
            memory_bytes: self.options.memory_bytes,
        })
    }

    async fn acquire_permit(&self, tenant: &TenantId) -> Result<ParserPermit, ParseProblem> {
        FairShare::acquire_permit(&self.shares, tenant)
            .await
            .map_err(|waiting| ParseProblem::Busy { waiting })
    }

    async fn run_request(
        &self,
        request: &ParserProcessRequest,
        pages: &mut dyn PageReceiver,
    ) -> Result<ParseOutput, ParseProblem> {
        let mut child = self.take_process().await?;
        let limit_seconds = self.options.wall_seconds;
        let parsed = tokio::time::timeout(Duration::from_secs(limit_seconds), child.parse_document(request, pages))
            .await
            .unwrap_or(Err(ParseProblem::TimedOut {
                limit_seconds,
                clock: ParseClock::Wall,
            }));
        if child.is_reusable() && child.documents_served() < self.options.documents_per_worker {
            self.return_process(child);
        }
        parsed
    }

    async fn take_process(&self) -> Result<ParserProcess, ParseProblem> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut child) = idle else {
                return ParserProcess::start(&self.options).await;
            };
            if child.is_alive() {
                return Ok(child);
            }
        }
    }

    fn return_process(&self, child: ParserProcess) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(child);
    }
}
