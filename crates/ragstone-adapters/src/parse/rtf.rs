//! Rich Text Format (1.9.1): paragraphs, headings, tables; one pass, with groups in a list of their own.

use std::collections::HashMap;

use encoding_rs::{Encoding, WINDOWS_1252};

use super::ParseLimits;
use super::blocks::Blocks;
use super::error::ParseProblem;
use super::hidden::Kind;
use super::sink::{Outline, PageSink};
use super::table::Row;

/// Groups within groups; more is an attack or damage.
const MAX_DEPTH: usize = 1_000;
/// Font sizes are in half-points; letters up to this size are seen by nobody.
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

/// Hands out a letter as one page without a number.
pub(super) fn parse(bytes: &[u8], limits: &ParseLimits, sink: &mut dyn PageSink) -> Result<Outline, ParseProblem> {
    let mut reader = Rtf::new(bytes, Blocks::new(sink, limits));
    reader.run()?;
    reader.end_paragraph();
    reader.end_table()?;
    let title = (!reader.title.trim().is_empty()).then_some(reader.title);
    reader.blocks.finish(title)
}

/// Where text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    Body,
    Title,
    Styles,
    Nowhere,
}

/// What a group inherits from the one around it.
#[derive(Debug, Clone, Copy)]
struct State {
    destination: Destination,
    hidden: bool,
    tiny: bool,
    /// Characters that stand in for one of Unicode, to be passed over.
    fallback: usize,
}

struct Rtf<'a> {
    bytes: &'a [u8],
    at: usize,
    blocks: Blocks<'a>,
    groups: Vec<State>,
    state: State,
    encoding: &'static Encoding,
    /// Bytes in the file's encoding that are not decoded yet.
    raw: Vec<u8>,
    /// The half of a pair of UTF-16.
    half: Option<u16>,
    skip: usize,
    paragraph: String,
    level: Option<u8>,
    in_table: bool,
    row: Row,
    rows: Vec<Row>,
    title: String,
    style: Option<i32>,
    style_name: String,
    heading_styles: HashMap<i32, u8>,
}

impl<'a> Rtf<'a> {
    fn new(bytes: &'a [u8], blocks: Blocks<'a>) -> Self {
        Self {
            bytes,
            at: 0,
            blocks,
            groups: Vec::new(),
            state: State {
                destination: Destination::Body,
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
            row: Row::new(),
            rows: Vec::new(),
            title: String::new(),
            style: None,
            style_name: String::new(),
            heading_styles: HashMap::new(),
        }
    }

    fn run(&mut self) -> Result<(), ParseProblem> {
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
                        // What follows the last group is no part of the file.
                        _ => return Ok(()),
                    }
                }
                b'\\' => self.control()?,
                b'\r' | b'\n' | 0 => {}
                other => self.byte(other),
            }
        }
        self.decode_raw();
        match self.groups.is_empty() {
            true => Ok(()),
            false => Err(ParseProblem::damaged("it ends in the middle of a group")),
        }
    }

    fn control(&mut self) -> Result<(), ParseProblem> {
        let Some(&first) = self.bytes.get(self.at) else {
            return Ok(());
        };
        if !first.is_ascii_alphabetic() {
            self.at += 1;
            return self.symbol(first);
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
        self.word(word, value)
    }

    fn take_while(&mut self, wanted: impl Fn(&u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().take(32).take_while(|byte| wanted(byte)).count();
        self.at += length;
        &rest[..length]
    }

    fn symbol(&mut self, symbol: u8) -> Result<(), ParseProblem> {
        match symbol {
            b'\'' => {
                let hex = self.bytes.get(self.at..self.at + 2);
                let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
                self.at += 2;
                if let Some(byte) = byte {
                    self.byte(byte);
                }
            }
            b'*' => self.state.destination = Destination::Nowhere,
            b'~' => self.push("\u{a0}"),
            b'_' => self.push("-"),
            b'\\' | b'{' | b'}' => self.byte(symbol),
            b'\r' | b'\n' => self.end_paragraph(),
            _ => {}
        }
        Ok(())
    }

    fn word(&mut self, word: &str, value: Option<i32>) -> Result<(), ParseProblem> {
        let on = value != Some(0);
        match word {
            "u" => return self.unicode(value.unwrap_or(0)),
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
            "s" => self.style(value),
            "cell" | "nestcell" => self.end_cell(),
            "row" | "nestrow" => {
                self.decode_raw();
                self.rows.push(std::mem::take(&mut self.row));
            }
            "line" => self.push("\n"),
            "tab" => self.push("\t"),
            "emdash" => self.push("\u{2014}"),
            "endash" => self.push("\u{2013}"),
            "bullet" => self.push("\u{2022}"),
            "lquote" => self.push("\u{2018}"),
            "rquote" => self.push("\u{2019}"),
            "ldblquote" => self.push("\u{201c}"),
            "rdblquote" => self.push("\u{201d}"),
            "info" => self.state.destination = Destination::Nowhere,
            "title" => self.state.destination = Destination::Title,
            "stylesheet" => self.state.destination = Destination::Styles,
            _ if NO_CONTENT.contains(&word) => self.state.destination = Destination::Nowhere,
            _ => {}
        }
        self.blocks.check()
    }

    fn with_state(&mut self, change: impl FnOnce(&mut State)) {
        self.decode_raw();
        change(&mut self.state);
    }

    fn unicode(&mut self, value: i32) -> Result<(), ParseProblem> {
        self.decode_raw();
        // Values above 32,767 are written as negative ones.
        let unit = value as u16;
        let units = [self.half.take().unwrap_or(unit), unit];
        let pair = usize::from(units[0] == unit);
        match char::decode_utf16(units[pair..].iter().copied()).next() {
            Some(Ok(character)) => self.push(character.encode_utf8(&mut [0; 4])),
            _ if (0xd800..0xdc00).contains(&unit) => self.half = Some(unit),
            _ => {}
        }
        self.skip = self.state.fallback;
        Ok(())
    }

    fn byte(&mut self, byte: u8) {
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
            self.put(&text);
        }
    }

    fn push(&mut self, text: &str) {
        self.decode_raw();
        self.put(text);
    }

    fn put(&mut self, text: &str) {
        match self.state.destination {
            Destination::Body if self.state.hidden => self.blocks.unseen(Kind::Element, text),
            Destination::Body if self.state.tiny => self.blocks.unseen(Kind::Tiny, text),
            Destination::Body => self.paragraph.push_str(text),
            Destination::Title => self.title.push_str(text),
            Destination::Styles => self.style_name.push_str(text),
            Destination::Nowhere => {}
        }
    }

    /// A paragraph's style, or in the table of styles the one that is being named.
    fn style(&mut self, value: Option<i32>) {
        match self.state.destination {
            Destination::Styles => self.style = value,
            Destination::Body => {
                let known = value.and_then(|style| self.heading_styles.get(&style));
                self.level = known.copied().or(self.level);
            }
            _ => {}
        }
    }

    fn end_style(&mut self) {
        if self.state.destination != Destination::Styles {
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
        if self.state.destination != Destination::Body {
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
        // A table ends where other text begins; what is too long for it shows at the end.
        let _ = self.end_table();
        match self.level {
            Some(level) if level <= 6 => self.blocks.heading(level, &text),
            _ => match text.strip_prefix(['\u{2022}', '\u{b7}']) {
                Some(item) => self.blocks.item(0, "-", item),
                None => self.blocks.paragraph(&text),
            },
        }
    }

    fn end_table(&mut self) -> Result<(), ParseProblem> {
        match self.rows.is_empty() {
            true => Ok(()),
            false => self.blocks.table(std::mem::take(&mut self.rows)),
        }
    }
}

#[cfg(test)]
mod tests;
