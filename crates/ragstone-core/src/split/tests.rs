use proptest::prelude::*;

use super::{SplitChunk, SplitSettings, SplitStrategy, code_points, split_document};
use crate::document::{PageSpan, ParsedDocument};
use crate::split::markdown::markdown_sections;

fn document(pages: &[&str]) -> ParsedDocument {
    let mut text = String::new();
    let mut spans = Vec::new();
    for (number, page) in (1..).zip(pages) {
        let start = text.len();
        text.push_str(page);
        spans.push(PageSpan {
            page: Some(number),
            range: start..text.len(),
        });
    }
    let sections = markdown_sections(&text);
    let media_type = String::from("application/pdf");
    ParsedDocument {
        title: None,
        media_type,
        text,
        pages: spans,
        sections,
        warnings: Vec::new(),
        attachments: Vec::new(),
    }
}

fn settings(chunk_size: usize, chunk_overlap: usize, strategy: SplitStrategy) -> SplitSettings {
    SplitSettings {
        chunk_size,
        chunk_overlap,
        strategy,
        ..Default::default()
    }
}

fn check(pages: &[&str], settings: &SplitSettings, expected: &[(&str, u32, Option<&str>)]) {
    let segments = split_document(&document(pages), settings);
    let found: Vec<_> = segments
        .iter()
        .map(|segment| (segment.text.as_str(), segment.page.unwrap(), segment.section.as_deref()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn pages_and_sections_of_chunks() {
    let pages = ["one\n\n# A\n\ntwo\n", "three\n\n## B\n\nfour\n", "", " \n"];
    let expected = [
        ("one\n\n# A", 1, None),
        ("two", 1, Some("A")),
        ("three", 2, Some("A")),
        ("## B", 2, Some("A > B")),
        ("four", 2, Some("A > B")),
    ];
    check(&pages, &settings(9, 0, SplitStrategy::Recursive), &expected);
    let whole = [("one\n\n# A\n\ntwo", 1, None), ("three\n\n## B\n\nfour", 2, Some("A"))];
    check(&pages, &settings(800, 150, SplitStrategy::Recursive), &whole);
    check(&pages, &settings(800, 150, SplitStrategy::Markdown), &whole);
}

#[test]
fn a_document_without_pages_is_one_text() {
    let mut document = document(&["# A\n\nb\n"]);
    document.pages.clear();
    let segments = split_document(&document, &SplitSettings::default());
    let section = Some(String::from("A"));
    assert_eq!(
        segments,
        [SplitChunk {
            text: String::from("# A\n\nb"),
            range: 0..6,
            page: None,
            section
        }]
    );
}

proptest! {
    #[test]
    fn chunks_stay_on_their_page(
        pages in prop::collection::vec("([a-zé漢# \n]{0,12}\n{0,2}){0,12}", 0..5),
        size in 1..50_usize,
        overlap in 0..20_usize,
        recursive in any::<bool>(),
    ) {
        let document = document(&pages.iter().map(String::as_str).collect::<Vec<_>>());
        let strategy = if recursive { SplitStrategy::Recursive } else { SplitStrategy::Markdown };
        let segments = split_document(&document, &settings(size, overlap.min(size - 1), strategy));
        for segment in &segments {
            prop_assert_eq!(document.text.get(segment.range.clone()), Some(segment.text.as_str()));
            let page = &document.pages[segment.page.unwrap() as usize - 1].range;
            prop_assert!(page.start <= segment.range.start && segment.range.end <= page.end);
        }
        let covered = |at: usize| segments.iter().any(|segment| segment.range.contains(&at));
        for (at, character) in document.text.char_indices() {
            prop_assert!(code_points::is_space(character) || covered(at), "{:?} at {} is in no chunk", character, at);
        }
    }
}
