//! Merging piece by piece, with a window of the pieces that are in the open chunk.

use std::collections::VecDeque;
use std::ops::Range;

use super::{RecursiveSplitter, separator::SeparatorFinder};
use crate::split::{KeepSeparator, TextPiece, code_points};

impl RecursiveSplitter<'_> {
    /// Splits `part` at `separator`, which must not be empty.
    pub(super) fn split_by_window(
        &mut self,
        part: Range<usize>,
        separator: &SeparatorFinder,
        deeper: &[SeparatorFinder],
    ) {
        let (size, overlap) = (self.settings.chunk_size, self.settings.chunk_overlap);
        let joined = self.settings.keep_separator == KeepSeparator::None;
        let mut window = PieceWindow::new(if joined { separator.code_point_count() } else { 0 });
        for piece in separator.split_pieces(self.text, part, self.settings.keep_separator) {
            let length = code_points::count_code_points(self.text, piece.clone());
            if length >= size {
                self.close_window(&window, separator);
                window.clear();
                self.split_long(piece, deeper);
                continue;
            }
            if window.length_with(length) > size {
                self.close_window(&window, separator);
                while window.length > overlap || (window.length > 0 && window.length_with(length) > size) {
                    window.drop_first();
                }
            }
            window.push(piece, length);
        }
        self.close_window(&window, separator);
    }

    /// Adds the pieces in the window as one chunk; does nothing if there are none.
    fn close_window(&mut self, window: &PieceWindow, separator: &SeparatorFinder) {
        let (Some((first, _)), Some((last, _))) = (window.pieces.front(), window.pieces.back()) else {
            return;
        };
        let span = first.start..last.end;
        if self.settings.keep_separator != KeepSeparator::None || window.is_contiguous(separator.len()) {
            return self.push_chunk(span);
        }
        let range = self.strip_chunk(span);
        let pieces: Vec<&[u8]> = window
            .pieces
            .iter()
            .map(|(piece, _)| &self.text.as_bytes()[piece.clone()])
            .collect();
        let joined = String::from_utf8(pieces.join(separator.as_bytes())).expect("made of whole strings");
        let text = if self.settings.strip {
            joined.trim_matches(code_points::is_space).to_owned()
        } else {
            joined
        };
        if !text.is_empty() {
            self.pieces.push(TextPiece { text, range });
        }
    }
}

/// Pieces in order with their lengths in code points.
struct PieceWindow {
    pieces: VecDeque<(Range<usize>, usize)>,
    /// Length of the pieces with what is inserted between them, in code points.
    length: usize,
    /// Length of what is inserted between two pieces, in code points.
    glue: usize,
}

impl PieceWindow {
    fn new(glue: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            length: 0,
            glue,
        }
    }

    fn length_with(&self, next: usize) -> usize {
        self.length + next + if self.pieces.is_empty() { 0 } else { self.glue }
    }

    fn push(&mut self, piece: Range<usize>, length: usize) {
        self.length = self.length_with(length);
        self.pieces.push_back((piece, length));
    }

    fn drop_first(&mut self) {
        if let Some((_, length)) = self.pieces.pop_front() {
            self.length -= length + if self.pieces.is_empty() { 0 } else { self.glue };
        }
    }

    fn clear(&mut self) {
        self.pieces.clear();
        self.length = 0;
    }

    /// Whether exactly one separator of `gap` bytes stands between any two pieces.
    fn is_contiguous(&self, gap: usize) -> bool {
        let following = self.pieces.iter().skip(1);
        self.pieces
            .iter()
            .zip(following)
            .all(|((before, _), (after, _))| before.end + gap == after.start)
    }
}
