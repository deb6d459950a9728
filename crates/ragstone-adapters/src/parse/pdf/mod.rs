//! PDF: spans from the engine, put in reading order page by page and joined into lines by us.
//!
//! What pages repeat at their edges is left out (`running`), and so is what nobody sees on them (`hidden`).
//!
//! Invariant: an encrypted file is refused before any of it is extracted, because the engine would answer with
//! silently empty pages.

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

use self::heading::Headings;
use self::line::Line;
pub use self::order::Order;
use self::running::Window;
use super::ParseLimits;
use super::error::ParseProblem;
use super::hidden::Hidden;
use super::sink::{Outline, PageSink};

/// How every document is read.
///
/// Over the WARN report, one long table, poppler's order of words is met to 0.91 by columns and to 0.23 by rows; but
/// by columns none of its 632 rows stays on one line, by rows all do, and questions of a table ask for its rows
/// (`docs/decisions/0003-tables-by-rows.md`).
const ORDER: Order = Order::ChosenRowsInTables;
/// When the file is opened again: the engine keeps what it has read of a file, and all of it goes with the opened
/// document, whose bytes are handed on. Each opening costs a walk over all pages.
struct Reopening {
    /// Not before so many pages.
    pages: u32,
    /// Not before the engine keeps about so many bytes of them.
    bytes: usize,
}

/// As files are read: 256 pages of a book are about so many bytes.
const REOPENING: Reopening = Reopening {
    pages: 256,
    bytes: 48 << 20,
};
/// Most times that a file is opened.
const MOST_OPENINGS: u32 = 32;
/// What the engine keeps of a page beside its share of the file, and of each span on it.
const PAGE_BYTES: usize = 4 << 10;
const SPAN_BYTES: usize = 400;

/// Hands out the text of a PDF page by page; each page's order of reading is chosen for itself.
pub fn parse(bytes: Vec<u8>, limits: &ParseLimits, sink: &mut dyn PageSink) -> Result<Outline, ParseProblem> {
    parse_in_order(bytes, limits, ORDER, sink)
}

/// [`parse`] with one order for every page, to measure the choice against.
#[doc(hidden)]
pub fn parse_in_order(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    order: Order,
    sink: &mut dyn PageSink,
) -> Result<Outline, ParseProblem> {
    parse_reopening(bytes, limits, order, REOPENING, sink)
}

fn parse_reopening(
    bytes: Vec<u8>,
    limits: &ParseLimits,
    order: Order,
    reopening: Reopening,
    sink: &mut dyn PageSink,
) -> Result<Outline, ParseProblem> {
    let file_bytes = bytes.len();
    let mut document = open(bytes)?;
    let pages = page_tree::count_pages(&document, limits)?;
    page_tree::know_all_pages(&document, pages);
    let pages_open = reopening.pages.max(pages / MOST_OPENINGS);
    let bytes_a_page = PAGE_BYTES + file_bytes / pages as usize;
    let (mut opened_at, mut kept) = (0, 0);
    let hidden_layers = xberg_native_pdf::optional_content::compute_default_off_ocgs(&document);
    let mut progress = Progress::default();
    let mut window = Window::default();
    for index in 0..pages {
        if index - opened_at >= pages_open && kept >= reopening.bytes {
            (opened_at, kept) = (index, 0);
            let bytes = std::mem::take(&mut document.source_bytes);
            drop(document);
            document = open(bytes)?;
            page_tree::know_all_pages(&document, pages);
        }
        let number = index + 1;
        let read = page_lines(&document, number, order, &hidden_layers, &mut progress.hidden);
        let lines = match read {
            Ok((lines, spans)) => {
                kept += bytes_a_page + spans * SPAN_BYTES;
                lines
            }
            Err(error) => {
                progress.unreadable(number, &error);
                Vec::new()
            }
        };
        if let Some((number, lines)) = window.push(number, lines) {
            sink.page(Some(number), progress.page(number, &lines))?;
        }
    }
    while let Some((number, lines)) = window.pop() {
        sink.page(Some(number), progress.page(number, &lines))?;
    }
    progress.finish(pages, info_title(&document))
}

fn open(bytes: Vec<u8>) -> Result<PdfDocument, ParseProblem> {
    let document = PdfDocument::from_bytes(bytes).map_err(problem)?;
    if document.is_encrypted() && !matches!(document.authenticate(b""), Ok(true)) {
        return Err(ParseProblem::Encrypted);
    }
    Ok(document)
}

fn page_lines(
    document: &PdfDocument,
    number: u32,
    order: Order,
    hidden_layers: &HashSet<String>,
    hidden: &mut Hidden,
) -> Result<(Vec<Line>, usize), EngineError> {
    content::check(document, number)?;
    let mut spans = document.extract_spans_filtered_with_reading_order(
        number as usize - 1,
        ReadingOrder::TopToBottom,
        hidden_layers.clone(),
        HashSet::new(),
    )?;
    let count = spans.len();
    hidden::mark(document, number, &mut spans, hidden);
    line::drop_padding(&mut spans);
    let direction = upright::turn(&mut spans);
    let mut spans = order::arrange(spans, order)?;
    spans.retain(|span| !hidden::is_marked(span));
    Ok((line::join(&spans, direction), count))
}

fn problem(error: EngineError) -> ParseProblem {
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
    let text = super::normalise::normalised(&text);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// What is carried from page to page.
#[derive(Default)]
struct Progress {
    page_text: String,
    length: usize,
    headings: Headings,
    without_text: Vec<u32>,
    unreadable: Vec<u32>,
    first_error: Option<String>,
    hidden: Hidden,
}

impl Progress {
    fn unreadable(&mut self, number: u32, error: &EngineError) {
        self.unreadable.push(number);
        self.first_error.get_or_insert_with(|| error.to_string());
    }

    fn page(&mut self, number: u32, lines: &[Line]) -> &str {
        self.page_text.clear();
        line::write(lines, &mut self.page_text, |line, offset| {
            self.headings.see(line, self.length + offset)
        });
        if self.page_text.is_empty() && !self.unreadable.contains(&number) {
            self.without_text.push(number);
        }
        self.headings.end_page();
        self.length += self.page_text.len();
        &self.page_text
    }

    fn finish(mut self, pages: u32, title: Option<String>) -> Result<Outline, ParseProblem> {
        if self.length == 0 {
            return Err(match self.first_error {
                Some(detail) if self.without_text.is_empty() => ParseProblem::Damaged { detail },
                _ => ParseProblem::NoText { pages },
            });
        }
        let sections = self.headings.sections(self.length);
        let title = title.map(|title| self.hidden.strip(&title, None).into_owned());
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
        warnings.extend(self.hidden.warnings());
        Ok(Outline {
            title,
            sections,
            warnings,
            attachments: Vec::new(),
        })
    }
}
