//! Headings, told by their look.
use ragstone_core::document::SectionSpan;

use super::line::Line;

#[derive(Default)]
pub(super) struct Headings {}

impl Headings {
    pub(super) fn see(&mut self, _line: &Line, _offset: usize) {}
    pub(super) fn end_page(&mut self) {}
    pub(super) fn sections(self, _length: usize) -> Vec<SectionSpan> {
        Vec::new()
    }
}
