//! Writes the blocks of a structured file as Markdown, page by page: headings, paragraphs, lists, code and tables.
//!
//! Invariant: all text passes [`HiddenTextReport`] and the normalisation, and section ranges are offsets into the text
//! as it was written to the sink.

use super::ParseLimits;
use super::error::ParseProblem;
use super::hidden::{HiddenTextKind, HiddenTextReport};
use super::markdown::{self, MarkdownHeading};
use super::normalise::normalise_text;
use super::sink::{DocumentOutline, PageSink};
use super::table::{self, TableRow};

/// Deepest heading level in Markdown.
const MAX_LEVEL: u8 = 6;

/// Writes a document's blocks to a page sink.
pub(super) struct BlockWriter<'a> {
    sink: &'a mut dyn PageSink,
    hidden: HiddenTextReport,
    limit: u64,
    /// Text of the current page.
    text: String,
    /// Bytes of all pages before the current one.
    before: usize,
    headings: Vec<MarkdownHeading>,
    page: Option<u32>,
    pages: u32,
    any: bool,
    empty_pages: Vec<u32>,
    in_list: bool,
}

impl<'a> BlockWriter<'a> {
    /// Creates a writer to `sink` that accepts at most the text that `limits` allow.
    pub(super) fn new(sink: &'a mut dyn PageSink, limits: &ParseLimits) -> Self {
        Self {
            sink,
            hidden: HiddenTextReport::default(),
            limit: limits.max_text_bytes,
            text: String::new(),
            before: 0,
            headings: Vec::new(),
            page: None,
            pages: 0,
            any: false,
            empty_pages: Vec::new(),
            in_list: false,
        }
    }

    /// Starts page, slide or sheet number `page`; the blocks that follow belong to it.
    pub(super) fn begin_page(&mut self, page: u32) {
        self.page = Some(page);
        self.pages += 1;
    }

    /// Writes a heading; levels outside of 1 to 6 are clamped.
    pub(super) fn write_heading(&mut self, level: u8, raw: &str) {
        let text = self.clean_line(raw);
        if text.is_empty() {
            return;
        }
        let level = level.clamp(1, MAX_LEVEL);
        self.begin_block("\n\n");
        let start = self.before + self.text.len();
        self.text.extend(std::iter::repeat_n('#', usize::from(level)));
        self.text.push(' ');
        self.text.push_str(&text);
        let range = start..self.before + self.text.len();
        self.headings.push(MarkdownHeading { level, text, range });
    }

    /// Writes a paragraph; line breaks within it are kept.
    pub(super) fn write_paragraph(&mut self, raw: &str) {
        let text = self.clean_text(raw);
        let text = text.trim_matches('\n');
        if !text.trim().is_empty() {
            self.begin_block("\n\n");
            self.text.push_str(text);
        }
    }

    /// Writes a list item; `depth` starts at 0.
    pub(super) fn write_list_item(&mut self, depth: usize, marker: &str, raw: &str) {
        let text = self.clean_line(raw);
        if text.is_empty() {
            return;
        }
        let between = if self.in_list { "\n" } else { "\n\n" };
        self.begin_block(between);
        self.in_list = true;
        self.text.extend(std::iter::repeat_n(' ', 2 * depth.min(16)));
        self.text.push_str(marker);
        self.text.push(' ');
        self.text.push_str(&text);
    }

    /// Writes a fenced code block, so that Markdown keeps the code as it is.
    pub(super) fn write_code_block(&mut self, language: &str, raw: &str) {
        let text = self.clean_text(raw);
        self.begin_block("\n\n");
        self.text
            .push_str(&format!("```{language}\n{}\n```", text.trim_matches('\n')));
    }

    /// Writes a table; its first row is the header.
    pub(super) fn write_table(&mut self, mut rows: Vec<TableRow>) -> Result<(), ParseProblem> {
        for (_, cell) in rows.iter_mut().flatten() {
            *cell = normalise_text(&self.hidden.strip_hidden_characters(cell, self.page));
        }
        table::write_pieces(rows, |piece| {
            self.begin_block("\n\n");
            self.text.push_str(piece);
            self.check_text_limit()
        })
    }

    /// Writes Markdown from another parser; its headings are lowered by `deeper` levels.
    pub(super) fn write_markdown(&mut self, raw: &str, deeper: u8) {
        let text = self.clean_text(raw);
        let text = text.trim_matches('\n');
        if text.trim().is_empty() {
            return;
        }
        self.begin_block("\n\n");
        let start = self.before + self.text.len();
        self.text.push_str(text);
        self.headings.extend(
            markdown::find_headings(text)
                .into_iter()
                .map(|heading| MarkdownHeading {
                    level: (heading.level + deeper).min(MAX_LEVEL),
                    range: start + heading.range.start..start + heading.range.end,
                    ..heading
                }),
        );
    }

    /// Counts text that is left out because no reader sees it.
    pub(super) fn count_hidden(&mut self, kind: HiddenTextKind, text: &str) {
        self.hidden.count_text(kind, self.page, text);
    }

    /// Report of the text hidden so far.
    pub(super) fn hidden_text(&mut self) -> &mut HiddenTextReport {
        &mut self.hidden
    }

    /// Fails with `TooMuchText` beyond the limit; to be called wherever a small file may expand to much text.
    pub(super) fn check_text_limit(&self) -> Result<(), ParseProblem> {
        if (self.before + self.text.len()) as u64 > self.limit {
            return Err(ParseProblem::TooMuchText { limit: self.limit });
        }
        Ok(())
    }

    /// Ends the page and writes its text to the sink.
    pub(super) fn end_page(&mut self) -> Result<(), ParseProblem> {
        self.check_text_limit()?;
        self.in_list = false;
        if self.text.trim().is_empty() {
            self.empty_pages.extend(self.page);
            self.text.clear();
            return Ok(());
        }
        self.any = true;
        self.text.push('\n');
        self.before += self.text.len();
        let text = std::mem::take(&mut self.text);
        self.sink.write_page(self.page, &text)
    }

    /// Ends the last page and returns the document's outline.
    pub(super) fn finish(mut self, title: Option<String>) -> Result<DocumentOutline, ParseProblem> {
        if !self.text.is_empty() {
            self.end_page()?;
        }
        if !self.any {
            return Err(ParseProblem::NoText { pages: self.pages });
        }
        let title = title
            .map(|title| self.clean_line(&title))
            .filter(|title| !title.is_empty());
        let mut warnings = self.hidden.build_warnings();
        if !self.empty_pages.is_empty() {
            warnings.push(ragstone_core::document::ParseWarning {
                code: "pages_without_text".to_owned(),
                detail: format!("{} of {} page(s) have no text", self.empty_pages.len(), self.pages),
                pages: self.empty_pages,
            });
        }
        Ok(DocumentOutline {
            title: title.or_else(|| markdown::first_title(&self.headings)),
            sections: markdown::build_sections(&self.headings, self.before),
            warnings,
            attachments: Vec::new(),
        })
    }

    fn begin_block(&mut self, between: &str) {
        self.in_list = false;
        if !self.text.is_empty() {
            self.text.push_str(between);
        }
    }

    fn clean_text(&mut self, raw: &str) -> String {
        normalise_text(&self.hidden.strip_hidden_characters(raw, self.page))
    }

    fn clean_line(&mut self, raw: &str) -> String {
        self.clean_text(raw).split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink::DocumentCollector;
    use super::*;

    #[test]
    fn sections_and_pages_stand_where_the_text_does() {
        let limits = ParseLimits::default();
        let mut gathered = DocumentCollector::new(1000);
        let mut blocks = BlockWriter::new(&mut gathered, &limits);
        blocks.begin_page(1);
        blocks.write_heading(1, "One\r\nline");
        blocks.write_paragraph("First.\n");
        blocks.write_list_item(0, "-", "a");
        blocks.write_list_item(1, "-", "b");
        blocks.end_page().unwrap();
        blocks.begin_page(2);
        blocks.end_page().unwrap();
        blocks.begin_page(3);
        blocks.write_markdown("intro\n\n# Part\n\nText", 1);
        blocks.end_page().unwrap();
        let outline = blocks.finish(None).unwrap();
        let document = gathered.finish("text/markdown", outline);
        assert_eq!(
            document.text,
            "# One line\n\nFirst.\n\n- a\n  - b\nintro\n\n# Part\n\nText\n"
        );
        assert_eq!(document.title.as_deref(), Some("One line"));
        let last = document.sections.last().unwrap();
        assert_eq!(last.path, "One line > Part");
        assert!(document.text[last.range.clone()].starts_with("# Part"));
        assert_eq!(document.warnings[0].pages, [2]);
        let pages: Vec<_> = document.pages.iter().map(|page| page.page).collect();
        assert_eq!(pages, [Some(1), Some(3)]);
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        let limits = ParseLimits {
            max_text_bytes: 8,
            ..ParseLimits::default()
        };
        let mut gathered = DocumentCollector::new(8);
        let mut blocks = BlockWriter::new(&mut gathered, &limits);
        blocks.write_paragraph("much too long");
        assert_eq!(
            blocks.finish(None).map_err(|problem| problem.code()),
            Err("too_much_text")
        );
        let empty = BlockWriter::new(&mut gathered, &limits).finish(Some("T".to_owned()));
        assert_eq!(empty.map_err(|problem| problem.code()), Err("no_text"));
    }
}
