//! Text outside of the sheet, which the engine leaves out without reporting it.
//!
//! A pass over the page's operators finds whether any text begins outside of the sheet; only then is the page read
//! again, with all its text. The operators of forms within a page are not followed: text that only they place outside
//! is left out without a warning.

use xberg_native_pdf::content::{Matrix, Operator, parse_and_execute_text_only};
use xberg_native_pdf::document::PdfDocument;
use xberg_native_pdf::extractors::SpanMergingConfig;
use xberg_native_pdf::geometry::Rect;

use super::super::hidden::{HiddenTextKind, HiddenTextReport};
use super::hidden::is_outside;

/// Most saved graphics states; deeper saves are ignored.
const MAX_DEPTH: usize = 256;

/// Counts the text of page `number` (from 1) that is entirely outside of its sheet `media`.
pub(super) fn count_off_page_text(document: &PdfDocument, number: u32, media: &Rect, hidden: &mut HiddenTextReport) {
    let index = number as usize - 1;
    let Ok(content) = document.get_page_content_data(index) else {
        return;
    };
    let mut walk = TextPositionTracker::default();
    let mut begins_outside = false;
    let walked = parse_and_execute_text_only(&content, |operator| {
        begins_outside |= walk
            .apply_operator(&operator)
            .is_some_and(|(x, y)| !contains_point(media, x, y));
        Ok(())
    });
    // A page whose operators cannot be read is no less suspect.
    if !begins_outside && walked.is_ok() {
        return;
    }
    let spans = document.extract_spans_with_config(index, SpanMergingConfig::default());
    for span in spans.unwrap_or_default() {
        if is_outside(&span.bbox, media) {
            hidden.count_text(HiddenTextKind::OffPage, Some(number), &span.text);
        }
    }
}

fn contains_point(media: &Rect, x: f32, y: f32) -> bool {
    (media.x..=media.x + media.width).contains(&x) && (media.y..=media.y + media.height).contains(&y)
}

/// Tracks where text begins, as far as operators alone determine it: the widths of letters are not known here.
struct TextPositionTracker {
    states: Vec<(Matrix, f32)>,
    page: Matrix,
    line: Matrix,
    leading: f32,
}

impl Default for TextPositionTracker {
    fn default() -> Self {
        Self {
            states: Vec::new(),
            page: Matrix::identity(),
            line: Matrix::identity(),
            leading: 0.0,
        }
    }
}

impl TextPositionTracker {
    /// Applies an operator; returns the position of the text that it shows, if it shows any.
    fn apply_operator(&mut self, operator: &Operator) -> Option<(f32, f32)> {
        match *operator {
            Operator::SaveState if self.states.len() < MAX_DEPTH => {
                self.states.push((self.page, self.leading));
            }
            Operator::RestoreState => {
                (self.page, self.leading) = self.states.pop().unwrap_or((self.page, self.leading));
            }
            Operator::Cm { a, b, c, d, e, f } => {
                self.page = Matrix { a, b, c, d, e, f }.multiply(&self.page);
            }
            Operator::BeginText => self.line = Matrix::identity(),
            Operator::Tm { a, b, c, d, e, f } => self.line = Matrix { a, b, c, d, e, f },
            Operator::TL { leading } => self.leading = leading,
            Operator::Td { tx, ty } => self.next_line(tx, ty),
            Operator::TD { tx, ty } => {
                self.leading = -ty;
                self.next_line(tx, ty);
            }
            Operator::TStar => self.next_line(0.0, -self.leading),
            Operator::Tj { .. } | Operator::TJ { .. } => return Some(self.text_position()),
            Operator::Quote { .. } | Operator::DoubleQuote { .. } => {
                self.next_line(0.0, -self.leading);
                return Some(self.text_position());
            }
            _ => {}
        }
        None
    }

    fn next_line(&mut self, x: f32, y: f32) {
        self.line = Matrix::translation(x, y).multiply(&self.line);
    }

    fn text_position(&self) -> (f32, f32) {
        let point = self.line.multiply(&self.page).transform_point(0.0, 0.0);
        (point.x, point.y)
    }
}
