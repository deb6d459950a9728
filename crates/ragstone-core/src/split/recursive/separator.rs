//! Separators, prepared for search in both directions.

use std::ops::Range;

use memchr::memmem::{self, Finder, FinderRev};

use crate::split::KeepSeparator;

/// Longest separator, in bytes, that is checked for overlapping itself; the check is not worth it for longer ones.
const LONGEST_REVERSIBLE: usize = 16;

pub(super) struct SeparatorFinder<'a> {
    forward: Finder<'a>,
    /// Present if no prefix of the separator is also its suffix: then two occurrences never overlap, and a search from
    /// the right finds the same ones as a search from the left.
    backward: Option<FinderRev<'a>>,
}

impl<'s> SeparatorFinder<'s> {
    pub(super) fn from_texts(separators: &'s [String]) -> Vec<Self> {
        separators.iter().map(|text| Self::new(text)).collect()
    }

    fn new(text: &'s str) -> Self {
        let bytes = text.as_bytes();
        let mut borders = (1..bytes.len()).filter(|&length| bytes.ends_with(&bytes[..length]));
        let borderless = bytes.len() <= LONGEST_REVERSIBLE && borders.next().is_none();
        Self {
            forward: Finder::new(bytes),
            backward: borderless.then(|| FinderRev::new(bytes)),
        }
    }

    /// Whether its occurrences can be searched from both sides.
    pub(super) fn is_reversible(&self) -> bool {
        self.backward.is_some()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.forward.needle()
    }

    pub(super) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// Whether this is the empty separator, which cuts between any two characters.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn code_point_count(&self) -> usize {
        // Bytes that continue a code point have the form 10xxxxxx.
        self.as_bytes().iter().filter(|&&byte| byte & 0xc0 != 0x80).count()
    }

    pub(super) fn occurs_in(&self, text: &str) -> bool {
        self.forward.find(text.as_bytes()).is_some()
    }

    pub(super) fn is_doubled_in(&self, text: &str) -> bool {
        memmem::find(text.as_bytes(), &self.as_bytes().repeat(2)).is_some()
    }

    /// `part` without one separator at its start and one at its end.
    pub(super) fn trim_part(&self, text: &str, mut part: Range<usize>) -> Range<usize> {
        if text.as_bytes()[part.clone()].starts_with(self.as_bytes()) {
            part.start += self.len();
        }
        if text.as_bytes()[part.clone()].ends_with(self.as_bytes()) {
            part.end -= self.len();
        }
        part
    }

    pub(super) fn first_in(&self, bytes: &[u8]) -> Option<usize> {
        self.forward.find(bytes)
    }

    /// Position of the last occurrence; always `None` if the separator is not reversible.
    pub(super) fn last_in(&self, bytes: &[u8]) -> Option<usize> {
        self.backward.as_ref().and_then(|finder| finder.rfind(bytes))
    }

    /// The pieces of `part` between occurrences of this separator, which must not be empty; empty pieces are left out.
    pub(super) fn split_pieces<'a>(
        &'a self,
        text: &'a str,
        part: Range<usize>,
        keep: KeepSeparator,
    ) -> impl Iterator<Item = Range<usize>> + 'a {
        let (before, after) = match keep {
            KeepSeparator::Start => (0, 0),
            KeepSeparator::End => (self.len(), self.len()),
            KeepSeparator::None => (0, self.len()),
        };
        let Range { mut start, end } = part;
        let offset = start;
        let found = self
            .forward
            .find_iter(&text.as_bytes()[part])
            .map(move |at| offset + at);
        let cuts = found.map(move |at| (at + before, at + after)).chain([(end, end)]);
        cuts.map(move |(piece_end, next)| std::mem::replace(&mut start, next)..piece_end)
            .filter(|piece| !piece.is_empty())
    }
}
