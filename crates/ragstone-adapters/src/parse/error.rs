//! Why a file could not be parsed: one problem, and the file it happened to.

use ragstone_core::seam::parser::ParseRetry;
use serde::{Deserialize, Serialize};

/// A file that could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ParseError {
    /// Name of the file, as the caller gave it.
    pub file: String,
    /// What is wrong with it.
    pub problem: ParseProblem,
}

impl ParseError {
    /// Stable code for answers and logs.
    pub fn code(&self) -> &'static str {
        self.problem.code()
    }
}

/// What can be wrong with a file, or with the process that reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "problem", rename_all = "snake_case")]
pub enum ParseProblem {
    /// It has no bytes.
    #[error("the file is empty")]
    Empty,
    /// It needs a password.
    #[error("the file is encrypted and needs a password")]
    Encrypted,
    /// Its structure is broken beyond repair.
    #[error("the file is damaged: {detail}")]
    Damaged {
        /// What the format's reader says.
        detail: String,
    },
    /// It was read, and holds no text (a scan, or only white space).
    #[error("no text in any of {pages} page(s): a scan needs optical character recognition first")]
    NoText {
        /// How many pages were looked at; 0 where the format has none.
        pages: u32,
    },
    /// It has more bytes than the limit.
    #[error("the file has {bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Size of the file.
        bytes: u64,
        /// Limit on it.
        limit: u64,
    },
    /// It has more pages than the limit.
    #[error("the file has {pages} pages, more than the limit of {limit}")]
    TooManyPages {
        /// Pages the file says it has.
        pages: u64,
        /// Limit on them.
        limit: u32,
    },
    /// Its text is longer than the limit.
    #[error("the extracted text is longer than the limit of {limit} bytes")]
    TooMuchText {
        /// Limit on the text, in bytes.
        limit: u64,
    },
    /// It is small packed and large unpacked.
    #[error("the file unpacks to more than the limit of {limit} bytes")]
    UnpacksTooLarge {
        /// Limit on the unpacked bytes.
        limit: u64,
    },
    /// Its form costs more than any document needs: nesting, attributes, branches that lead to themselves.
    #[error("the file is built in a way that no document needs: {detail}")]
    TooComplex {
        /// What is out of bounds.
        detail: String,
    },
    /// No parser reads this format.
    #[error("files of type {media_type} are not supported")]
    Unsupported {
        /// What the bytes and the name say it is.
        media_type: String,
    },
    /// It took more time than the limit.
    #[error("parsing was stopped after its limit of {limit_seconds} s {clock}")]
    TimedOut {
        /// Limit that was reached.
        limit_seconds: u64,
        /// Which clock ran out.
        clock: ParseClock,
    },
    /// It took more memory than the limit.
    #[error("parsing needed more memory than the limit of {limit} bytes")]
    OutOfMemory {
        /// Limit on the address space.
        limit: u64,
    },
    /// The parser itself broke down over it.
    #[error("the parser crashed: {detail}")]
    Crashed {
        /// How its process ended.
        detail: String,
    },
    /// The bytes could not be read.
    #[error("the file cannot be read: {detail}")]
    Unreadable {
        /// What the operating system says.
        detail: String,
    },
    /// The parser's process could not be started; the file is not to blame.
    #[error("the parser cannot be started: {detail}")]
    NoWorker {
        /// What the operating system says.
        detail: String,
    },
    /// Whoever was handed the text takes no more of it; the file is not to blame.
    #[error("its text is not taken any further")]
    ReceiverClosed,
    /// More callers are waiting than the limit; the file is not to blame.
    #[error("the parser is busy: {waiting} files are waiting already")]
    Busy {
        /// How many.
        waiting: usize,
    },
}

/// The two clocks that bound parsing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParseClock {
    /// Processor time.
    Cpu,
    /// Time that passed.
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
    /// Stable code for answers and logs.
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

    /// Whether the same file may well succeed later, because the fault is not in it.
    pub fn retry_policy(&self) -> ParseRetry {
        match self {
            Self::NoWorker { .. } | Self::ReceiverClosed | Self::Busy { .. } => ParseRetry::Usual,
            // Processor time is the file's own; elapsed time may have been others'.
            Self::TimedOut {
                clock: ParseClock::Wall,
                ..
            } => ParseRetry::Once,
            _ => ParseRetry::Never,
        }
    }

    /// The error that names `file`.
    pub fn in_file(self, file: &str) -> ParseError {
        ParseError {
            file: file.to_owned(),
            problem: self,
        }
    }

    /// A broken structure, in the words of the format's reader.
    pub(super) fn damaged(detail: impl std::fmt::Display) -> Self {
        Self::Damaged {
            detail: detail.to_string(),
        }
    }
}
