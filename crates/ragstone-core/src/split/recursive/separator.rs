//! Separators, prepared for search in both directions.

use std::ops::Range;

use memchr::memmem::{self, Finder, FinderRev};

use crate::split::KeepSeparator;

/// Longer separators are not worth a look for a border.
const LONGEST_WITHOUT_BORDER: usize = 16;

pub(super) struct Separator<'a> {
    forward: Finder<'a>,
    backward: FinderRev<'a>,
    /// No beginning of the separator is also its end: two occurrences never overlap, so any occurrence, in
    /// whichever direction it is found, is one that a search from the left finds too.
    pub(super) borderless: bool,
}

impl<'s> Separator<'s> {
    pub(super) fn all(separators: &'s [String]) -> Vec<Self> {
        separators.iter().map(|text| Self::new(text)).collect()
    }

    fn new(text: &'s str) -> Self {
        let bytes = text.as_bytes();
        let has_border = (1..bytes.len()).any(|length| bytes.ends_with(&bytes[..length]));
        Self {
            forward: Finder::new(bytes),
            backward: FinderRev::new(bytes),
            borderless: bytes.len() <= LONGEST_WITHOUT_BORDER && !has_border,
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.forward.needle()
    }

    pub(super) fn len(&self) -> usize {
        self.as_bytes().len()
    }

    /// The empty separator cuts between any two characters.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn code_points(&self) -> usize {
        // Bytes that continue a code point have the form 10xxxxxx.
        self.as_bytes()
            .iter()
            .filter(|&&byte| byte & 0xc0 != 0x80)
            .count()
    }

    pub(super) fn occurs_in(&self, text: &str) -> bool {
        self.forward.find(text.as_bytes()).is_some()
    }

    pub(super) fn is_doubled_in(&self, text: &str) -> bool {
        memmem::find(text.as_bytes(), &self.as_bytes().repeat(2)).is_some()
    }

    /// `part` without a separator at its start and at its end.
    pub(super) fn trim(&self, text: &str, mut part: Range<usize>) -> Range<usize> {
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

    pub(super) fn last_in(&self, bytes: &[u8]) -> Option<usize> {
        self.backward.rfind(bytes)
    }

    /// The pieces of `part` between occurrences of this (not empty) separator; empty ones are left out.
    pub(super) fn pieces<'a>(
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
