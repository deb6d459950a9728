//! Rich Text Format (1.9.1): paragraphs, headings and tables, in one pass; open groups are kept in a list.

use std::collections::HashMap;

use encoding_rs::{Encoding, WINDOWS_1252};

use super::ParseLimits;
use super::blocks::BlockWriter;
use super::error::ParseProblem;
use super::hidden::HiddenTextKind;
use super::sink::{DocumentOutline, PageSink};
use super::table::TableRow;

/// Deepest nesting of groups; more is an attack or damage.
const MAX_DEPTH: usize = 1_000;
/// Letters up to this size, in half-points, are invisible.
const TINY_HALF_POINTS: i32 = 2;
/// Destinations that hold no text of the document.
const NO_CONTENT: &[&str] = &[
    "fonttbl",
    "colortbl",
    "pict",
    "object",
    "header",
    "headerl",
    "headerr",
    "headerf",
    "footer",
    "footerl",
    "footerr",
    "footerf",
    "xe",
    "tc",
    "fldinst",
    "themedata",
    "colorschememapping",
    "datastore",
    "latentstyles",
    "listtable",
    "listoverridetable",
    "revtbl",
    "rsidtbl",
    "generator",
    "filetbl",
    "bkmkstart",
    "bkmkend",
    "nonshppict",
];

/// Writes an RTF file to the sink as one page without a number.
pub(super) fn parse_rtf(
    bytes: &[u8],
    limits: &ParseLimits,
    sink: &mut dyn PageSink,
) -> Result<DocumentOutline, ParseProblem> {
    let mut reader = RtfReader::new(bytes, BlockWriter::new(sink, limits));
    reader.read_document()?;
    reader.end_paragraph();
    reader.end_table()?;
    let title = (!reader.title.trim().is_empty()).then_some(reader.title);
    reader.blocks.finish(title)
}

/// Where the text of a group goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TextDestination {
    Body,
    Title,
    Styles,
    Discard,
}

/// State that a group inherits from the one around it.
#[derive(Debug, Clone, Copy)]
struct GroupState {
    destination: TextDestination,
    hidden: bool,
    tiny: bool,
    /// Number of fallback characters after each Unicode character, which are skipped.
    fallback: usize,
}

struct RtfReader<'a> {
    bytes: &'a [u8],
    at: usize,
    blocks: BlockWriter<'a>,
    groups: Vec<GroupState>,
    state: GroupState,
    encoding: &'static Encoding,
    /// Bytes in the file's encoding that are not decoded yet.
    raw: Vec<u8>,
    /// First half of a UTF-16 surrogate pair.
    half: Option<u16>,
    skip: usize,
    paragraph: String,
    level: Option<u8>,
    in_table: bool,
    row: TableRow,
    rows: Vec<TableRow>,
    title: String,
    style: Option<i32>,
    style_name: String,
    heading_styles: HashMap<i32, u8>,
}

impl<'a> RtfReader<'a> {
    fn new(bytes: &'a [u8], blocks: BlockWriter<'a>) -> Self {
        Self {
            bytes,
            at: 0,
            blocks,
            groups: Vec::new(),
            state: GroupState {
                destination: TextDestination::Body,
                hidden: false,
                tiny: false,
                fallback: 1,
            },
            encoding: WINDOWS_1252,
            raw: Vec::new(),
            half: None,
            skip: 0,
            paragraph: String::new(),
            level: None,
            in_table: false,
            row: TableRow::new(),
            rows: Vec::new(),
            title: String::new(),
            style: None,
            style_name: String::new(),
            heading_styles: HashMap::new(),
        }
    }

    fn read_document(&mut self) -> Result<(), ParseProblem> {
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            match byte {
                b'{' => {
                    self.decode_raw();
                    self.groups.push(self.state);
                    if self.groups.len() > MAX_DEPTH {
                        return Err(ParseProblem::damaged("its groups are nested too deep"));
                    }
                }
                b'}' => {
                    self.decode_raw();
                    self.end_style();
                    match self.groups.pop() {
                        Some(outer) if !self.groups.is_empty() => self.state = outer,
                        // Bytes after the last group are not part of the file.
                        _ => return Ok(()),
                    }
                }
                b'\\' => self.read_control()?,
                b'\r' | b'\n' | 0 => {}
                other => self.push_byte(other),
            }
        }
        self.decode_raw();
        match self.groups.is_empty() {
            true => Ok(()),
            false => Err(ParseProblem::damaged("it ends in the middle of a group")),
        }
    }

    fn read_control(&mut self) -> Result<(), ParseProblem> {
        let Some(&first) = self.bytes.get(self.at) else {
            return Ok(());
        };
        if !first.is_ascii_alphabetic() {
            self.at += 1;
            return self.apply_symbol(first);
        }
        let word = self.take_while(u8::is_ascii_alphabetic);
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        let digits = self.take_while(u8::is_ascii_digit);
        let value = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<i32>().ok());
        let value = value.map(|value| if negative { -value } else { value });
        if self.bytes.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        let word = std::str::from_utf8(word).unwrap_or_default();
        self.apply_word(word, value)
    }

    fn take_while(&mut self, wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(32).take_while(|byte| wanted(byte)).count();
        self.at += length;
        &rest[..length]
    }

    fn apply_symbol(&mut self, symbol: u8) -> Result<(), ParseProblem> {
        match symbol {
            b'\'' => {
                let hex = self.bytes.get(self.at..self.at + 2);
                let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                self.at += 2;
                if let Some(byte) = byte {
                    self.push_byte(byte);
                }
            }
            b'*' => self.state.destination = TextDestination::Discard,
            b'~' => self.push_text("\u{a0}"),
            b'_' => self.push_text("-"),
            b'\\' | b'{' | b'}' => self.push_byte(symbol),
            b'\r' | b'\n' => self.end_paragraph(),
            _ => {}
        }
        Ok(())
    }

    fn apply_word(&mut self, word: &str, value: Option<i32>) -> Result<(), ParseProblem> {
        let on = value != Some(0);
        match word {
            "u" => return self.push_unicode(value.unwrap_or(0)),
            "bin" => self.at += usize::try_from(value.unwrap_or(0)).unwrap_or(0),
            "ansicpg" => {
                let page = value.and_then(|page| u16::try_from(page).ok()).unwrap_or(1252);
                let label = format!("windows-{page}");
                self.encoding = Encoding::for_label(label.as_bytes()).unwrap_or(self.encoding);
            }
            "uc" => self.state.fallback = usize::try_from(value.unwrap_or(1)).unwrap_or(1),
            "v" => self.with_state(|state| state.hidden = on),
            "fs" => self.with_state(|state| state.tiny = value.is_some_and(|size| size <= TINY_HALF_POINTS)),
            "plain" => self.with_state(|state| (state.hidden, state.tiny) = (false, false)),
            "par" | "sect" | "page" => self.end_paragraph(),
            "pard" => (self.level, self.in_table) = (None, false),
            "intbl" => self.in_table = true,
            "outlinelevel" => self.level = value.and_then(|level| u8::try_from(level + 1).ok()),
            "s" => self.set_style(value),
            "cell" | "nestcell" => self.end_cell(),
            "row" | "nestrow" => {
                self.decode_raw();
                self.rows.push(std::mem::take(&mut self.row));
            }
            "line" => self.push_text("\n"),
            "tab" => self.push_text("\t"),
            "emdash" => self.push_text("\u{2014}"),
            "endash" => self.push_text("\u{2013}"),
            "bullet" => self.push_text("\u{2022}"),
            "lquote" => self.push_text("\u{2018}"),
            "rquote" => self.push_text("\u{2019}"),
            "ldblquote" => self.push_text("\u{201c}"),
            "rdblquote" => self.push_text("\u{201d}"),
            "info" => self.state.destination = TextDestination::Discard,
            "title" => self.state.destination = TextDestination::Title,
            "stylesheet" => self.state.destination = TextDestination::Styles,
            _ if NO_CONTENT.contains(&word) => self.state.destination = TextDestination::Discard,
            _ => {}
        }
        self.blocks.check_text_limit()
    }

    fn with_state(&mut self, change: impl FnOnce(&mut GroupState)) {
        self.decode_raw();
        change(&mut self.state);
    }

    fn push_unicode(&mut self, value: i32) -> Result<(), ParseProblem> {
        self.decode_raw();
        // RTF writes values above 32,767 as negative numbers.
        let unit = value as u16;
        let units = [self.half.take().unwrap_or(unit), unit];
        let pair = usize::from(units[0] == unit);
        match char::decode_utf16(units[pair..].iter().copied()).next() {
            Some(Ok(character)) => self.push_text(character.encode_utf8(&mut [0; 4])),
            _ if (0xd800..0xdc00).contains(&unit) => self.half = Some(unit),
            _ => {}
        }
        self.skip = self.state.fallback;
        Ok(())
    }

    fn push_byte(&mut self, byte: u8) {
        if self.skip > 0 {
            self.skip -= 1;
        } else {
            self.raw.push(byte);
        }
    }

    fn decode_raw(&mut self) {
        self.skip = 0;
        if !self.raw.is_empty() {
            let raw = std::mem::take(&mut self.raw);
            let text = self.encoding.decode_without_bom_handling(&raw).0;
            self.write_text(&text);
        }
    }

    fn push_text(&mut self, text: &str) {
        self.decode_raw();
        self.write_text(text);
    }

    fn write_text(&mut self, text: &str) {
        match self.state.destination {
            TextDestination::Body if self.state.hidden => self.blocks.count_hidden(HiddenTextKind::Element, text),
            TextDestination::Body if self.state.tiny => self.blocks.count_hidden(HiddenTextKind::Tiny, text),
            TextDestination::Body => self.paragraph.push_str(text),
            TextDestination::Title => self.title.push_str(text),
            TextDestination::Styles => self.style_name.push_str(text),
            TextDestination::Discard => {}
        }
    }

    /// Sets the paragraph's style or, in the table of styles, the style that is being named.
    fn set_style(&mut self, value: Option<i32>) {
        match self.state.destination {
            TextDestination::Styles => self.style = value,
            TextDestination::Body => {
                let known = value.and_then(|style| self.heading_styles.get(&style));
                self.level = known.copied().or(self.level);
            }
            _ => {}
        }
    }

    fn end_style(&mut self) {
        if self.state.destination != TextDestination::Styles {
            return;
        }
        let name = std::mem::take(&mut self.style_name).to_lowercase();
        let level = name.trim_end_matches(';').trim().strip_prefix("heading ");
        let level = level.and_then(|level| level.parse().ok());
        if let (Some(style), Some(level)) = (self.style.take(), level) {
            self.heading_styles.entry(style).or_insert(level);
        }
    }

    fn end_cell(&mut self) {
        self.decode_raw();
        let column = self.row.len() as u32;
        self.row.push((column, std::mem::take(&mut self.paragraph)));
    }

    fn end_paragraph(&mut self) {
        self.decode_raw();
        if self.state.destination != TextDestination::Body {
            return;
        }
        if self.in_table {
            self.paragraph.push('\n');
            return;
        }
        let text = std::mem::take(&mut self.paragraph);
        if text.trim().is_empty() {
            return;
        }
        // A table ends where other text begins. The error can wait: too much text is refused at the end, too.
        let _ = self.end_table();
        match self.level {
            Some(level) if level <= 6 => self.blocks.write_heading(level, &text),
            _ => match text.strip_prefix(['\u{2022}', '\u{b7}']) {
                Some(item) => self.blocks.write_list_item(0, "-", item),
                None => self.blocks.write_paragraph(&text),
            },
        }
    }

    fn end_table(&mut self) -> Result<(), ParseProblem> {
        match self.rows.is_empty() {
            true => Ok(()),
            false => self.blocks.write_table(std::mem::take(&mut self.rows)),
        }
    }
}

#[cfg(test)]
mod tests;
