//! Why a file could not be parsed: the problem, and the name of the file.

use ragstone_core::seam::parser::ParseRetry;
use serde::{Deserialize, Serialize};

/// A file that could not be parsed, and the reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ParseError {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// Reason why the file could not be parsed.
    pub problem: ParseProblem,
}

impl ParseError {
    /// Stable error code for API answers and logs.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

/// What can be wrong with a file, or with the process that parses it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum ParseProblem {
    /// The file has no bytes.
    #[error("the file is empty")]
    Empty,
    /// The file needs a password to be read.
    #[error("the file is encrypted and needs a password")]
    Encrypted,
    /// The structure of the file is broken beyond repair.
    #[error("the file is damaged: {detail}")]
    Damaged {
        /// Message of the format's reader.
        detail: String,
    },
    /// The file was read but has no text (a scan, or only white space).
    #[error("no text in any of {pages} page(s): a scan needs optical character recognition first")]
    NoText {
        /// Number of pages read; 0 if the format has no pages.
        pages: u32,
    },
    /// The file has more bytes than the limit.
    #[error("the file has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the file in bytes.
        bytes: u64,
        /// Largest allowed size in bytes.
        limit: u64,
    },
    /// The file has more pages than the limit.
    #[error("the file has {pages} pages, more than the limit of {limit}")]
    TooManyPages {
        /// Number of pages that the file claims to have.
        pages: u64,
        /// Largest allowed number of pages.
        limit: u32,
    },
    /// The extracted text is longer than the limit.
    #[error("the extracted text is longer than the limit of {limit} bytes")]
    TooMuchText {
        /// Largest allowed length of the text, in bytes.
        limit: u64,
    },
    /// The file is small but unpacks to more than the limit.
    #[error("the file unpacks to more than the limit of {limit} bytes")]
    UnpacksTooLarge {
        /// Largest allowed size of the unpacked content, in bytes.
        limit: u64,
    },
    /// The structure costs more than any document needs: nesting, attributes, or branches that contain themselves.
    #[error("the file is built in a way that no document needs: {detail}")]
    TooComplex {
        /// Which bound the structure exceeds.
        detail: String,
    },
    /// No parser reads this format.
    #[error("files of type {media_type} are not supported")]
    Unsupported {
        /// Media type that the bytes and the name suggest.
        media_type: String,
    },
    /// Parsing took more time than the limit.
    #[error("parsing was stopped after its limit of {limit_seconds} s {clock}")]
    TimedOut {
        /// The limit that was reached, in seconds.
        limit_seconds: u64,
        /// Which clock reached the limit.
        clock: ParseClock,
    },
    /// Parsing needed more memory than the limit.
    #[error("parsing needed more memory than the limit of {limit} bytes")]
    OutOfMemory {
        /// Largest allowed address space in bytes.
        limit: u64,
    },
    /// The parser itself crashed on the file.
    #[error("the parser crashed: {detail}")]
    Crashed {
        /// How the parser process ended.
        detail: String,
    },
    /// The bytes of the file could not be read from storage.
    #[error("the file cannot be read: {detail}")]
    Unreadable {
        /// Error message of the operating system.
        detail: String,
    },
    /// The parser process could not be started; the file is not the cause.
    #[error("the parser cannot be started: {detail}")]
    NoWorker {
        /// Error message of the operating system.
        detail: String,
    },
    /// The receiver of the text stopped accepting it; the file is not the cause.
    #[error("its text is not taken any further")]
    ReceiverClosed,
    /// More callers are waiting than the limit; the file is not the cause.
    #[error("the parser is busy: {waiting} files are waiting already")]
    Busy {
        /// Number of callers that are waiting.
        waiting: usize,
    },
}

/// The two clocks that limit parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseClock {
    /// Processor time of the parser process.
    Cpu,
    /// Elapsed time, as on a wall clock.
    Wall,
}

impl std::fmt::Display for ParseClock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Cpu => "of processor time",
            Self::Wall => "of elapsed time",
        })
    }
}

impl ParseProblem {
    /// Stable error code for API answers and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty_file",
            Self::Encrypted => "encrypted",
            Self::Damaged { .. } => "damaged",
            Self::NoText { .. } => "no_text",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyPages { .. } => "too_many_pages",
            Self::TooMuchText { .. } => "too_much_text",
            Self::UnpacksTooLarge { .. } => "unpacks_too_large",
            Self::TooComplex { .. } => "too_complex",
            Self::Unsupported { .. } => "unsupported_media_type",
            Self::TimedOut { .. } => "parse_timed_out",
            Self::OutOfMemory { .. } => "parse_out_of_memory",
            Self::Crashed { .. } => "parse_crashed",
            Self::Unreadable { .. } => "unreadable",
            Self::NoWorker { .. } => "parser_unavailable",
            Self::ReceiverClosed => "text_not_taken",
            Self::Busy { .. } => "parser_busy",
        }
    }

    /// Whether the same file may succeed on a retry, because the cause is not in the file.
    pub fn retry_policy(&self) -> ParseRetry {
        match self {
            Self::NoWorker { .. } | Self::ReceiverClosed | Self::Busy { .. } => ParseRetry::Usual,
            // Processor time depends only on the file; elapsed time may be due to other load.
            Self::TimedOut {
                clock: ParseClock::Wall,
                ..
            } => ParseRetry::Once,
            _ => ParseRetry::Never,
        }
    }

    /// The error for this problem in the file `file`.
    pub fn in_file(self, file: &str) -> ParseError {
        ParseError {
            file: file.to_owned(),
            problem: self,
        }
    }

    /// A damaged file, with the message of the format's reader.
    pub(super) fn damaged(detail: impl std::fmt::Display) -> Self {
        Self::Damaged {
            detail: detail.to_string(),
        }
    }
}
