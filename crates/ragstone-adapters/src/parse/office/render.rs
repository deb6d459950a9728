//! Renders what the reader of office files returned as blocks of Markdown.

use office_oxide::DocumentIR;
use office_oxide::ir::{Element, InlineContent, List, Note, Section, Table, TextSpan};

use super::super::blocks::BlockWriter;
use super::super::error::ParseProblem;
use super::super::hidden::HiddenTextKind;
use super::super::table::TableRow;

/// Letters up to this size, in half-points, are invisible (as in PDF: up to one point).
const TINY_HALF_POINTS: u32 = 2;

/// Writes all sections. Those with a number up to `pages` are pages of their own, the rest belongs to the last page.
pub(super) fn write_document(document: DocumentIR, pages: u64, blocks: &mut BlockWriter) -> Result<(), ParseProblem> {
    for (section, number) in document.sections.into_iter().zip(1_u32..) {
        if u64::from(number) <= pages {
            if number > 1 {
                blocks.end_page()?;
            }
            blocks.begin_page(number);
        }
        if section.hidden {
            blocks.count_hidden(HiddenTextKind::Element, &section_text(&section));
            continue;
        }
        write_section(&section, pages > 0, blocks)?;
    }
    if pages > 0 { blocks.end_page() } else { Ok(()) }
}

/// Number of characters in a document, without white space.
pub(super) fn count_characters(document: &DocumentIR) -> usize {
    let all = document.sections.iter().map(section_text);
    all.map(|text| text.chars().filter(|c| !c.is_whitespace()).count())
        .sum()
}

fn write_section(section: &Section, paged: bool, blocks: &mut BlockWriter) -> Result<(), ParseProblem> {
    // In a text document the title repeats a heading; in slides and sheets it is the name.
    let title = section.title.as_deref().filter(|_| paged).unwrap_or("").trim();
    let repeated = section
        .elements
        .first()
        .is_some_and(|first| element_text(first).trim() == title);
    if !title.is_empty() {
        blocks.write_heading(1, title);
    }
    let skipped = usize::from(repeated && !title.is_empty());
    write_elements(&section.elements[skipped..], u8::from(paged), blocks)?;
    if let Some(notes) = &section.speaker_notes {
        blocks.write_heading(2, "Speaker notes");
        write_elements(notes, 2, blocks)?;
    }
    Ok(())
}

/// Writes elements; headings are lowered by `deeper` levels.
fn write_elements(all: &[Element], deeper: u8, blocks: &mut BlockWriter) -> Result<(), ParseProblem> {
    for element in all {
        match element {
            Element::Heading(heading) => {
                let text = inline_text(&heading.content, blocks);
                blocks.write_heading(heading.clamped_level() + deeper, &text);
            }
            Element::Paragraph(paragraph) => {
                let text = inline_text(&paragraph.content, blocks);
                blocks.write_paragraph(&text);
            }
            Element::Table(table) => blocks.write_table(table_rows(table))?,
            Element::List(items) => write_list(items, 0, deeper, blocks)?,
            Element::TextBox(text_box) => write_elements(&text_box.content, deeper, blocks)?,
            Element::Footnote(note) | Element::Endnote(note) => blocks.write_paragraph(&note_text(note)),
            Element::CodeBlock(code) => blocks.write_code_block(code.language.as_deref().unwrap_or(""), &code.content),
            _ => {}
        }
        blocks.check_text_limit()?;
    }
    Ok(())
}

fn write_list(list_: &List, depth: usize, deeper: u8, blocks: &mut BlockWriter) -> Result<(), ParseProblem> {
    for (item, number) in list_.items.iter().zip(list_.start_number.unwrap_or(1)..) {
        let marker = match list_.ordered {
            true => format!("{number}{}", list_.ordered_delimiter()),
            false => "-".to_owned(),
        };
        let mut rest = item.content.as_slice();
        if let Some(Element::Paragraph(first)) = rest.first() {
            let text = inline_text(&first.content, blocks);
            blocks.write_list_item(depth, &marker, &text);
            rest = &rest[1..];
        }
        write_elements(rest, deeper, blocks)?;
        if let Some(nested) = &item.nested {
            write_list(nested, depth + 1, deeper, blocks)?;
        }
    }
    Ok(())
}

/// Rows of cells with their columns; a cell that spans rows keeps its columns in the rows below.
fn table_rows(table: &Table) -> Vec<TableRow> {
    let mut covered: Vec<u32> = Vec::new();
    let mut rows = Vec::with_capacity(table.rows.len());
    for row in &table.rows {
        let (mut cells, mut column) = (TableRow::new(), 0_usize);
        for cell in &row.cells {
            while covered.get(column).is_some_and(|rows| *rows > 0) {
                covered[column] -= 1;
                column += 1;
            }
            let text = elements_text(&cell.content);
            if !text.trim().is_empty() {
                cells.push((column as u32, text));
            }
            let span = cell.col_span.max(1) as usize;
            if cell.row_span > 1 {
                covered.resize(covered.len().max(column + span), 0);
                covered[column..column + span].fill(cell.row_span - 1);
            }
            column += span;
        }
        for rows in covered.iter_mut().skip(column) {
            *rows = rows.saturating_sub(1);
        }
        rows.push(cells);
    }
    rows
}

fn inline_text(content: &[InlineContent], blocks: &mut BlockWriter) -> String {
    let mut text = String::new();
    for item in content {
        match item {
            InlineContent::Text(span) if is_tiny(span) => blocks.count_hidden(HiddenTextKind::Tiny, &span.text),
            InlineContent::Text(span) => text.push_str(&span.text),
            InlineContent::LineBreak => text.push('\n'),
            _ => {}
        }
    }
    text
}

fn is_tiny(span: &TextSpan) -> bool {
    span.font_size_half_pt.is_some_and(|size| size <= TINY_HALF_POINTS)
}

fn note_text(note: &Note) -> String {
    let name = match (&note.marker, &note.author) {
        (Some(marker), _) => marker.clone(),
        (None, Some(author)) => author.clone(),
        (None, None) => note.id.to_string(),
    };
    format!("[{name}] {}", elements_text(&note.content))
}

fn section_text(section: &Section) -> String {
    let notes = section.speaker_notes.as_deref().map(elements_text).unwrap_or_default();
    elements_text(&section.elements) + &notes
}

fn elements_text(all: &[Element]) -> String {
    let texts: Vec<String> = all.iter().map(element_text).filter(|text| !text.is_empty()).collect();
    texts.join(" ")
}

/// The text of an element without its formatting.
fn element_text(element: &Element) -> String {
    match element {
        Element::Heading(heading) => visible_text(&heading.content),
        Element::Paragraph(paragraph) => visible_text(&paragraph.content),
        Element::Table(table) => {
            let cells = table.rows.iter().flat_map(|row| &row.cells);
            let texts: Vec<String> = cells.map(|cell| elements_text(&cell.content)).collect();
            texts.join(" ")
        }
        Element::List(list) => list_text(list),
        Element::TextBox(text_box) => elements_text(&text_box.content),
        Element::Footnote(note) | Element::Endnote(note) => note_text(note),
        Element::CodeBlock(code) => code.content.clone(),
        _ => String::new(),
    }
}

fn list_text(list: &List) -> String {
    let mut text = String::new();
    for item in &list.items {
        text.push_str(&elements_text(&item.content));
        text.push(' ');
        if let Some(nested) = &item.nested {
            text.push_str(&list_text(nested));
        }
    }
    text
}

fn visible_text(content: &[InlineContent]) -> String {
    let mut text = String::new();
    for item in content {
        match item {
            InlineContent::Text(span) if !is_tiny(span) => text.push_str(&span.text),
            InlineContent::LineBreak => text.push('\n'),
            _ => {}
        }
    }
    text
}
