//! PDF: the engine extracts spans; this module orders them page by page and joins them into lines.
//!
//! Text that pages repeat at their edges (`running`) and text that no reader sees (`hidden`) is left out.
//!
//! Invariant: an encrypted file is refused before any of it is extracted, because the engine would return empty pages
//! without an error.

mod content;
mod heading;
mod hidden;
mod line;
mod off_page;
mod order;
mod page_tree;
mod running;
#[cfg(test)]
mod tests;
mod upright;

use std::collections::HashSet;

use ragstone_core::document::ParseWarning;
use xberg_native_pdf::document::{PdfDocument, ReadingOrder};
use xberg_native_pdf::error::Error as EngineError;

use self::heading::HeadingDetector;
use self::line::PdfLine;
pub use self::order::SpanOrder;
use self::running::PageWindow;
use super::ParseLimits;
use super::error::ParseProblem;
use super::hidden::HiddenTextReport;
use super::sink::{DocumentOutline, PageSink};

/// Reading order that is used for every document.
///
/// On the WARN report, which is one long table, poppler's word order is matched to 0.91 by columns and to 0.23 by rows.
/// But by columns none of its 632 rows stays on one line, by rows all do, and questions about a table ask for its rows
/// (`docs/decisions/0003-tables-by-rows.md`).
const ORDER: SpanOrder = SpanOrder::AutomaticTablesByRows;
/// When a file is opened again. The engine keeps what it has read of a file until the opened document is dropped; the
/// bytes are handed on to the new one. Each opening costs a walk over all pages.
struct ReopenPolicy {
    /// Fewest pages between two openings.
    pages: u32,
    /// Estimated bytes that the engine must keep of these pages before the file is opened again.
    bytes: usize,
}

/// Policy in use: 256 pages of a book are about this many bytes.
const REOPENING: ReopenPolicy = ReopenPolicy {
    pages: 256,
    bytes: 48 << 20,
};
/// Most times that a file is opened.
const MOST_OPENINGS: u32 = 32;
/// Estimated bytes that the engine keeps per page, besides the page's share of the file, and per span.
const PAGE_BYTES: usize = 4 << 10;
const SPAN_BYTES: usize = 400;

/// Writes the text of a PDF to the sink page by page; the reading order is chosen for each page.
pub fn parse_pdf(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    parse_in_order(bytes, limits, ORDER, sink)
}

/// Like [`parse_pdf`] but with one given order for every page, to measure the choice against.
#[doc(hidden)]
pub fn parse_in_order(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    order: SpanOrder,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    parse_reopening(bytes, limits, order, REOPENING, sink)
}

fn parse_reopening(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    order: SpanOrder,
    reopening: ReopenPolicy,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let file_bytes = bytes.len();
    let mut document = open_document(bytes)?;
    let pages = page_tree::count_pages(&document, limits)?;
    page_tree::preload_page_tree(&document, pages);
    let pages_open = reopening.pages.max(pages / MOST_OPENINGS);
    let bytes_a_page = PAGE_BYTES + file_bytes / pages as usize;
    let (mut opened_at, mut kept) = (0, 0);
    let hidden_layers = xberg_native_pdf::optional_content::compute_default_off_ocgs(&document);
    let mut progress = PdfOutlineBuilder::default();
    let mut window = PageWindow::default();
    for index in 0..pages {
        if index - opened_at >= pages_open && kept >= reopening.bytes {
            (opened_at, kept) = (index, 0);
            let bytes = std::mem::take(&mut document.source_bytes);
            drop(document);
            document = open_document(bytes)?;
            page_tree::preload_page_tree(&document, pages);
        }
        let number = index + 1;
        let read = page_lines(&document, number, order, &hidden_layers, &mut progress.hidden);
        let lines = match read {
            Ok((lines, spans)) => {
                kept += bytes_a_page + spans * SPAN_BYTES;
                lines
            }
            Err(error) => {
                progress.record_unreadable(number, &error);
                Vec::new()
            }
        };
        if let Some((number, lines)) = window.push(number, lines) {
            sink.write_page(Some(number), progress.add_page(number, &lines))?;
        }
    }
    while let Some((number, lines)) = window.pop() {
        sink.write_page(Some(number), progress.add_page(number, &lines))?;
    }
    progress.finish(pages, info_title(&document))
}

fn open_document(bytes: Vec<u8>) -> Result<PdfDocument, ParseProblem> {
    let document = PdfDocument::from_bytes(bytes).map_err(convert_error)?;
    if document.is_encrypted() && !matches!(document.authenticate(b""), Ok(true)) {
        return Err(ParseProblem::Encrypted);
    }
    Ok(document)
}

fn page_lines(
    document: &PdfDocument,
    number: u32,
    order: SpanOrder,
    hidden_layers: &HashSet<String>,
    hidden: &mut HiddenTextReport,
) -> Result<(Vec<PdfLine>, usize), EngineError> {
    content::check_content(document, number)?;
    let mut spans = document.extract_spans_filtered_with_reading_order(
        number as usize - 1,
        ReadingOrder::TopToBottom,
        hidden_layers.clone(),
        HashSet::new(),
    )?;
    let count = spans.len();
    hidden::mark_hidden_spans(document, number, &mut spans, hidden);
    line::drop_padding(&mut spans);
    let direction = upright::rotate_upright(&mut spans);
    let mut spans = order::order_spans(spans, order)?;
    spans.retain(|span| !hidden::is_marked(span));
    Ok((line::join_spans(&spans, direction), count))
}

fn convert_error(error: EngineError) -> ParseProblem {
    match error {
        EngineError::EncryptedPdf => ParseProblem::Encrypted,
        other => ParseProblem::damaged(other),
    }
}

fn info_title(document: &PdfDocument) -> Option<String> {
    let info = document
        .resolve_object(document.trailer().as_dict()?.get("Info")?)
        .ok()?;
    let title = document.resolve_object(info.as_dict()?.get("Title")?).ok()?;
    let text = xberg_native_pdf::optional_content::decode_pdf_text_string(title.as_string()?);
    let text = super::normalise::normalise_text(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// State that is carried from page to page.
#[derive(Default)]
struct PdfOutlineBuilder {
    page_text: String,
    length: usize,
    headings: HeadingDetector,
    without_text: Vec<u32>,
    unreadable: Vec<u32>,
    first_error: Option<String>,
    hidden: HiddenTextReport,
}

impl PdfOutlineBuilder {
    fn record_unreadable(&mut self, number: u32, error: &EngineError) {
        self.unreadable.push(number);
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn add_page(&mut self, number: u32, lines: &[PdfLine]) -> &str {
        self.page_text.clear();
        line::write_lines(lines, &mut self.page_text, |line, offset| {
            self.headings.add_line(line, self.length + offset)
        });
        if self.page_text.is_empty() && !self.unreadable.contains(&number) {
            self.without_text.push(number);
        }
        self.headings.end_page();
        self.length += self.page_text.len();
        &self.page_text
    }

    fn finish(mut self, pages: u32, title: Option<String>) -> Result<DocumentOutline, ParseProblem> {
        if self.length == 0 {
            return Err(match self.first_error {
                Some(detail) if self.without_text.is_empty() => ParseProblem::Damaged { detail },
                _ => ParseProblem::NoText { pages },
            });
        }
        let sections = self.headings.build_sections(self.length);
        let title = title.map(|title| self.hidden.strip_hidden_characters(&title, None).into_owned());
        let mut warnings = Vec::new();
        if !self.without_text.is_empty() {
            warnings.push(ParseWarning {
                code: "pages_without_text".to_owned(),
                detail: format!("{} of {pages} pages have no text", self.without_text.len()),
                pages: self.without_text,
            });
        }
        if let Some(detail) = self.first_error {
            warnings.push(ParseWarning {
                code: "pages_unreadable".to_owned(),
                detail: format!("{} of {pages} pages are damaged: {detail}", self.unreadable.len()),
                pages: self.unreadable,
            });
        }
        warnings.extend(self.hidden.build_warnings());
        Ok(DocumentOutline {
            title,
            sections,
            warnings,
            attachments: Vec::new(),
        })
    }
}
