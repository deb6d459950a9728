//! The splitter for text with structure: Markdown, and HTML that a parser converted to Markdown.
//!
//! Prose is cut by `text-splitter` at the highest level that fits: headings, then blocks, then sentences and words,
//! overlapping inside a run of prose. Between runs stand *atoms*, the tables and code blocks that fit a chunk: each
//! stays whole in one chunk, together with its neighbours if there is room. A table or code block longer than a chunk
//! is treated as prose: cut between rows or lines.
//!
//! Invariant: a chunk's text is the text at its range, and a chunk is never longer than `chunk_size`.

use std::ops::Range;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use text_splitter::{ChunkConfig, MarkdownSplitter};

use super::{SplitSettings, TextPiece, code_points, recursive};
use crate::document::SectionSpan;

/// Longest run of prose for `text-splitter`, in bytes: its work grows with the square of the number of elements.
const LONGEST_RUN: usize = 32 * 1024;

/// Separates the headings of a section's path.
const PATH_SEPARATOR: &str = " > ";

/// Splits Markdown `text` with `settings`, which must be valid. `separators` and `keep_separator` are not used:
/// a single block longer than 32 KiB goes to the recursive splitter with its default ones.
pub fn split_markdown(text: &str, settings: &SplitSettings) -> Vec<TextPiece> {
    let mut chunks: Vec<Range<usize>> = Vec::new();
    for run in collect_runs(text, settings.chunk_size) {
        let mut cut = match run.kind {
            RunKind::Atom => vec![trim_range(text, run.range, settings)],
            RunKind::Prose => split_prose(text, run.range, settings),
            RunKind::Huge => split_huge(text, run.range, settings),
        };
        cut.retain(|chunk| !chunk.is_empty());
        if let (Some(last), Some(first)) = (chunks.last_mut(), cut.first())
            && !run.begins_section
            && code_points::count_code_points(text, last.start..first.end) <= settings.chunk_size
        {
            last.end = first.end;
            cut.remove(0);
        }
        chunks.append(&mut cut);
    }
    keep_order(&mut chunks);
    chunks
        .into_iter()
        .map(|range| TextPiece {
            text: text[range.clone()].to_owned(),
            range,
        })
        .collect()
}

/// The sections of Markdown `text`, each from its heading to the next one of any level. Text before the first
/// heading is in no section; headings without text and those inside block quotes begin none.
pub fn markdown_sections(text: &str) -> Vec<SectionSpan> {
    let mut sections: Vec<SectionSpan> = Vec::new();
    let mut open: Vec<(u8, String)> = Vec::new();
    for heading in find_headings(text) {
        if let Some(last) = sections.last_mut() {
            last.range.end = heading.start;
        }
        open.retain(|&(level, _)| level < heading.level);
        open.push((heading.level, heading.title));
        let titles: Vec<&str> = open.iter().map(|(_, title)| title.as_str()).collect();
        sections.push(SectionSpan {
            path: titles.join(PATH_SEPARATOR),
            range: heading.start..text.len(),
        });
    }
    sections
}

/// Makes the starts of chunks ascend. A chunk of several lines keeps its indentation, one of a single line does not, so
/// of two overlapping chunks the later one may begin with white space that the earlier one lost.
fn keep_order(chunks: &mut [Range<usize>]) {
    let mut earliest = 0;
    for chunk in chunks {
        chunk.start = chunk.start.max(earliest);
        earliest = chunk.start;
    }
}

struct SectionHeading {
    /// From 1, the highest, to 6.
    level: u8,
    title: String,
    start: usize,
}

fn find_headings(text: &str) -> Vec<SectionHeading> {
    let (mut found, mut open, mut quotes) = (Vec::new(), None, 0_usize);
    for (event, range) in parse_events(text) {
        match event {
            Event::Start(Tag::BlockQuote(_)) => quotes += 1,
            Event::End(TagEnd::BlockQuote(_)) => quotes -= 1,
            Event::Start(Tag::Heading { level, .. }) if quotes == 0 => {
                open = Some(SectionHeading {
                    level: level as u8,
                    title: String::new(),
                    start: range.start,
                });
            }
            Event::End(TagEnd::Heading(_)) => found.extend(open.take()),
            Event::Text(part) | Event::Code(part) | Event::InlineMath(part) => {
                if let Some(heading) = &mut open {
                    heading.title.push_str(&part);
                }
            }
            Event::SoftBreak | Event::HardBreak => {
                if let Some(heading) = &mut open {
                    heading.title.push(' ');
                }
            }
            _ => {}
        }
    }
    for heading in &mut found {
        heading.title = heading.title.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    found.retain(|heading| !heading.title.is_empty());
    found
}

/// Markdown events with their byte ranges. Typographic replacements stay off: a heading keeps its words as written.
fn parse_events(text: &str) -> impl Iterator<Item = (Event<'_>, Range<usize>)> {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_HEADING_ATTRIBUTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS
        | Options::ENABLE_PLUSES_DELIMITED_METADATA_BLOCKS;
    Parser::new_ext(text, options).into_offset_iter()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RunKind {
    /// A table or code block that stays whole.
    Atom,
    /// Text that `text-splitter` cuts by its structure.
    Prose,
    /// One block that is too long for `text-splitter`: the recursive splitter cuts it.
    Huge,
}

/// A stretch of text that is cut on its own. All runs together cover the text.
struct TextRun {
    range: Range<usize>,
    kind: RunKind,
    begins_section: bool,
}

fn collect_runs(text: &str, chunk_size: usize) -> Vec<TextRun> {
    let mut runs = RunCollector {
        text,
        runs: Vec::new(),
        start: 0,
        begins_section: false,
        last_block: 0,
    };
    let mut depth = 0_usize;
    for (event, range) in parse_events(text) {
        match event {
            Event::Start(tag) => {
                if depth == 0 {
                    runs.start_block(line_start(text, 0, range.start), matches!(tag, Tag::Heading { .. }));
                }
                depth += 1;
                if matches!(tag, Tag::Table(_) | Tag::CodeBlock(_)) {
                    runs.add_table_or_code(line_start(text, 0, range.start)..range.end, chunk_size);
                }
            }
            Event::End(_) => depth -= 1,
            _ => {}
        }
    }
    runs.close_run(text.len());
    runs.runs
}

/// Collects the runs of a text from left to right.
struct RunCollector<'a> {
    text: &'a str,
    runs: Vec<TextRun>,
    /// Where the open run of prose starts.
    start: usize,
    begins_section: bool,
    /// Where the last block of the open run starts.
    last_block: usize,
}

impl RunCollector<'_> {
    /// Handles the start of a top-level block. A run that would become too long ends at its last block.
    fn start_block(&mut self, start: usize, is_heading: bool) {
        if start < self.start {
            return;
        }
        if start - self.start > LONGEST_RUN {
            self.close_run(self.last_block);
        }
        if start - self.start > LONGEST_RUN {
            self.close_run(start);
        }
        if self.text[self.start..start].trim_start().is_empty() {
            self.begins_section = is_heading;
        }
        self.last_block = start;
    }

    fn add_table_or_code(&mut self, range: Range<usize>, chunk_size: usize) {
        if range.start >= self.start && code_points::count_code_points(self.text, range.clone()) <= chunk_size {
            self.close_run(range.start);
            self.start = range.end;
            self.last_block = range.end;
            self.runs.push(TextRun {
                range,
                kind: RunKind::Atom,
                begins_section: false,
            });
        }
    }

    fn close_run(&mut self, end: usize) {
        if self.start < end {
            let kind = if end - self.start > LONGEST_RUN {
                RunKind::Huge
            } else {
                RunKind::Prose
            };
            self.runs.push(TextRun {
                range: self.start..end,
                kind,
                begins_section: self.begins_section,
            });
            self.start = end;
        }
        self.begins_section = false;
    }
}

/// Start of the line that `position` is on, not before `from`: a block keeps its indentation, and what stands before it
/// on its line is not cut off.
fn line_start(text: &str, from: usize, position: usize) -> usize {
    text[from..position].rfind('\n').map_or(from, |at| from + at + 1)
}

fn trim_range(text: &str, range: Range<usize>, settings: &SplitSettings) -> Range<usize> {
    if !settings.strip {
        return range;
    }
    let stripped = code_points::strip_range(text, range.clone());
    // Indentation has a meaning in Markdown: only blank lines are removed in front.
    line_start(text, range.start, stripped.start)..stripped.end
}

fn split_prose(text: &str, range: Range<usize>, settings: &SplitSettings) -> Vec<Range<usize>> {
    let config = ChunkConfig::new(settings.chunk_size)
        .with_overlap(settings.chunk_overlap)
        .expect("valid settings overlap by less than a chunk")
        .with_trim(settings.strip);
    let offset = range.start;
    let splitter = MarkdownSplitter::new(config);
    let chunks = splitter.chunk_indices(&text[range]);
    chunks
        .map(|(at, chunk)| offset + at..offset + at + chunk.len())
        .collect()
}

fn split_huge(text: &str, range: Range<usize>, settings: &SplitSettings) -> Vec<Range<usize>> {
    let offset = range.start;
    let (chunk_size, chunk_overlap, strip) = (settings.chunk_size, settings.chunk_overlap, settings.strip);
    let usual = SplitSettings {
        chunk_size,
        chunk_overlap,
        strip,
        ..SplitSettings::default()
    };
    let pieces = recursive::split_recursively(&text[range], &usual);
    pieces
        .into_iter()
        .map(|piece| offset + piece.range.start..offset + piece.range.end)
        .collect()
}

#[cfg(test)]
mod tests;
