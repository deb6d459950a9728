//! Files to text: one plain function a format, and the child process that runs them.
//!
//! [`parse_bytes`] does the work in this process. A server calls [`ParserPool`] instead, which has a child
//! process do it under limits, because no `catch_unwind` stops a stack overflow or an endless loop.

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

pub use detect::{Format, detect};
pub use error::{Clock, ParseError, ParseProblem};
pub use isolate::Isolation;
pub use pool::{BYTES_PER_CPU_SECOND, ParserOptions, ParserPool};
pub use pool_parser::{PARSER_FINGERPRINT, PoolParser};
pub use sink::{Gathered, Outline, PageSink};
pub use worker::worker_main;

/// Bounds on one document that hold in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParseLimits {
    /// Bytes of the file.
    pub max_bytes: u64,
    /// Pages of the file.
    pub max_pages: u32,
    /// Bytes of extracted text.
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

/// Parses a file in this process.
///
/// `name` is the file's name; `declared` is the media type its sender gave, a hint only.
pub fn parse_bytes(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<&str>,
    limits: &ParseLimits,
) -> Result<ParsedDocument, ParseError> {
    let mut gathered = Gathered::new(limits.max_text_bytes);
    let (format, outline) = parse_into(bytes, name, declared, limits, &mut gathered)?;
    Ok(gathered.finish(format.media_type(), outline))
}

/// Parses a file in this process and hands out its text page by page.
pub fn parse_into(
    bytes: Vec<u8>,
    name: &str,
    declared: Option<&str>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<(Format, Outline), ParseError> {
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
) -> Result<Format, ParseProblem> {
    if bytes.is_empty() {
        return Err(ParseProblem::Empty);
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(ParseProblem::TooLarge {
            bytes: bytes.len() as u64,
            limit: limits.max_bytes,
        });
    }
    detect(bytes, name, declared)
}

fn parse_format(
    format: Format,
    bytes: Vec<u8>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<Outline, ParseProblem> {
    match format {
        Format::Html => html::parse(&bytes, sink),
        Format::Markdown => markdown::parse(&bytes, sink),
        Format::Text => text::parse(&bytes, sink),
        Format::Csv => csv::parse(&bytes, limits, sink),
        Format::Rtf => rtf::parse(&bytes, limits, sink),
        #[cfg(feature = "pdf")]
        Format::Pdf => pdf::parse(bytes, limits, sink),
        #[cfg(feature = "office")]
        Format::Docx | Format::Pptx | Format::Xlsx | Format::Doc | Format::Ppt | Format::Xls => {
            office::parse(format, bytes, limits, sink)
        }
        #[cfg(feature = "office")]
        Format::Odt | Format::Odp | Format::Ods => odf::parse(format, &bytes, limits, sink),
        #[cfg(feature = "office")]
        Format::Msg => msg::parse(&bytes, limits, sink),
        #[cfg(feature = "epub")]
        Format::Epub => epub::parse(bytes, limits, sink),
        #[cfg(feature = "mail")]
        Format::Mail => mail::parse(&bytes, limits, sink),
        #[allow(unreachable_patterns, reason = "with every feature there is nothing left")]
        _ => Err(ParseProblem::Unsupported {
            media_type: format.media_type().to_owned(),
        }),
    }
}
