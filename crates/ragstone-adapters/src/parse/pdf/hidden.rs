//! Spans that no reader sees on the page: white on an unpainted page, below a point, or outside of the page's box.
//!
//! White letters on something painted are visible, so images and filled paths under each white span are looked up. If a
//! page paints with what the engine's paths do not report (patterns, shadings), white text is kept. Text under a scan
//! is on the scan's image, whatever its colour, and is kept.

use xberg_native_pdf::document::PdfDocument;
use xberg_native_pdf::geometry::Rect;
use xberg_native_pdf::layout::{Color, TextSpan};
use xberg_native_pdf::object::Object;

use super::super::hidden::{HiddenTextKind, HiddenTextReport};
use super::off_page;

/// Letters below this size, in points, cannot be read.
const SMALLEST: f32 = 1.0;
/// A colour looks white if all its channels (0 to 1) reach this value.
const NEAR_WHITE: f32 = 0.95;
/// A span is outside only if it is at least this far from the page's box, in points: boxes of letters are not exact.
const OUTSIDE_BY: f32 = 2.0;
/// Marks hidden spans: a colour that no file can specify.
const HIDDEN_MARK: Color = Color {
    r: -1.0,
    g: -1.0,
    b: -1.0,
};
/// Resources with which a page may paint areas that the engine's paths do not report.
const UNKNOWN_PAINT: [&str; 2] = ["Shading", "Pattern"];

/// Marks the spans of page `number` (from 1) that no reader sees, and removes characters that carry hidden text.
///
/// Marked spans still take part when the page's order is chosen: white typesetter's notes at the page's edges separate
/// columns that would otherwise be read across (5 of 15 pages of a federal register).
pub(super) fn mark_hidden_spans(
    document: &PdfDocument,
    number: u32,
    spans: &mut [TextSpan],
    hidden: &mut HiddenTextReport,
) {
    let (index, page) = (number as usize - 1, Some(number));
    let media = media_box(document, index);
    if let Some(media) = &media {
        off_page::count_off_page_text(document, number, media, hidden);
    }
    let bounds = media.map(|media| visible_box(document, index, media));
    let mut ground: Option<PaintedAreas> = None;
    for span in spans {
        if let std::borrow::Cow::Owned(text) = hidden.strip_hidden_characters(&span.text, page) {
            span.text = text;
        }
        let kind = if span.text.trim().is_empty() {
            None
        } else if bounds.is_some_and(|bounds| is_outside(&span.bbox, &bounds)) {
            Some(HiddenTextKind::OffPage)
        } else if span.font_size < SMALLEST && span.bbox.height < SMALLEST {
            Some(HiddenTextKind::Tiny)
        } else if is_white(&span.color) {
            ground
                .get_or_insert_with(|| PaintedAreas::from_page(document, index))
                .hidden_kind(span)
        } else {
            None
        };
        let Some(kind) = kind else { continue };
        hidden.count_text(kind, page, &span.text);
        if kind != HiddenTextKind::PerhapsSameColour {
            span.color = HIDDEN_MARK;
        }
    }
}

/// Whether `mark_hidden_spans` marked a span.
pub(super) fn is_marked(span: &TextSpan) -> bool {
    span.color.r == HIDDEN_MARK.r
}

fn is_white(color: &Color) -> bool {
    color.r.min(color.g).min(color.b) >= NEAR_WHITE
}

/// The media box, which is the whole sheet; `None` if the file does not define it.
fn media_box(document: &PdfDocument, index: usize) -> Option<Rect> {
    let (left, bottom, right, top) = document.get_page_media_box(index).ok()?;
    let media = Rect::from_points(left.min(right), bottom.min(top), left.max(right), bottom.max(top));
    (media.width > 0.0 && media.height > 0.0).then_some(media)
}

/// The box that a viewer shows: the crop box if it is usable, otherwise the media box.
fn visible_box(document: &PdfDocument, index: usize, media: Rect) -> Rect {
    let crop = document.get_page_info(index).ok().and_then(|info| info.crop_box);
    let shown = crop.filter(|crop| crop.width > 0.0 && crop.height > 0.0 && !is_outside(crop, &media));
    shown.unwrap_or(media)
}

/// Whether a box is entirely outside of another one.
pub(super) fn is_outside(inner: &Rect, bounds: &Rect) -> bool {
    inner.x + inner.width < bounds.x - OUTSIDE_BY
        || inner.y + inner.height < bounds.y - OUTSIDE_BY
        || inner.x > bounds.x + bounds.width + OUTSIDE_BY
        || inner.y > bounds.y + bounds.height + OUTSIDE_BY
}

/// What a page paints, apart from text.
struct PaintedAreas {
    images: Vec<Rect>,
    /// Boxes of filled paths that are not white or whose colour is not known.
    painted: Vec<Rect>,
    /// Whether something may be painted that is neither an image nor a known path.
    unknown: bool,
}

impl PaintedAreas {
    fn from_page(document: &PdfDocument, index: usize) -> Self {
        let images = document.page_image_handles(index);
        let paths = document.extract_paths(index);
        let resources = document.get_page_resources(index);
        let has = |name: &str| {
            resources
                .as_ref()
                .is_ok_and(|resources| has_resource(document, resources, name))
        };
        let unknown =
            images.is_err() || paths.is_err() || resources.is_err() || UNKNOWN_PAINT.iter().any(|name| has(name));
        let colours_known = !has("ColorSpace") && !unknown;
        let paints = |fill: &Option<Color>| fill.as_ref().is_some_and(|fill| !colours_known || !is_white(fill));
        Self {
            images: images.unwrap_or_default().iter().map(|image| image.bbox).collect(),
            painted: paths
                .unwrap_or_default()
                .into_iter()
                .filter(|path| paints(&path.fill_color))
                .map(|path| path.bbox)
                .collect(),
            unknown,
        }
    }

    /// How a white span is hidden; `None` if something is painted under it.
    fn hidden_kind(&self, span: &TextSpan) -> Option<HiddenTextKind> {
        let covers = |rect: &Rect| boxes_overlap(rect, &span.bbox);
        if self.images.iter().chain(&self.painted).any(covers) {
            return None;
        }
        Some(match self.unknown {
            true => HiddenTextKind::PerhapsSameColour,
            false => HiddenTextKind::SameColour,
        })
    }
}

fn boxes_overlap(a: &Rect, b: &Rect) -> bool {
    a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height
}

/// Whether a page's resources have an entry of this kind.
fn has_resource(document: &PdfDocument, resources: &Object, kind: &str) -> bool {
    let entry = resources.as_dict().and_then(|resources| resources.get(kind));
    let entry = entry.and_then(|entry| document.resolve_object(entry).ok());
    entry.is_some_and(|entry| entry.as_dict().is_some_and(|entries| !entries.is_empty()))
}
