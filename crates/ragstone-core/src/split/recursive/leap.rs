//! Merging without visiting each piece: a chunk ends at the last cut that its size can reach, and the next one
//! starts at the first cut that its overlap can reach. Both are found by searching a few bytes.

use std::ops::Range;

use super::{RecursiveSplitter, separator::SeparatorFinder};
use crate::split::{KeepSeparator, code_points};

impl RecursiveSplitter<'_> {
    /// Whether [`Self::split_by_search`] may split `part` at `separator`: it must be reversible, and if it is
    /// dropped, it must not occur twice in a row.
    pub(super) fn can_split_by_search(&self, part: &str, separator: &SeparatorFinder) -> bool {
        let dropped = self.settings.keep_separator == KeepSeparator::None && !separator.is_empty();
        separator.is_reversible() && !(dropped && separator.is_doubled_in(part))
    }

    /// Splits `part` at `separator`, which [`Self::can_split_by_search`] must have accepted.
    pub(super) fn split_by_search(
        &mut self,
        part: Range<usize>,
        separator: &SeparatorFinder,
        deeper: &[SeparatorFinder],
    ) {
        let (text, size, overlap) = (self.text, self.settings.chunk_size, self.settings.chunk_overlap);
        // Length of what stands between two pieces (the separator if it is dropped), in bytes and in code points.
        let dropped = self.settings.keep_separator == KeepSeparator::None;
        let (gap, glue) = if dropped {
            (separator.len(), separator.code_point_count())
        } else {
            (0, 0)
        };
        let part = if dropped { separator.trim_part(text, part) } else { part };
        let cuts = CutPositions::new(text, part.clone(), separator, self.settings.keep_separator);
        // The open chunk; it is empty unless `start < end`.
        let (mut start, mut end) = (part.start, part.start);
        while end < part.end {
            // LangChain merges only pieces shorter than a chunk: one of exactly its length would fit, but must not be
            // the first one taken.
            if start < end || code_points::count_code_points(text, start..cuts.first_cut_from(start + 1)) < size {
                end = cuts
                    .last_cut_within(end, code_points::step_forward(text, start, size, part.end))
                    .unwrap_or(end);
            }
            if end == part.end {
                break;
            }
            let piece_start = if start < end { end + gap } else { start };
            let piece_end = cuts.first_cut_from(piece_start + 1);
            let length = code_points::count_code_points(text, piece_start..piece_end);
            if start < end {
                self.push_chunk(start..end);
            }
            if length < size {
                let kept = overlap.min(size.saturating_sub(length + glue));
                // The first piece from there on; never the one at `start`, as the whole would be longer than `size`.
                start = cuts.first_cut_from(code_points::step_back(text, end, kept, start).saturating_sub(gap)) + gap;
            } else {
                self.split_long(piece_start..piece_end, deeper);
                start = piece_end + gap;
            }
            end = piece_end;
        }
        if start < end {
            self.push_chunk(start..end);
        }
    }
}

/// The positions where a part is cut, its end included. Arguments need not be character boundaries.
struct CutPositions<'a> {
    text: &'a str,
    part: Range<usize>,
    separator: &'a SeparatorFinder<'a>,
    /// Bytes from the start of a separator to its cut.
    shift: usize,
}

impl<'a> CutPositions<'a> {
    fn new(text: &'a str, part: Range<usize>, separator: &'a SeparatorFinder<'a>, keep: KeepSeparator) -> Self {
        let shift = if keep == KeepSeparator::End { separator.len() } else { 0 };
        Self {
            text,
            part,
            separator,
            shift,
        }
    }

    /// The first cut at `position` or after it.
    fn first_cut_from(&self, position: usize) -> usize {
        if self.separator.is_empty() {
            return self.text.ceil_char_boundary(position);
        }
        let from = self.search_start(position);
        let found = self.separator.first_in(&self.text.as_bytes()[from..self.part.end]);
        found.map_or(self.part.end, |at| from + at + self.shift)
    }

    /// The last cut after `position` and not after `limit`, which is a character boundary of the part.
    fn last_cut_within(&self, position: usize, limit: usize) -> Option<usize> {
        if limit == self.part.end || self.separator.is_empty() {
            return (position < limit).then_some(limit);
        }
        let from = self.search_start(position + 1);
        let to = (limit + self.separator.len() - self.shift).min(self.part.end);
        if from >= to {
            return None;
        }
        self.separator
            .last_in(&self.text.as_bytes()[from..to])
            .map(|at| from + at + self.shift)
    }

    /// Where a separator may begin so that its cut lies at `position` or after it.
    fn search_start(&self, position: usize) -> usize {
        position
            .saturating_sub(self.shift)
            .max(self.part.start)
            .min(self.part.end)
    }
}
