//! Microsoft Office files: text documents, presentations and workbooks, as packages (Office Open XML) and as the older
//! compound files.
//!
//! Slides and sheets are pages. Text that the file hides (hidden runs, slides, sheets) is left out and reported.

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

/// Most bytes that copies and padding may take; the memory limit of the process applies as well.
const MULTIPLIED_BYTES: u64 = 256 << 20;
/// Most bytes of one package member, unpacked.
const PART_BYTES: u64 = 256 << 20;
/// Most bytes of a whole package, unpacked.
const PACKAGE_BYTES: u64 = 512 << 20;
/// Largest ratio of unpacked to packed bytes of a large member; sparse sheets reach a few hundred.
const INFLATE_RATIO: u64 = 500;
/// Most members of a package.
const MEMBERS: usize = 20_000;
/// Depth to which embedded documents are read: one inside of the file is, one inside of that is not.
const EMBEDDED_DEPTH: usize = 1;
/// Markup that makes runs of a text document invisible.
const VANISH: &[u8] = b"w:vanish";
/// Most faults of a file that a warning lists one by one.
const MAX_FAULTS_LISTED: usize = 5;

/// Writes an office file to the sink, page by page if it has slides or sheets.
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

/// Reads the document; also returns the number of its slides or sheets (0 if it has none).
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

/// Decides by the message: the reader's error types differ by format, only their messages are alike.
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
