//! Headings of a PDF, detected by the size and weight of their letters.
//!
//! Only reliable signs are used: lines in letters clearly larger than the body's, or of the body's size, bold and
//! numbered. If too many lines qualify, the document uses these styles for something else and gets no sections.

use std::collections::HashMap;

use ragstone_core::document::SectionSpan;

use super::line::PdfLine;

/// A line in letters this many times the body's size is a heading.
const LARGER: f32 = 1.12;
/// Most bytes of a heading.
const MAX_LENGTH: usize = 160;
/// A document has headings only if they are at most this share of its lines.
const MAX_SHARE: f32 = 0.12;
/// A text on more than this share of the pages is a running head, not a heading.
const RUNNING_SHARE: f32 = 0.2;
/// Most levels of headings.
const MAX_LEVELS: usize = 4;
/// Most candidates that are kept; more than any book has.
const MAX_CANDIDATES: usize = 20_000;

/// Collects lines that may be headings until the body's size is known.
#[derive(Default)]
pub(super) struct HeadingDetector {
    /// Bytes of text by font size in half points.
    sizes: HashMap<u32, usize>,
    candidates: Vec<HeadingCandidate>,
    lines: usize,
    pages: u32,
}

struct HeadingCandidate {
    text: String,
    offset: usize,
    end: usize,
    /// Font size, in half points.
    size: u32,
    numbered_and_bold: bool,
    page: u32,
}

impl HeadingDetector {
    /// Records a line that begins at `offset` in the document's text.
    pub(super) fn add_line(&mut self, line: &PdfLine, offset: usize) {
        let size = (line.size * 2.0).round().clamp(0.0, 2_000.0) as u32;
        *self.sizes.entry(size).or_default() += line.text.len();
        self.lines += 1;
        let wordy = line.text.chars().filter(|character| character.is_alphabetic()).count() >= 2;
        let short = line.text.len() <= MAX_LENGTH && !line.text.ends_with(['.', ',', ';', ':']);
        if wordy && short && !line.aside && self.candidates.len() < MAX_CANDIDATES {
            self.candidates.push(HeadingCandidate {
                text: line.text.clone(),
                offset,
                end: offset + line.text.len(),
                size,
                numbered_and_bold: line.bold && is_numbered(&line.text),
                page: self.pages,
            });
        }
    }

    /// Ends a page and drops candidates that are body text by the sizes known so far.
    pub(super) fn end_page(&mut self) {
        self.pages += 1;
        self.drop_body_lines();
    }

    /// Builds the sections of a text of `length` bytes.
    pub(super) fn build_sections(mut self, length: usize) -> Vec<SectionSpan> {
        self.drop_body_lines();
        self.drop_running_heads();
        self.join_wrapped();
        if self.candidates.len() as f32 > MAX_SHARE * self.lines as f32 {
            return Vec::new();
        }
        let levels = self.level_sizes();
        let mut path: Vec<(usize, String)> = Vec::new();
        let mut sections: Vec<SectionSpan> = Vec::new();
        for candidate in self.candidates {
            let level = levels
                .iter()
                .position(|size| candidate.size >= *size)
                .unwrap_or(levels.len());
            if let Some(last) = sections.last_mut() {
                last.range.end = candidate.offset;
            }
            path.retain(|(above, _)| *above < level);
            path.push((level, candidate.text));
            let names: Vec<&str> = path.iter().map(|(_, name)| name.as_str()).collect();
            sections.push(SectionSpan {
                path: names.join(" > "),
                range: candidate.offset..length,
            });
        }
        sections
    }

    /// Font size of most of the text, in half points.
    fn body_size(&self) -> u32 {
        self.sizes
            .iter()
            .max_by_key(|(size, bytes)| (**bytes, **size))
            .map_or(0, |(size, _)| *size)
    }

    fn drop_body_lines(&mut self) {
        let body = self.body_size();
        let larger = body as f32 * LARGER;
        self.candidates
            .retain(|line| line.size as f32 >= larger || (line.numbered_and_bold && line.size >= body));
    }

    fn drop_running_heads(&mut self) {
        let mut pages: HashMap<String, (u32, u32)> = HashMap::new();
        for line in &self.candidates {
            let seen = pages.entry(without_digits(&line.text)).or_insert((0, u32::MAX));
            if seen.1 != line.page {
                *seen = (seen.0 + 1, line.page);
            }
        }
        let most = (RUNNING_SHARE * self.pages as f32).max(2.0);
        self.candidates
            .retain(|line| pages[&without_digits(&line.text)].0 as f32 <= most);
    }

    /// Joins the lines of a heading that takes several lines.
    fn join_wrapped(&mut self) {
        let mut joined: Vec<HeadingCandidate> = Vec::new();
        for line in std::mem::take(&mut self.candidates) {
            match joined.last_mut() {
                Some(last)
                    if last.size == line.size
                        && last.page == line.page
                        && line.offset <= last.end + 2
                        && !line.numbered_and_bold
                        && !is_numbered(&line.text)
                        && last.text.len() + line.text.len() < MAX_LENGTH =>
                {
                    last.text.push(' ');
                    last.text.push_str(&line.text);
                    last.end = line.end;
                }
                _ => joined.push(line),
            }
        }
        self.candidates = joined;
    }

    /// Font sizes of the upper levels, largest first; anything smaller than all of them is the lowest level.
    fn level_sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.candidates.iter().map(|line| line.size).collect();
        sizes.sort_unstable_by(|a, b| b.cmp(a));
        sizes.dedup();
        sizes.truncate(MAX_LEVELS - 1);
        sizes
    }
}

/// Whether a text starts with a number, such as `3 Scope`, `3.1 Scope` or `V6.2 Scope`.
fn is_numbered(text: &str) -> bool {
    let Some((number, _)) = text.split_once(' ') else {
        return false;
    };
    let digits = number.trim_start_matches(|character: char| character.is_ascii_uppercase());
    number.len() - digits.len() <= 1
        && digits.starts_with(|character: char| character.is_ascii_digit())
        && digits
            .chars()
            .all(|character| character.is_ascii_digit() || character == '.')
}

fn without_digits(text: &str) -> String {
    text.chars().filter(|character| !character.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections(lines: &[(&str, f32, bool)]) -> Vec<String> {
        let mut headings = HeadingDetector::default();
        let mut offset = 0;
        for (text, size, bold) in lines {
            headings.add_line(
                &PdfLine {
                    text: (*text).to_owned(),
                    y: 0.0,
                    size: *size,
                    aside: false,
                    bold: *bold,
                },
                offset,
            );
            offset += text.len() + 1;
        }
        headings.end_page();
        headings
            .build_sections(offset)
            .into_iter()
            .map(|section| section.path)
            .collect()
    }

    #[test]
    fn larger_letters_and_bold_numbers_make_headings() {
        let body = ("this is a line of the body text that goes on for a while", 10.0, false);
        let mut lines = vec![
            ("Handbook", 20.0, true),
            ("Setup", 14.0, false),
            ("of Linux", 14.0, false),
        ];
        lines.extend([body; 20]);
        lines.extend([("1.2 Kernel", 10.0, true), ("Bold words only", 10.0, true)]);
        lines.extend([body; 20]);
        assert_eq!(
            sections(&lines),
            [
                "Handbook",
                "Handbook > Setup of Linux",
                "Handbook > Setup of Linux > 1.2 Kernel"
            ]
        );
        assert_eq!(
            sections(&[("Every", 20.0, false), ("line", 18.0, false), ("differs", 9.0, false)]),
            [""; 0]
        );
    }

    #[test]
    fn numbers_are_told_from_words() {
        for (text, expected) in [
            ("3 Scope", true),
            ("V6.2 Scope", true),
            ("2020", false),
            ("ISO 27001", false),
        ] {
            assert_eq!(is_numbered(text), expected, "{text}");
        }
    }
}
