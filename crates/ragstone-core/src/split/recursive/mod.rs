//! The recursive splitter: chunks identical to those of LangChain's `RecursiveCharacterTextSplitter`
//! (`langchain-text-splitters` 1.1.3), each with its range.
//!
//! A text is cut at the first of the separators that occurs in it. Pieces shorter than `chunk_size` are merged into
//! chunks up to that size, overlapping by whole pieces; a longer one is cut again by the separators after that one,
//! and if none is left it is a chunk as it stands: unstripped and too long.
//!
//! Invariant: a chunk's text is the text at its range. The exception is
//! [`KeepSeparator::None`](super::KeepSeparator::None) where separators follow each other directly: the empty piece
//! between them is lost and the neighbours are joined with a single separator, so the chunk is not in the text. Its
//! range is then the span from its first to its last character.
//!
//! Two implementations give the same chunks: `leap` searches only around the ends of a chunk, `window` visits every
//! piece. `leap` handles separators that cannot overlap themselves, unless they are dropped and follow each other
//! directly; these are almost all separators of a usual text.

mod leap;
mod separator;
mod window;

use std::ops::Range;

use separator::SeparatorFinder;

use super::{SplitSettings, TextPiece, code_points};

/// Splits `text` by the separators of `settings`, which must be valid.
pub fn split_recursively(text: &str, settings: &SplitSettings) -> Vec<TextPiece> {
    let defaults = if settings.separators.is_empty() {
        SplitSettings::default().separators
    } else {
        Vec::new()
    };
    let given = if settings.separators.is_empty() {
        &defaults
    } else {
        &settings.separators
    };
    let separators = SeparatorFinder::from_texts(given);
    let mut splitter = RecursiveSplitter {
        text,
        settings,
        pieces: Vec::new(),
    };
    splitter.split_part(0..text.len(), &separators);
    splitter.pieces
}

struct RecursiveSplitter<'a> {
    text: &'a str,
    settings: &'a SplitSettings,
    pieces: Vec<TextPiece>,
}

impl RecursiveSplitter<'_> {
    fn split_part(&mut self, part: Range<usize>, separators: &[SeparatorFinder]) {
        let (separator, deeper) = choose_separator(&self.text[part.clone()], separators);
        if self.can_split_by_search(&self.text[part.clone()], separator) {
            self.split_by_search(part, separator, deeper);
        } else {
            self.split_by_window(part, separator, deeper);
        }
    }

    /// Cuts a piece that is not shorter than a chunk by the `deeper` separators; without any, it becomes a chunk.
    fn split_long(&mut self, piece: Range<usize>, deeper: &[SeparatorFinder]) {
        if deeper.is_empty() {
            let text = self.text[piece.clone()].to_owned();
            self.pieces.push(TextPiece { text, range: piece });
        } else {
            self.split_part(piece, deeper);
        }
    }

    fn push_chunk(&mut self, chunk: Range<usize>) {
        let range = self.strip_chunk(chunk);
        if !range.is_empty() {
            self.pieces.push(TextPiece {
                text: self.text[range.clone()].to_owned(),
                range,
            });
        }
    }

    fn strip_chunk(&self, chunk: Range<usize>) -> Range<usize> {
        if self.settings.strip {
            code_points::strip_range(self.text, chunk)
        } else {
            chunk
        }
    }
}

/// The first separator that occurs, and those after it. If none occurs, the last one: it leaves the part whole.
fn choose_separator<'a>(
    part: &str,
    separators: &'a [SeparatorFinder<'a>],
) -> (&'a SeparatorFinder<'a>, &'a [SeparatorFinder<'a>]) {
    let (last, _) = separators.split_last().expect("there is a default for no separators");
    let found = separators
        .iter()
        .position(|separator| separator.is_empty() || separator.occurs_in(part));
    match found {
        Some(index) if !separators[index].is_empty() => (&separators[index], &separators[index + 1..]),
        Some(index) => (&separators[index], &[]),
        None => (last, &[]),
    }
}

#[cfg(test)]
pub(super) mod reference;
#[cfg(test)]
mod tests;
