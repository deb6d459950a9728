//! Joins spans in reading order into lines, and lines into the text of a page.

use xberg_native_pdf::layout::TextSpan;

use super::super::normalise::push_normalised;
use super::upright::span_rotation;

/// A new line begins where the baseline shifts by more than this share of the height.
const LINE_SHIFT: f32 = 0.5;
/// A gap wider than this share of the height is a space.
const SPACE_GAP: f32 = 0.12;
/// A span that steps back by more than this many heights begins a new line even on the same baseline.
const STEP_BACK: f32 = 1.0;
/// A paragraph ends where the distance to the next line exceeds this many usual distances.
pub(super) const PARAGRAPH_ADVANCE: f32 = 1.35;
/// A line in letters this many times the size of the next line's is set like a heading.
const HEADING_SIZE: f32 = 1.12;
/// Most bytes of a line that is set like a heading.
const HEADING_BYTES: usize = 160;

/// One line of text, with its position and style.
#[derive(Debug)]
pub(super) struct PdfLine {
    pub(super) text: String,
    /// Baseline, in points from the bottom of the page.
    pub(super) y: f32,
    /// Largest font size, in points.
    pub(super) size: f32,
    /// Whether the line runs in another direction than most of the page.
    pub(super) aside: bool,
    /// Whether most of the line is bold.
    pub(super) bold: bool,
}

/// Trims white space at the ends of spans: some writers pad cells with it, over the cells that follow.
pub(super) fn drop_padding(spans: &mut [TextSpan]) {
    for span in spans {
        let kept = span.text.trim_end().len();
        let padding = span.text[kept..].chars().count();
        // A single space may be all that separates two words.
        if kept == 0 || padding < 2 {
            continue;
        }
        let characters = span.text[..kept].chars().count();
        span.bbox.width = if span.char_widths.len() == characters + padding {
            span.char_widths[..characters].iter().sum()
        } else {
            span.bbox.width * characters as f32 / (characters + padding) as f32
        };
        span.text.truncate(kept);
    }
}

/// Joins spans that follow each other in reading order; most of the page's text runs in `direction`, in degrees.
pub(super) fn join_spans(spans: &[TextSpan], direction: i32) -> Vec<PdfLine> {
    let mut lines = Vec::new();
    let mut open: Option<LineBuilder> = None;
    for span in spans.iter().filter(|span| !span.text.is_empty()) {
        match &mut open {
            Some(line) if line.accepts_span(span) => line.push(span),
            _ => {
                lines.extend(open.take().and_then(LineBuilder::finish_line));
                open = Some(LineBuilder::from_span(span, direction));
            }
        }
    }
    lines.extend(open.and_then(LineBuilder::finish_line));
    lines
}

/// Writes the lines of a page, with an empty line between paragraphs, and reports where each begins.
pub(super) fn write_lines(lines: &[PdfLine], out: &mut String, mut begins: impl FnMut(&PdfLine, usize)) {
    let usual = median_advance(lines);
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            out.push('\n');
            let advance = lines[index - 1].y - line.y;
            if advance > usual * PARAGRAPH_ADVANCE || stands_alone(&lines[index - 1], line) {
                out.push('\n');
            }
        }
        begins(line, out.len());
        out.push_str(&line.text);
    }
    if !out.is_empty() {
        out.push('\n');
    }
}

/// Whether `line` is set like a heading over `next`, so that no sentence continues from one into the other.
fn stands_alone(line: &PdfLine, next: &PdfLine) -> bool {
    let set_off = line.size > next.size * HEADING_SIZE || (line.bold && !next.bold);
    set_off && !line.aside && line.text.len() <= HEADING_BYTES && !line.text.ends_with([',', ';', '-'])
}

/// Median distance of successive baselines; infinite if there are none to compare.
fn median_advance(lines: &[PdfLine]) -> f32 {
    let mut advances: Vec<f32> = lines
        .windows(2)
        .map(|pair| pair[0].y - pair[1].y)
        .filter(|advance| *advance > 0.0)
        .collect();
    if advances.is_empty() {
        return f32::INFINITY;
    }
    let middle = advances.len() / 2;
    *advances.select_nth_unstable_by(middle, f32::total_cmp).1
}

struct LineBuilder {
    line: PdfLine,
    right: f32,
    height: f32,
    rotation: i32,
    letters: usize,
    bold_letters: usize,
}

impl LineBuilder {
    fn from_span(span: &TextSpan, direction: i32) -> Self {
        let mut line = Self {
            line: PdfLine {
                text: String::new(),
                y: span.bbox.y,
                size: 0.0,
                aside: span_rotation(span) != direction,
                bold: false,
            },
            right: span.bbox.x,
            height: span_height(span),
            rotation: span_rotation(span),
            letters: 0,
            bold_letters: 0,
        };
        line.push(span);
        line
    }

    fn accepts_span(&self, span: &TextSpan) -> bool {
        let height = self.height.max(span_height(span));
        self.rotation == span_rotation(span)
            && (span.bbox.y - self.line.y).abs() <= LINE_SHIFT * height
            && span.bbox.x >= self.right - STEP_BACK * height
    }

    fn push(&mut self, span: &TextSpan) {
        let gap = span.bbox.x - self.right;
        let apart = gap > SPACE_GAP * self.height.min(span_height(span));
        if apart && !self.line.text.ends_with(char::is_whitespace) && !span.text.starts_with(char::is_whitespace) {
            self.line.text.push(' ');
        }
        push_normalised(&mut self.line.text, &span.text);
        let letters = span.text.chars().filter(|character| !character.is_whitespace()).count();
        self.letters += letters;
        if span.font_weight.is_bold() {
            self.bold_letters += letters;
        }
        if letters > 0 {
            self.line.size = self.line.size.max(span.font_size);
        }
        self.right = self.right.max(span.bbox.x + span.bbox.width);
        self.height = self.height.max(span_height(span));
    }

    /// Returns the line, unless it is only white space.
    fn finish_line(mut self) -> Option<PdfLine> {
        let text = self.line.text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.line.text = text;
        self.line.bold = self.bold_letters * 2 > self.letters;
        (!self.line.text.is_empty()).then_some(self.line)
    }
}

/// Height of a span's letters, in points, never zero.
fn span_height(span: &TextSpan) -> f32 {
    let height = if span.bbox.height > 0.0 {
        span.bbox.height
    } else {
        span.font_size
    };
    if height.is_finite() { height.max(1.0) } else { 1.0 }
}
