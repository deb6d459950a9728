use proptest::prelude::*;

use super::{LONGEST_RUN, markdown_sections, split_markdown};
use crate::split::{SplitSettings, SplitStrategy, TextPiece};

const GUIDE: &str = "\
Before any heading.

# Setup

Read this first.

## Linux

Use the package.

| distribution | command |
|---|---|
| Debian | apt install it |
| Fedora | dnf install it |

## macOS `beta`

```sh
brew install it

it --version
```

# Use *it*

Done.
";

fn settings(chunk_size: usize, chunk_overlap: usize, strip: bool) -> SplitSettings {
    SplitSettings {
        chunk_size,
        chunk_overlap,
        strip,
        strategy: SplitStrategy::Markdown,
        ..Default::default()
    }
}

fn texts(pieces: &[TextPiece]) -> Vec<&str> {
    pieces.iter().map(|piece| piece.text.as_str()).collect()
}

fn check_sections(text: &str, expected: &[(&str, &str)]) {
    let sections = markdown_sections(text);
    let found: Vec<_> = sections
        .iter()
        .map(|section| (section.path.as_str(), &text[section.range.clone()]))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn sections_have_paths() {
    let paths: Vec<_> = markdown_sections(GUIDE)
        .into_iter()
        .map(|section| section.path)
        .collect();
    assert_eq!(paths, ["Setup", "Setup > Linux", "Setup > macOS beta", "Use it"]);
    check_sections("", &[]);
    check_sections("no heading", &[]);
    check_sections("a\n# B\nc\n", &[("B", "# B\nc\n")]);
    check_sections(
        "### Deep\n# High\n## Low\n",
        &[("Deep", "### Deep\n"), ("High", "# High\n"), ("High > Low", "## Low\n")],
    );
    check_sections(
        "Title\n=====\nx\n\nSub\n---\n",
        &[("Title", "Title\n=====\nx\n\n"), ("Title > Sub", "Sub\n---\n")],
    );
    check_sections("# \n\n> # quoted\n\n```\n# comment\n```\n", &[]);
    check_sections("---\ntitle: x\n---\n\n# A {#id}\n", &[("A", "# A {#id}\n")]);
    check_sections(
        "# C\u{a0}\u{a0}sharp [site](http://example.org)\n",
        &[("C sharp site", "# C\u{a0}\u{a0}sharp [site](http://example.org)\n")],
    );
}

#[test]
fn a_short_text_is_one_chunk() {
    assert_eq!(
        texts(&split_markdown(GUIDE, &settings(800, 150, true))).len(),
        3,
        "sections after a table or code stand alone"
    );
    assert_eq!(
        texts(&split_markdown("a\n\nb\n", &settings(800, 150, true))),
        ["a\n\nb"]
    );
    assert!(split_markdown(" \n\n ", &settings(800, 150, true)).is_empty());
    assert!(split_markdown("", &settings(800, 150, true)).is_empty());
}

#[test]
fn tables_and_code_stay_whole_where_they_fit() {
    let table = &GUIDE[GUIDE.find("| distribution").unwrap()..GUIDE.find("\n\n## macOS").unwrap()];
    let code = &GUIDE[GUIDE.find("```sh").unwrap()..GUIDE.find("\n\n# Use").unwrap()];
    for size in [93, 100, 120, 200, 400] {
        for overlap in [0, 30, 92] {
            let pieces = split_markdown(GUIDE, &settings(size, overlap, true));
            assert!(
                pieces.iter().any(|piece| piece.text.contains(table)),
                "table with {size}/{overlap}: {pieces:#?}"
            );
            assert!(
                pieces.iter().any(|piece| piece.text.contains(code)),
                "code with {size}/{overlap}"
            );
        }
    }
}

#[test]
fn a_table_that_does_not_fit_is_cut_between_rows() {
    let rows = "| one row | of a table |\n".repeat(40);
    let text = format!("| a | b |\n|---|---|\n{rows}");
    for piece in split_markdown(&text, &settings(200, 0, true)) {
        assert!(
            piece.text.starts_with('|') && piece.text.ends_with('|'),
            "{:?}",
            piece.text
        );
    }
}

#[test]
fn code_in_a_list_is_whole_and_keeps_its_indentation() {
    let text = "- first\n\n  ```\n  let a = 1;\n\n  let b = 2;\n  ```\n\n- second\n";
    let pieces = split_markdown(text, &settings(42, 0, true));
    assert_eq!(
        texts(&pieces),
        ["- first", "  ```\n  let a = 1;\n\n  let b = 2;\n  ```", "- second"]
    );
}

#[test]
fn text_before_a_table_joins_it_and_a_heading_after_does_not() {
    let text = "Prices:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nas of May.\n\n\
                | c |\n|---|\n| 3 |\n\n# Next\n\nx\n";
    let pieces = split_markdown(text, &settings(60, 0, true));
    assert_eq!(
        texts(&pieces),
        [
            "Prices:\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nas of May.",
            "| c |\n|---|\n| 3 |",
            "# Next\n\nx"
        ]
    );
}

/// Work that grew with the square of the elements would take minutes here.
#[test]
fn long_texts() {
    for unit in [
        "x",
        "lorem ipsum ",
        "lorem ipsum\n",
        "- item\n",
        "# a\n\nb\n\n",
        "```\na\n```\n",
        "*a _b ",
    ] {
        let text = unit.repeat(10 * LONGEST_RUN / unit.len());
        let pieces = split_markdown(&text, &settings(800, 150, true));
        assert!(pieces.iter().all(|piece| piece.text.len() <= 800));
        assert!(pieces.len() >= text.len() / 800, "{unit:?}");
    }
}

fn markdown() -> impl Strategy<Value = String> {
    let block = prop_oneof![
        "#{1,4} [a-z]{1,8}( [a-zé]{1,8})?\n",
        "([a-zé漢,.]{1,9} ){1,40}\n",
        "(- [a-z ]{1,20}\n){1,5}",
        "(  - [a-z]{1,9}\n\n    [a-z]{1,9}\n){1,3}",
        "```\n([a-z ]{0,20}\n){0,8}```\n",
        "- ```\n  ([a-z ]{0,20}\n  ){0,8}```\n",
        "\\| a \\| b \\|\n\\|---\\|---\\|\n(\\| [a-z]{1,9} \\| é \\|\n){0,9}",
        "> ([a-z ]{1,20}\n> ){0,4}x\n",
        "    ([a-z ]{1,20}\n    ){0,4}x\n",
        "[ \t\u{3000}\u{a0}\r\n]{1,4}",
        "<div>\n[a-z ]{1,30}\n</div>\n",
        "[*_`\\[\\]()!<>#|~^$\\\\\n a-z-]{1,40}",
    ];
    prop::collection::vec((block, prop::bool::ANY), 0..12).prop_map(|blocks| {
        blocks
            .into_iter()
            .map(|(block, blank)| if blank { block + "\n" } else { block })
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn chunks_hold(text in markdown(), size in 1..200_usize, overlap in 0..60_usize, strip in any::<bool>()) {
        let pieces = split_markdown(&text, &settings(size, overlap.min(size - 1), strip));
        let mut end = 0;
        for piece in &pieces {
            prop_assert_eq!(text.get(piece.range.clone()), Some(piece.text.as_str()));
            prop_assert!(piece.text.chars().count() <= size && !piece.text.is_empty());
            let between = text.get(end..piece.range.start).unwrap_or_default();
            let nothing_lost = if strip { between.trim().is_empty() } else { between.is_empty() };
            prop_assert!(nothing_lost, "lost {:?}", between);
            prop_assert!(end < piece.range.end, "each adds something");
            end = piece.range.end;
        }
        let rest_is_blank = if strip { text[end..].trim().is_empty() } else { end == text.len() };
        prop_assert!(rest_is_blank);
        prop_assert!(pieces.windows(2).all(|pair| pair[0].range.start <= pair[1].range.start));
    }

    #[test]
    fn sections_follow_each_other(text in markdown()) {
        let sections = markdown_sections(&text);
        prop_assert!(sections.windows(2).all(|pair| pair[0].range.end == pair[1].range.start));
        prop_assert!(sections.iter().all(|section| text.get(section.range.clone()).is_some_and(|text| !text.is_empty())));
        prop_assert!(sections.last().is_none_or(|section| section.range.end == text.len()));
    }
}
