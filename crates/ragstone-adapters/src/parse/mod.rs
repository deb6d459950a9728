//! Parsers from files to text: one plain function per format, and the child process that runs them.
//!
//! [`parse_bytes`] does the work in this process. A server uses [`ParserPool`] instead, which parses in child processes
//! under limits, because no `catch_unwind` stops a stack overflow or an endless loop.

mod archive;
#[cfg(any(feature = "mail", feature = "office"))]
mod attached;
mod blocks;
mod child;
mod complexity;
mod csv;
mod detect;
#[cfg(feature = "epub")]
mod epub;
mod error;
mod frame;
mod hidden;
mod html;
mod isolate;
#[cfg(feature = "mail")]
mod mail;
mod markdown;
#[cfg(feature = "office")]
mod msg;
mod normalise;
#[cfg(feature = "office")]
mod odf;
#[cfg(feature = "office")]
mod office;
#[cfg(feature = "pdf")]
pub mod pdf;
mod pool;
mod pool_parser;
mod rtf;
mod share;
mod sink;
mod table;
mod text;
mod worker;

use ragstone_core::document::ParsedDocument;
use serde::{Deserialize, Serialize};

pub use detect::{FileFormat, detect_format};
pub use error::{ParseClock, ParseError, ParseProblem};
pub use isolate::ProcessIsolation;
pub use pool::{BYTES_PER_CPU_SECOND, ParserOptions, ParserPool};
pub use pool_parser::{PARSER_FINGERPRINT, PoolParser};
pub use sink::{DocumentCollector, DocumentOutline, PageSink};
pub use worker::worker_main;

/// Limits on one document that apply in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseLimits {
    /// Most bytes of the file.
    pub max_bytes: u64,
    /// Most pages of the file.
    pub max_pages: u32,
    /// Most bytes of extracted text.
    pub max_text_bytes: u64,
}

impl Default for ParseLimits {
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_pages: 20_000,
            max_text_bytes: 128 << 20,
        }
    }
}

/// Parses a file in this process, into memory.
///
/// `name` is the file's name; `declared` is the media type its sender gave, a hint only.
pub fn parse_bytes(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<&str>,
    limits: &ParseLimits,
) -> Result<ParsedDocument, ParseError> {
    let mut gathered = DocumentCollector::new(limits.max_text_bytes);
    let (format, outline) = parse_into(bytes, name, declared, limits, &mut gathered)?;
    Ok(gathered.finish(format.media_type(), outline))
}

/// Parses a file in this process and writes its text to a sink, page by page.
pub fn parse_into(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<&str>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<(FileFormat, DocumentOutline), ParseError> {
    let parsed = checked_format(&bytes, name, declared, limits).and_then(|format| {
        let outline = parse_format(format, bytes, limits, sink)?;
        Ok((format, outline))
    });
    parsed.map_err(|problem| problem.in_file(name))
}

fn checked_format(
    bytes: &[u8],
    name: &str,
    declared: Option<&str>,
    limits: &ParseLimits,
) -> Result<FileFormat, ParseProblem> {
    if bytes.is_empty() {
        return Err(ParseProblem::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(ParseProblem::TooLarge {
            bytes: bytes.len() as u64,
            limit: limits.max_bytes,
        });
    }
    detect_format(bytes, name, declared)
}

fn parse_format(
    format: FileFormat,
    bytes: Vec<u8>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    match format {
        FileFormat::Html => html::parse_html(&bytes, sink),
        FileFormat::Markdown => markdown::parse_markdown(&bytes, sink),
        FileFormat::Text => text::parse_text(&bytes, sink),
        FileFormat::Csv => csv::parse_csv(&bytes, limits, sink),
        FileFormat::Rtf => rtf::parse_rtf(&bytes, limits, sink),
        #[cfg(feature = "pdf")]
        FileFormat::Pdf => pdf::parse_pdf(bytes, limits, sink),
        #[cfg(feature = "office")]
        FileFormat::Docx
        | FileFormat::Pptx
        | FileFormat::Xlsx
        | FileFormat::Doc
        | FileFormat::Ppt
        | FileFormat::Xls => office::parse_office(format, bytes, limits, sink),
        #[cfg(feature = "office")]
        FileFormat::Odt | FileFormat::Odp | FileFormat::Ods => odf::parse_odf(format, &bytes, limits, sink),
        #[cfg(feature = "office")]
        FileFormat::Msg => msg::parse_msg(&bytes, limits, sink),
        #[cfg(feature = "epub")]
        FileFormat::Epub => epub::parse_epub(bytes, limits, sink),
        #[cfg(feature = "mail")]
        FileFormat::Mail => mail::parse_mail(&bytes, limits, sink),
        #[allow(unreachable_patterns, reason = "with every feature there is nothing left")]
        _ => Err(ParseProblem::Unsupported {
            media_type: format.media_type().to_owned(),
        }),
    }
}
