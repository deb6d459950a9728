//! Office files of Microsoft's formats: text documents, presentations, workbooks, in their packages and in the
//! older compound files.
//!
//! Slides and sheets are pages. What the file hides (hidden runs, slides, sheets) is left out and told.

mod render;

use std::io::Cursor;

use office_oxide::limits::Limits;
use office_oxide::options::ParseOptions;
use office_oxide::{Document, DocumentFormat, DocumentIR, OfficeError};
use ragstone_core::document::ParseWarning;

use super::ParseLimits;
use super::archive;
use super::blocks::BlockWriter;
use super::detect::FileFormat;
use super::error::ParseProblem;
use super::hidden::HiddenTextKind;
use super::sink::{DocumentOutline, PageSink};

/// What copies and padding may take, in bytes; the process's own limit stands behind it.
const MULTIPLIED_BYTES: u64 = 256 << 20;
/// Bytes of one member of a package, unpacked.
const PART_BYTES: u64 = 256 << 20;
/// Bytes of a whole package, unpacked.
const PACKAGE_BYTES: u64 = 512 << 20;
/// How many times as long as its packed bytes a large member may be; sparse sheets reach a few hundred.
const INFLATE_RATIO: u64 = 500;
/// Members of a package.
const MEMBERS: usize = 20_000;
/// A document in a document is read, one in that one is not.
const EMBEDDED_DEPTH: usize = 1;
/// What makes runs of a text document invisible, as its markup writes it.
const VANISH: &[u8] = b"w:vanish";
/// How many of a file's faults are told one by one.
const MAX_FAULTS_LISTED: usize = 5;

/// Hands out an office file, page by page where it has slides or sheets.
pub(super) fn parse_office(
    format: FileFormat,
    bytes: Vec<u8>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let kind = document_format(format);
    let marked = archive::check_members(&bytes, "word/", VANISH, PACKAGE_BYTES)?;
    let vanishing = kind == DocumentFormat::Docx && marked;
    let copy = vanishing.then(|| bytes.clone());
    let (mut document, slides) = read_document(kind, bytes, limits, false)?;
    let mut blocks = BlockWriter::new(sink, limits);
    if let Some(copy) = copy {
        let (whole, _) = read_document(kind, copy, limits, true)?;
        let unseen = render::count_characters(&whole).saturating_sub(render::count_characters(&document));
        blocks
            .hidden_text()
            .count_characters(HiddenTextKind::Element, None, unseen);
    }
    if slides > u64::from(limits.max_pages) {
        return Err(ParseProblem::TooManyPages {
            pages: slides,
            limit: limits.max_pages,
        });
    }
    let title = document.metadata.title.take();
    let faults = std::mem::take(&mut document.metadata.warnings);
    let cut = document.metadata.text_truncated;
    render::write_document(document, slides, &mut blocks)?;
    let mut outline = blocks.finish(title)?;
    outline.warnings.extend(incomplete_warning(&faults, cut));
    Ok(outline)
}

/// The document as its reader understands it, and its slides or sheets (0: it has none).
fn read_document(
    kind: DocumentFormat,
    bytes: Vec<u8>,
    limits: &ParseLimits,
    hidden: bool,
) -> Result<(DocumentIR, u64), ParseProblem> {
    let mut options = ParseOptions::default();
    options.limits = reader_limits(limits);
    options.include_hidden_text = hidden;
    let document = Document::from_reader_with(Cursor::new(bytes), kind, &options).map_err(convert_error)?;
    let pages = document.as_pptx().map(|deck| deck.slides.len());
    let pages = pages.or_else(|| document.as_xlsx().map(|book| book.worksheets.len()));
    let pages = pages.or_else(|| document.as_ppt().map(|deck| deck.slides.len()));
    let pages = pages.or_else(|| document.as_xls().map(|book| book.sheets.len()));
    Ok((document.to_ir(), pages.unwrap_or(0) as u64))
}

fn reader_limits(limits: &ParseLimits) -> Limits {
    let mut bounds = Limits::default();
    bounds.package_entries = MEMBERS;
    bounds.package_bytes = PACKAGE_BYTES;
    bounds.part_bytes = PART_BYTES;
    bounds.inflate_ratio = INFLATE_RATIO;
    bounds.embedded_depth = EMBEDDED_DEPTH;
    bounds.text_chars = usize::try_from(limits.max_text_bytes).unwrap_or(usize::MAX);
    bounds.memory_bytes = MULTIPLIED_BYTES;
    bounds
}

fn document_format(format: FileFormat) -> DocumentFormat {
    match format {
        FileFormat::Pptx => DocumentFormat::Pptx,
        FileFormat::Xlsx => DocumentFormat::Xlsx,
        FileFormat::Doc => DocumentFormat::Doc,
        FileFormat::Ppt => DocumentFormat::Ppt,
        FileFormat::Xls => DocumentFormat::Xls,
        _ => DocumentFormat::Docx,
    }
}

/// The reader's errors are nested by format, and alike in their words only.
fn convert_error(error: OfficeError) -> ParseProblem {
    let words = error.to_string();
    match error {
        OfficeError::Panic(detail) => ParseProblem::Crashed {
            detail: format!("it panicked: {detail}"),
        },
        _ if words.contains("encrypt") || words.contains("password") => ParseProblem::Encrypted,
        _ if words.contains("limit exceeded") => ParseProblem::UnpacksTooLarge { limit: PACKAGE_BYTES },
        _ => ParseProblem::damaged(words),
    }
}

fn incomplete_warning(faults: &[String], cut: bool) -> Option<ParseWarning> {
    if faults.is_empty() && !cut {
        return None;
    }
    let mut told: Vec<&str> = faults.iter().take(MAX_FAULTS_LISTED).map(String::as_str).collect();
    if cut && told.is_empty() {
        told.push("a limit cut its text");
    }
    Some(ParseWarning {
        code: if cut { "text_incomplete" } else { "file_repaired" }.to_owned(),
        detail: told.join("; "),
        pages: Vec::new(),
    })
}
