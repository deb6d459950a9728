//! Splits the text of a document into the chunks that are stored.
//!
//! Invariant: a chunk never crosses a page, and its range lies in the document's text on character boundaries.

mod code_points;
mod fit;
pub mod markdown;
pub mod recursive;
mod settings;

use std::ops::Range;

pub use settings::{KeepSeparator, SplitSettings, SplitSettingsError, SplitStrategy};

use crate::document::{PageSpan, ParsedDocument, SectionSpan};

/// Whether parsers turn files of this media type into Markdown.
pub fn arrives_as_markdown(media_type: &str) -> bool {
    let office = media_type.starts_with("application/vnd.openxmlformats-officedocument.")
        || media_type.starts_with("application/vnd.oasis.opendocument.")
        || media_type.starts_with("application/vnd.ms-");
    let others = [
        "text/markdown",
        "text/html",
        "text/csv",
        "application/xhtml+xml",
        "application/msword",
        "application/rtf",
        "application/epub+zip",
        "message/rfc822",
    ];
    office || others.contains(&media_type)
}

/// A part of a text, as cut by a splitter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPiece {
    /// The text to store. Equal to the text at `range`, with the one exception that [`recursive`] documents.
    pub text: String,
    /// Byte range in the text that was split.
    pub range: Range<usize>,
}

/// A chunk of a document: its text and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitChunk {
    /// The text to store.
    pub text: String,
    /// Byte range in the document's text.
    pub range: Range<usize>,
    /// The page it stands on, from 1; `None` if the format has no pages.
    pub page: Option<u32>,
    /// The heading path at its first byte; `None` outside any section.
    pub section: Option<String>,
}

/// Splits a document page by page with `settings`, which must be valid.
pub fn split_document(document: &ParsedDocument, settings: &SplitSettings) -> Vec<SplitChunk> {
    let whole = [PageSpan {
        page: None,
        range: 0..document.text.len(),
    }];
    let pages = if document.pages.is_empty() {
        &whole[..]
    } else {
        &document.pages
    };
    let mut segments = Vec::new();
    for page in pages {
        let text = &document.text[page.range.clone()];
        segments.extend(split_page(text, page, &document.sections, settings));
    }
    segments
}

/// Splits the `text` of one `page` of a document with these `sections`. Called for all pages in order, it gives the
/// chunks of [`split_document`].
pub fn split_page<'a>(
    text: &str,
    page: &'a PageSpan,
    sections: &'a [SectionSpan],
    settings: &SplitSettings,
) -> impl Iterator<Item = SplitChunk> + use<'a> {
    let pieces = split_text(text, settings);
    pieces.into_iter().map(move |piece| place_piece(piece, page, sections))
}

/// Splits a page as [`split_page`] does; a chunk for which `fits` is false is cut again, into chunks of half the size,
/// until all of them fit or are too short to be worth it.
pub fn split_page_to_fit(
    text: &str,
    page: &PageSpan,
    sections: &[SectionSpan],
    settings: &SplitSettings,
    fits: &dyn Fn(&str) -> bool,
) -> Vec<SplitChunk> {
    let pieces = fit::split_to_fit(text, settings, fits);
    pieces
        .into_iter()
        .map(|piece| place_piece(piece, page, sections))
        .collect()
}

/// Splits one text with the strategy of `settings`.
pub fn split_text(text: &str, settings: &SplitSettings) -> Vec<TextPiece> {
    match settings.strategy {
        SplitStrategy::Recursive => recursive::split_recursively(text, settings),
        SplitStrategy::Markdown => markdown::split_markdown(text, settings),
    }
}

fn place_piece(piece: TextPiece, page: &PageSpan, sections: &[SectionSpan]) -> SplitChunk {
    let range = piece.range.start + page.range.start..piece.range.end + page.range.start;
    let section = section_at(range.start, sections).map(|section| section.path.clone());
    SplitChunk {
        text: piece.text,
        range,
        page: page.page,
        section,
    }
}

fn section_at(position: usize, sections: &[SectionSpan]) -> Option<&SectionSpan> {
    let after = sections.partition_point(|section| section.range.start <= position);
    sections[..after].last().filter(|section| position < section.range.end)
}

#[cfg(test)]
mod tests;
