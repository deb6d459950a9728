//! OpenDocument files (ISO/IEC 26300): texts, presentations and spreadsheets, in one pass over `content.xml`.
//!
//! Invariant: the reader keeps open elements in lists of its own, so that nesting costs memory and not stack.

mod markup;

use std::collections::HashSet;

use quick_xml::Reader;
use quick_xml::events::{BytesRef, BytesStart, Event};

use markup::{local_name, read_attribute, read_number, unseen_styles};

use super::ParseLimits;
use super::archive;
use super::blocks::BlockWriter;
use super::detect::FileFormat;
use super::error::ParseProblem;
use super::hidden::HiddenTextKind;
use super::sink::{DocumentOutline, PageSink};
use super::table::TableRow;

/// Most bytes of one member, unpacked.
const MEMBER_BYTES: u64 = 256 << 20;
/// Most bytes of all markup members, unpacked.
const PACKAGE_BYTES: u64 = 512 << 20;
/// Most cells of one table; repeated cells count as often as they are shown.
const MAX_CELLS: u64 = 4_000_000;

/// Writes an OpenDocument file to the sink; slides and sheets are pages.
pub(super) fn parse_odf(
    format: FileFormat,
    bytes: &[u8],
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    archive::check_members(bytes, "", b"", PACKAGE_BYTES)?;
    let manifest = read_member(bytes, "META-INF/manifest.xml")?.unwrap_or_default();
    if manifest.contains("encryption-data") {
        return Err(ParseProblem::Encrypted);
    }
    let missing = || ParseProblem::damaged("content.xml is missing");
    let content = read_member(bytes, "content.xml")?.ok_or_else(missing)?;
    let styles = read_member(bytes, "styles.xml")?.unwrap_or_default();
    let mut unseen = unseen_styles(&styles)?;
    unseen.extend(unseen_styles(&content)?);
    let title = read_title(&read_member(bytes, "meta.xml")?.unwrap_or_default());
    let mut walk = OdfReader::new(format, unseen, limits, BlockWriter::new(sink, limits));
    walk.read_content(&content)?;
    if walk.pages > 0 {
        walk.blocks.end_page()?;
    }
    walk.blocks.finish(title)
}

fn read_member(bytes: &[u8], name: &str) -> Result<Option<String>, ParseProblem> {
    let unpacked = archive::unpack_member(bytes, name, MEMBER_BYTES)?;
    Ok(unpacked.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The title in the file's metadata.
fn read_title(meta: &str) -> Option<String> {
    let (_, after) = meta.split_once("<dc:title>")?;
    let (title, _) = after.split_once("</dc:title>")?;
    Some(quick_xml::escape::unescape(title).ok()?.into_owned())
}

/// A table that is being read.
#[derive(Default)]
struct OdfTable {
    rows: Vec<TableRow>,
    row: TableRow,
    column: u32,
    row_repeats: u64,
    cell: String,
    cell_repeats: u32,
}

struct OdfReader<'a> {
    format: FileFormat,
    unseen: HashSet<String>,
    max_pages: u32,
    blocks: BlockWriter<'a>,
    pages: u32,
    /// Text of the open paragraphs, with the level of those that are headings.
    open: Vec<(Option<u8>, String)>,
    grids: Vec<OdfTable>,
    cells: u64,
    /// For each open list, whether the next paragraph starts an item of it.
    lists: Vec<bool>,
    in_notes: bool,
    /// Nesting depth inside of elements that are not shown (`hidden`), and of elements without content (`skipped`).
    hidden: usize,
    skipped: usize,
    in_body: bool,
}

impl<'a> OdfReader<'a> {
    fn new(format: FileFormat, unseen: HashSet<String>, limits: &ParseLimits, blocks: BlockWriter<'a>) -> Self {
        Self {
            format,
            unseen,
            max_pages: limits.max_pages,
            blocks,
            pages: 0,
            open: Vec::new(),
            grids: Vec::new(),
            cells: 0,
            lists: Vec::new(),
            in_notes: false,
            hidden: 0,
            skipped: 0,
            in_body: false,
        }
    }

    fn read_content(&mut self, content: &str) -> Result<(), ParseProblem> {
        let mut reader = Reader::from_str(content);
        let mut depth = 0_usize;
        loop {
            match reader.read_event().map_err(ParseProblem::damaged)? {
                Event::Start(start) => {
                    depth += 1;
                    self.start_element(&start)?;
                }
                Event::Empty(start) => {
                    self.start_element(&start)?;
                    self.end_element(local_name(&start))?;
                }
                Event::End(end) => {
                    depth = depth.saturating_sub(1);
                    self.end_element(end.local_name().as_ref())?;
                }
                Event::Text(text) => self.push_text(&text.xml10_content()),
                Event::CData(text) => self.push_text(&text.into_inner()),
                Event::GeneralRef(reference) => self.push_reference(&reference),
                Event::Eof if depth > 0 => {
                    return Err(ParseProblem::damaged("content.xml ends before its last element does"));
                }
                Event::Eof => return Ok(()),
                _ => {}
            }
        }
    }

    fn start_element(&mut self, start: &BytesStart) -> Result<(), ParseProblem> {
        let name = local_name(start);
        if self.skipped > 0 || is_no_content(name) {
            self.skipped += 1;
            return Ok(());
        }
        if self.hidden > 0 || self.is_unseen(start) {
            self.hidden += 1;
        }
        match name {
            "body" => self.in_body = true,
            "page" if self.format == FileFormat::Odp => self.begin_page(read_attribute(start, "draw:name"))?,
            "notes" => {
                self.in_notes = true;
                self.blocks.write_heading(2, "Speaker notes");
            }
            "table" if self.format == FileFormat::Ods && self.grids.is_empty() => {
                let name = read_attribute(start, "table:name");
                self.begin_page(name.filter(|_| self.hidden == 0))?;
                self.grids.push(OdfTable::default());
            }
            "table" => self.grids.push(OdfTable::default()),
            "table-row" => self.begin_row(start),
            "table-cell" | "covered-table-cell" => self.begin_cell(start),
            "h" => {
                let level = read_attribute(start, "text:outline-level").and_then(|level| level.parse().ok());
                self.open.push((Some(level.unwrap_or(1)), String::new()));
            }
            "p" => self.open.push((None, String::new())),
            "list" => self.lists.push(false),
            "list-item" => {
                if let Some(fresh) = self.lists.last_mut() {
                    *fresh = true;
                }
            }
            "s" => {
                let count = read_number(start, "text:c").clamp(1, 1000);
                self.push_text(&" ".repeat(count as usize));
            }
            "tab" => self.push_text("\t"),
            "line-break" => self.push_text("\n"),
            _ => {}
        }
        Ok(())
    }

    fn end_element(&mut self, name: &str) -> Result<(), ParseProblem> {
        if self.skipped > 0 {
            self.skipped -= 1;
            return Ok(());
        }
        match name {
            "body" => self.in_body = false,
            "notes" => self.in_notes = false,
            "p" | "h" => self.end_paragraph(),
            "table-cell" | "covered-table-cell" => self.end_cell()?,
            "table-row" => self.end_row()?,
            "table" => self.end_table()?,
            "list" => {
                self.lists.pop();
            }
            _ => {}
        }
        self.hidden = self.hidden.saturating_sub(1);
        self.blocks.check_text_limit()
    }

    fn is_unseen(&self, start: &BytesStart) -> bool {
        let style = match local_name(start) {
            "p" | "h" | "span" => read_attribute(start, "text:style-name"),
            "table" => read_attribute(start, "table:style-name"),
            "page" => read_attribute(start, "draw:style-name"),
            "hidden-text" | "hidden-paragraph" => return true,
            _ => return false,
        };
        style.is_some_and(|style| self.unseen.contains(&style))
    }

    fn begin_page(&mut self, name: Option<String>) -> Result<(), ParseProblem> {
        if self.pages > 0 {
            self.blocks.end_page()?;
        }
        self.pages += 1;
        if self.pages > self.max_pages {
            return Err(ParseProblem::TooManyPages {
                pages: u64::from(self.pages),
                limit: self.max_pages,
            });
        }
        self.blocks.begin_page(self.pages);
        if let Some(name) = name {
            self.blocks.write_heading(1, &name);
        }
        Ok(())
    }

    fn begin_row(&mut self, start: &BytesStart) {
        if let Some(grid) = self.grids.last_mut() {
            grid.row = TableRow::new();
            grid.column = 0;
            grid.row_repeats = u64::from(read_number(start, "table:number-rows-repeated").max(1));
        }
    }

    fn begin_cell(&mut self, start: &BytesStart) {
        if let Some(grid) = self.grids.last_mut() {
            grid.cell.clear();
            grid.cell_repeats = read_number(start, "table:number-columns-repeated").max(1);
        }
    }

    fn end_cell(&mut self) -> Result<(), ParseProblem> {
        let Some(grid) = self.grids.last_mut() else {
            return Ok(());
        };
        let (text, repeats) = (std::mem::take(&mut grid.cell), std::mem::take(&mut grid.cell_repeats));
        if !text.trim().is_empty() {
            for n in 0..repeats {
                count_cells(&mut self.cells, 1)?;
                grid.row.push((grid.column.saturating_add(n), text.clone()));
            }
        }
        grid.column = grid.column.saturating_add(repeats);
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), ParseProblem> {
        let Some(grid) = self.grids.last_mut() else {
            return Ok(());
        };
        let row = std::mem::take(&mut grid.row);
        if row.is_empty() {
            return Ok(());
        }
        count_cells(&mut self.cells, row.len() as u64 * (grid.row_repeats.max(1) - 1))?;
        for _ in 1..grid.row_repeats {
            grid.rows.push(row.clone());
        }
        grid.rows.push(row);
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), ParseProblem> {
        let Some(grid) = self.grids.pop() else {
            return Ok(());
        };
        match self.grids.last_mut() {
            // A nested table becomes text of the outer cell.
            Some(outer) => {
                for (_, text) in grid.rows.into_iter().flatten() {
                    outer.cell.push(' ');
                    outer.cell.push_str(&text);
                }
                Ok(())
            }
            None => self.blocks.write_table(grid.rows),
        }
    }

    fn push_text(&mut self, text: &str) {
        if self.skipped > 0 || !self.in_body {
            return;
        }
        if self.hidden > 0 {
            self.blocks.count_hidden(HiddenTextKind::Element, text);
        } else if let Some((_, open)) = self.open.last_mut() {
            open.push_str(text);
        }
    }

    fn push_reference(&mut self, reference: &BytesRef) {
        if let Ok(Some(character)) = reference.resolve_char_ref() {
            self.push_text(character.encode_utf8(&mut [0; 4]));
        } else if let Some(text) = quick_xml::escape::resolve_xml_entity(reference) {
            self.push_text(text);
        }
    }

    fn end_paragraph(&mut self) {
        let Some((level, text)) = self.open.pop() else {
            return;
        };
        if let Some(grid) = self.grids.last_mut() {
            grid.cell.push(' ');
            grid.cell.push_str(&text);
            return;
        }
        let depth = self.lists.len();
        let begins_item = self.lists.last_mut().is_some_and(std::mem::take);
        match level {
            Some(level) => self
                .blocks
                .write_heading(level.saturating_add(u8::from(self.pages > 0)), &text),
            None if begins_item => self.blocks.write_list_item(depth - 1, "-", &text),
            None => self.blocks.write_paragraph(&text),
        }
    }
}

fn count_cells(cells: &mut u64, more: u64) -> Result<(), ParseProblem> {
    *cells = cells.saturating_add(more);
    if *cells > MAX_CELLS {
        return Err(ParseProblem::UnpacksTooLarge { limit: MAX_CELLS });
    }
    Ok(())
}

/// Whether an element holds something else than the text: deleted passages, forms, field declarations.
fn is_no_content(name: &str) -> bool {
    matches!(
        name,
        "tracked-changes" | "forms" | "sequence-decls" | "variable-decls" | "user-field-decls" | "scripts" | "shapes"
    )
}
