//! Confluence's storage format, XHTML with elements of its own, as Markdown.
//!
//! Headings, lists, tables, code, tasks, panels and links come as Markdown; a macro that is not known keeps its body. An
//! included page stays a name: it is a document of its own, which not everybody who reads this one may read.
//!
//! Invariant: the stack is on the heap and the nesting that is rendered has a bound, so no page can exhaust either.

mod frame;
mod render;
#[cfg(test)]
mod tests;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use frame::{Frame, Macro, Target};

/// Elements inside each other that get a place of their own; what is deeper flows into them.
const MAX_DEPTH: usize = 64;
/// Frames that are looked through for the list or table that a part belongs to.
const NEAR: usize = 8;
/// Columns that one cell may span.
const MAX_SPAN: usize = 50;

/// Why a page could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the page's storage format is not well-formed: {0}")]
pub(super) struct NotWellFormed(String);

/// A page's body as Markdown.
pub(super) fn to_markdown(storage: &str) -> Result<String, NotWellFormed> {
    let mut reader = Reader::from_str(storage);
    let mut page = Page::default();
    loop {
        let event = reader.read_event().map_err(|error| NotWellFormed(error.to_string()))?;
        match event {
            Event::Start(start) => page.start(&start),
            Event::Empty(start) => {
                page.start(&start);
                page.end();
            }
            Event::End(_) => page.end(),
            Event::Text(text) => page.text(&text.xml10_content()),
            Event::CData(text) => page.text(&text.into_inner()),
            Event::GeneralRef(reference) => page.reference(&reference),
            Event::Eof => return Ok(page.finish()),
            _ => {}
        }
    }
}

/// A page on its way. Each open element has a frame; those that are rendered as a whole have a buffer.
#[derive(Default)]
struct Page {
    frames: Vec<Frame>,
    buffers: Vec<String>,
    body: String,
    /// Open frames in which each space counts.
    verbatim: usize,
    /// Open frames whose content nobody sees.
    skipped: usize,
}

impl Page {
    fn start(&mut self, start: &BytesStart) {
        let name = start.name();
        let name = name.into_inner();
        let frame = match self.skipped > 0 {
            true => Frame::Skipped,
            false => self.frame(name, start),
        };
        match &frame {
            Frame::Skipped => self.skipped += 1,
            Frame::Plain { block: true } => self.break_block(),
            _ => {}
        }
        if frame.has_buffer() {
            self.verbatim += usize::from(frame.is_verbatim());
            self.buffers.push(String::new());
        }
        self.frames.push(frame);
    }

    fn frame(&mut self, name: &str, start: &BytesStart) -> Frame {
        let value = |name: &str| attribute(start, name);
        if self.buffers.len() >= MAX_DEPTH {
            return Frame::Plain { block: false };
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Frame::Heading(usize::from(name.as_bytes()[1] - b'0')),
            "p" | "div" | "section" | "ac:layout-section" | "ac:layout-cell" => Frame::Plain { block: true },
            "br" => self.line_break(),
            "hr" => Frame::Plain { block: true },
            "a" => Frame::Anchor(value("href")),
            "code" => Frame::Code,
            "pre" => Frame::Preformatted,
            "blockquote" => Frame::Quote,
            "ul" | "ac:task-list" => Frame::List(None, Vec::new()),
            "ol" => Frame::List(
                Some(value("start").and_then(|n| n.parse().ok()).unwrap_or(1)),
                Vec::new(),
            ),
            "li" => Frame::Item,
            "ac:task" => Frame::Task(false),
            "ac:task-status" => Frame::TaskStatus,
            "table" => Frame::Table(Vec::new()),
            "tr" => Frame::Row(Vec::new()),
            "th" | "td" => Frame::Cell(span(value("colspan"))),
            "ac:structured-macro" | "ac:macro" => Frame::Macro(Macro::new(value("ac:name"))),
            "ac:parameter" | "ac:default-parameter" => Frame::Parameter(value("ac:name").unwrap_or_default()),
            "ac:plain-text-body" => Frame::PlainBody,
            "ac:link" | "ac:image" => Frame::Link(Target::default()),
            "time" => self.said(value("datetime")),
            "ri:page" | "ri:blog-post" => self.pointed(value("ri:content-title"), |title| title),
            "ri:attachment" => self.pointed(value("ri:filename"), |name| name),
            "ri:user" => {
                let id = ["ri:account-id", "ri:username", "ri:userkey"]
                    .iter()
                    .find_map(|name| value(name));
                self.pointed(id, |id| format!("@{id}"))
            }
            "ac:task-id" | "ac:task-uuid" | "ac:placeholder" | "ac:adf-attribute" | "ac:adf-fallback" | "script"
            | "style" | "colgroup" | "ac:emoticon" => Frame::Skipped,
            _ => Frame::Plain { block: false },
        }
    }

    fn end(&mut self) {
        let Some(frame) = self.frames.pop() else { return };
        let content = match frame.has_buffer() {
            true => self.buffers.pop().unwrap_or_default(),
            false => String::new(),
        };
        self.verbatim -= usize::from(frame.is_verbatim());
        match frame {
            Frame::Skipped => self.skipped -= 1,
            Frame::Plain { block: true } => self.break_block(),
            Frame::Plain { block: false } => {}
            Frame::Heading(level) => {
                let title = render::one_line(&content);
                if !title.is_empty() {
                    self.block(&format!("{} {title}", "#".repeat(level)));
                }
            }
            Frame::Anchor(target) => self.inline(&render::anchor(target.as_deref(), &content)),
            Frame::Code => self.inline(&render::code(&content)),
            Frame::Preformatted => self.block(&render::fence("", &content)),
            Frame::Quote => self.block(&render::quote(&content)),
            // What stands in a list or table but in no item or cell is not lost.
            Frame::List(first, mut items) => {
                items.extend(Some(content).filter(|loose| !loose.trim().is_empty()));
                self.block(&render::list(first, &items));
            }
            Frame::Item => self.item(content),
            Frame::Task(done) => self.item(format!("[{}] {}", if done { 'x' } else { ' ' }, content.trim())),
            Frame::TaskStatus => self.task_status(content.trim() == "complete"),
            Frame::Table(mut rows) => {
                rows.extend(Some(vec![render::cell(&content)]).filter(|loose| !loose[0].is_empty()));
                self.block(&render::table(rows));
            }
            Frame::Row(mut cells) => {
                cells.extend(Some(render::cell(&content)).filter(|loose| !loose.is_empty()));
                self.row(cells);
            }
            Frame::Cell(span) => self.cell(render::cell(&content), span),
            Frame::Macro(found) => self.close_macro(found, content),
            Frame::Parameter(name) => self.parameter(name, content),
            Frame::PlainBody => self.plain_body(content),
            Frame::Link(target) => self.inline(&target.shown(&content)),
        }
    }

    fn text(&mut self, text: &str) {
        if self.skipped > 0 {
            return;
        }
        let verbatim = self.verbatim > 0;
        let out = self.out();
        match verbatim {
            true => out.push_str(text),
            false => render::flow(out, text),
        }
    }

    fn reference(&mut self, reference: &BytesRef) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            self.text(character.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = quick_xml::escape::resolve_html5_entity(reference) {
            self.text(text);
        }
    }

    fn finish(mut self) -> String {
        while !self.frames.is_empty() {
            self.end();
        }
        self.body.truncate(self.body.trim_end().len());
        self.body
    }

    /// Where text goes now.
    fn out(&mut self) -> &mut String {
        self.buffers.last_mut().unwrap_or(&mut self.body)
    }

    fn break_block(&mut self) {
        if self.verbatim == 0 {
            render::break_block(self.out());
        }
    }

    fn block(&mut self, block: &str) {
        if block.trim().is_empty() {
            return;
        }
        self.break_block();
        self.out().push_str(block);
        self.break_block();
    }

    fn inline(&mut self, text: &str) {
        self.out().push_str(text);
    }

    fn line_break(&mut self) -> Frame {
        let out = self.out();
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
        Frame::Plain { block: false }
    }

    /// A word that an attribute says.
    fn said(&mut self, word: Option<String>) -> Frame {
        if let Some(word) = word {
            self.text(&word);
        }
        Frame::Plain { block: false }
    }

    /// What a link, or the parameter of a macro, points to.
    fn pointed(&mut self, to: Option<String>, shown: impl Fn(String) -> String) -> Frame {
        match (self.frames.last_mut(), to) {
            (Some(Frame::Link(target)), Some(to)) => target.name = Some(shown(to)),
            (Some(Frame::Parameter(_)), Some(to)) => self.inline(&shown(to)),
            // Within a link of a parameter, and the like.
            (Some(Frame::Plain { .. }), Some(to)) => self.inline(&shown(to)),
            _ => {}
        }
        Frame::Plain { block: false }
    }

    /// The nearest open frame that `wanted` takes.
    fn near<T>(&mut self, wanted: impl Fn(&mut Frame) -> Option<&mut T>) -> Option<&mut T> {
        self.frames.iter_mut().rev().take(NEAR).find_map(wanted)
    }

    fn item(&mut self, item: String) {
        match self.near(Frame::as_list) {
            Some(items) => items.push(item),
            None => self.block(item.trim()),
        }
    }

    fn task_status(&mut self, done: bool) {
        if let Some(status) = self.near(Frame::as_task) {
            *status = done;
        }
    }

    fn row(&mut self, cells: Vec<String>) {
        match self.near(Frame::as_table) {
            Some(rows) => rows.push(cells),
            None => self.block(&cells.join(" ")),
        }
    }

    fn cell(&mut self, cell: String, span: usize) {
        match self.near(Frame::as_row) {
            Some(cells) => {
                cells.push(cell);
                cells.extend(std::iter::repeat_n(String::new(), span - 1));
            }
            None => self.block(&cell),
        }
    }

    fn parameter(&mut self, name: String, value: String) {
        let value = render::one_line(&value);
        if let Some(found) = self.near(Frame::as_macro) {
            found.parameters.insert(name, value);
        }
    }

    fn plain_body(&mut self, body: String) {
        match self.near(Frame::as_macro) {
            Some(found) => found.plain_body = Some(body),
            None => self.block(&render::fence("", &body)),
        }
    }

    fn close_macro(&mut self, found: Macro, body: String) {
        match found.shown(&body) {
            frame::Shown::Block(block) => self.block(&block),
            frame::Shown::Inline(text) => self.inline(&text),
        }
    }
}

fn attribute(start: &BytesStart, name: &str) -> Option<String> {
    let found = start.try_get_attribute(name).ok()??;
    let entity = quick_xml::escape::resolve_html5_entity;
    let value = quick_xml::escape::unescape_with(&found.value, entity).ok()?;
    Some(render::one_line(&value)).filter(|value| !value.is_empty())
}

fn span(columns: Option<String>) -> usize {
    let columns = columns.and_then(|columns| columns.parse().ok());
    columns.unwrap_or(1).clamp(1, MAX_SPAN)
}
