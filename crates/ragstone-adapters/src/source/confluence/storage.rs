//! Converts Confluence's storage format, XHTML with elements of its own, to Markdown.
//!
//! Headings, lists, tables, code, tasks, panels and links become Markdown; an unknown macro keeps its body. An included
//! page stays a name: it is a document of its own, which some readers of this one may not read.
//!
//! Invariant: the stack is on the heap and the rendered nesting has a limit, so no page can exhaust either.

mod frame;
mod render;
#[cfg(test)]
mod tests;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use frame::{ConfluenceLink, ConfluenceMacro, OpenElement};

/// Deepest nesting of elements with a buffer of their own; deeper ones are merged into these.
const MAX_DEPTH: usize = 64;
/// Most open elements that are searched for the list or table that a part belongs to.
const MAX_ELEMENT_LOOKBACK: usize = 8;
/// Most columns that one cell may span.
const MAX_SPAN: usize = 50;

/// A page's storage format could not be parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the page's storage format is not well-formed: {0}")]
pub(super) struct StorageFormatError(String);

/// Converts a page's body to Markdown.
pub(super) fn to_markdown(storage: &str) -> Result<String, StorageFormatError> {
    let mut reader = Reader::from_str(storage);
    let mut page = StorageConverter::default();
    loop {
        let event = reader
            .read_event()
            .map_err(|error| StorageFormatError(error.to_string()))?;
        match event {
            Event::Start(start) => page.start_element(&start),
            Event::Empty(start) => {
                page.start_element(&start);
                page.end_element();
            }
            Event::End(_) => page.end_element(),
            Event::Text(text) => page.push_text(&text.xml10_content()),
            Event::CData(text) => page.push_text(&text.into_inner()),
            Event::GeneralRef(reference) => page.push_reference(&reference),
            Event::Eof => return Ok(page.finish()),
            _ => {}
        }
    }
}

/// State of one conversion. Each open element has a frame; those that are rendered as a whole also have a buffer.
#[derive(Default)]
struct StorageConverter {
    frames: Vec<OpenElement>,
    buffers: Vec<String>,
    body: String,
    /// Number of open frames in which white space is significant.
    verbatim: usize,
    /// Number of open frames whose content is skipped.
    skipped: usize,
}

impl StorageConverter {
    fn start_element(&mut self, start: &BytesStart) {
        let name = start.name();
        let name = name.into_inner();
        let frame = match self.skipped > 0 {
            true => OpenElement::Skipped,
            false => self.open_element(name, start),
        };
        match &frame {
            OpenElement::Skipped => self.skipped += 1,
            OpenElement::Plain { block: true } => self.break_block(),
            _ => {}
        }
        if frame.has_buffer() {
            self.verbatim += usize::from(frame.is_verbatim());
            self.buffers.push(String::new());
        }
        self.frames.push(frame);
    }

    fn open_element(&mut self, name: &str, start: &BytesStart) -> OpenElement {
        let value = |name: &str| read_attribute(start, name);
        if self.buffers.len() >= MAX_DEPTH {
            return OpenElement::Plain { block: false };
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => OpenElement::Heading(usize::from(name.as_bytes()[1] - b'0')),
            "p" | "div" | "section" | "ac:layout-section" | "ac:layout-cell" => OpenElement::Plain { block: true },
            "br" => self.line_break(),
            "hr" => OpenElement::Plain { block: true },
            "a" => OpenElement::Anchor(value("href")),
            "code" => OpenElement::Code,
            "pre" => OpenElement::Preformatted,
            "blockquote" => OpenElement::Quote,
            "ul" | "ac:task-list" => OpenElement::List(None, Vec::new()),
            "ol" => OpenElement::List(
                Some(value("start").and_then(|n| n.parse().ok()).unwrap_or(1)),
                Vec::new(),
            ),
            "li" => OpenElement::Item,
            "ac:task" => OpenElement::Task(false),
            "ac:task-status" => OpenElement::TaskStatus,
            "table" => OpenElement::Table(Vec::new()),
            "tr" => OpenElement::Row(Vec::new()),
            "th" | "td" => OpenElement::Cell(column_span(value("colspan"))),
            "ac:structured-macro" | "ac:macro" => OpenElement::Macro(ConfluenceMacro::new(value("ac:name"))),
            "ac:parameter" | "ac:default-parameter" => OpenElement::Parameter(value("ac:name").unwrap_or_default()),
            "ac:plain-text-body" => OpenElement::PlainBody,
            "ac:link" | "ac:image" => OpenElement::Link(ConfluenceLink::default()),
            "time" => self.push_attribute_text(value("datetime")),
            "ri:page" | "ri:blog-post" => self.apply_target(value("ri:content-title"), |title| title),
            "ri:attachment" => self.apply_target(value("ri:filename"), |name| name),
            "ri:user" => {
                let id = ["ri:account-id", "ri:username", "ri:userkey"]
                    .iter()
                    .find_map(|name| value(name));
                self.apply_target(id, |id| format!("@{id}"))
            }
            "ac:task-id" | "ac:task-uuid" | "ac:placeholder" | "ac:adf-attribute" | "ac:adf-fallback" | "script"
            | "style" | "colgroup" | "ac:emoticon" => OpenElement::Skipped,
            _ => OpenElement::Plain { block: false },
        }
    }

    fn end_element(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let content = match frame.has_buffer() {
            true => self.buffers.pop().unwrap_or_default(),
            false => String::new(),
        };
        self.verbatim -= usize::from(frame.is_verbatim());
        match frame {
            OpenElement::Skipped => self.skipped -= 1,
            OpenElement::Plain { block: true } => self.break_block(),
            OpenElement::Plain { block: false } => {}
            OpenElement::Heading(level) => {
                let title = render::one_line(&content);
                if !title.is_empty() {
                    self.push_block(&format!("{} {title}", "#".repeat(level)));
                }
            }
            OpenElement::Anchor(target) => self.push_inline(&render::render_anchor(target.as_deref(), &content)),
            OpenElement::Code => self.push_inline(&render::render_code(&content)),
            OpenElement::Preformatted => self.push_block(&render::render_code_block("", &content)),
            OpenElement::Quote => self.push_block(&render::render_quote(&content)),
            // Content of a list or table outside of its items or cells is kept.
            OpenElement::List(first, mut items) => {
                items.extend(Some(content).filter(|loose| !loose.trim().is_empty()));
                self.push_block(&render::render_list(first, &items));
            }
            OpenElement::Item => self.push_item(content),
            OpenElement::Task(done) => self.push_item(format!("[{}] {}", if done { 'x' } else { ' ' }, content.trim())),
            OpenElement::TaskStatus => self.task_status(content.trim() == "complete"),
            OpenElement::Table(mut rows) => {
                rows.extend(Some(vec![render::render_cell(&content)]).filter(|loose| !loose[0].is_empty()));
                self.push_block(&render::render_table(rows));
            }
            OpenElement::Row(mut cells) => {
                cells.extend(Some(render::render_cell(&content)).filter(|loose| !loose.is_empty()));
                self.push_row(cells);
            }
            OpenElement::Cell(span) => self.push_cell(render::render_cell(&content), span),
            OpenElement::Macro(found) => self.close_macro(found, content),
            OpenElement::Parameter(name) => self.set_parameter(name, content),
            OpenElement::PlainBody => self.plain_body(content),
            OpenElement::Link(target) => self.push_inline(&target.link_text(&content)),
        }
    }

    fn push_text(&mut self, text: &str) {
        if self.skipped > 0 {
            return;
        }
        let verbatim = self.verbatim > 0;
        let out = self.current_output();
        match verbatim {
            true => out.push_str(text),
            false => render::push_flowing_text(out, text),
        }
    }

    fn push_reference(&mut self, reference: &BytesRef) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            self.push_text(character.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = quick_xml::escape::resolve_html5_entity(reference) {
            self.push_text(text);
        }
    }

    fn finish(mut self) -> String {
        while !self.frames.is_empty() {
            self.end_element();
        }
        self.body.truncate(self.body.trim_end().len());
        self.body
    }

    /// The buffer that receives text at this point.
    fn current_output(&mut self) -> &mut String {
        self.buffers.last_mut().unwrap_or(&mut self.body)
    }

    fn break_block(&mut self) {
        if self.verbatim == 0 {
            render::break_block(self.current_output());
        }
    }

    fn push_block(&mut self, block: &str) {
        if block.trim().is_empty() {
            return;
        }
        self.break_block();
        self.current_output().push_str(block);
        self.break_block();
    }

    fn push_inline(&mut self, text: &str) {
        self.current_output().push_str(text);
    }

    fn line_break(&mut self) -> OpenElement {
        let out = self.current_output();
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
        OpenElement::Plain { block: false }
    }

    /// Writes an attribute's value as text.
    fn push_attribute_text(&mut self, word: Option<String>) -> OpenElement {
        if let Some(word) = word {
            self.push_text(&word);
        }
        OpenElement::Plain { block: false }
    }

    /// Sets the target of the enclosing link, or writes it into the enclosing macro parameter.
    fn apply_target(&mut self, to: Option<String>, shown: impl Fn(String) -> String) -> OpenElement {
        match (self.frames.last_mut(), to) {
            (Some(OpenElement::Link(target)), Some(to)) => target.name = Some(shown(to)),
            (Some(OpenElement::Parameter(_)), Some(to)) => self.push_inline(&shown(to)),
            // For example inside of a link in a parameter.
            (Some(OpenElement::Plain { .. }), Some(to)) => self.push_inline(&shown(to)),
            _ => {}
        }
        OpenElement::Plain { block: false }
    }

    /// The nearest open element for which `wanted` returns something.
    fn find_open_element<T>(&mut self, wanted: impl Fn(&mut OpenElement) -> Option<&mut T>) -> Option<&mut T> {
        self.frames.iter_mut().rev().take(MAX_ELEMENT_LOOKBACK).find_map(wanted)
    }

    fn push_item(&mut self, item: String) {
        match self.find_open_element(OpenElement::as_list) {
            Some(items) => items.push(item),
            None => self.push_block(item.trim()),
        }
    }

    fn task_status(&mut self, done: bool) {
        if let Some(status) = self.find_open_element(OpenElement::as_task) {
            *status = done;
        }
    }

    fn push_row(&mut self, cells: Vec<String>) {
        match self.find_open_element(OpenElement::as_table) {
            Some(rows) => rows.push(cells),
            None => self.push_block(&cells.join(" ")),
        }
    }

    fn push_cell(&mut self, cell: String, span: usize) {
        match self.find_open_element(OpenElement::as_row) {
            Some(cells) => {
                cells.push(cell);
                cells.extend(std::iter::repeat_n(String::new(), span - 1));
            }
            None => self.push_block(&cell),
        }
    }

    fn set_parameter(&mut self, name: String, value: String) {
        let value = render::one_line(&value);
        if let Some(found) = self.find_open_element(OpenElement::as_macro) {
            found.parameters.insert(name, value);
        }
    }

    fn plain_body(&mut self, body: String) {
        match self.find_open_element(OpenElement::as_macro) {
            Some(found) => found.plain_body = Some(body),
            None => self.push_block(&render::render_code_block("", &body)),
        }
    }

    fn close_macro(&mut self, found: ConfluenceMacro, body: String) {
        match found.render_macro(&body) {
            frame::MacroOutput::Block(block) => self.push_block(&block),
            frame::MacroOutput::Inline(text) => self.push_inline(&text),
        }
    }
}

fn read_attribute(start: &BytesStart, name: &str) -> Option<String> {
    let found = start.try_get_attribute(name).ok()??;
    let entity = quick_xml::escape::resolve_html5_entity;
    let value = quick_xml::escape::unescape_with(&found.value, entity).ok()?;
    Some(render::one_line(&value)).filter(|value| !value.is_empty())
}

fn column_span(columns: Option<String>) -> usize {
    let columns = columns.and_then(|columns| columns.parse().ok());
    columns.unwrap_or(1).clamp(1, MAX_SPAN)
}
