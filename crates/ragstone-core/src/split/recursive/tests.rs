use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::{reference, split_recursively};
use crate::split::{KeepSeparator, SplitSettings, TextPiece, code_points};

const ORACLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/splitter/cases.json");

#[derive(Deserialize)]
struct Oracle {
    meta: Meta,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Meta {
    settings: BTreeMap<String, OracleSettings>,
}

#[derive(Deserialize)]
struct OracleSettings {
    chunk_size: usize,
    chunk_overlap: usize,
    separators: Vec<String>,
    keep_separator: Option<serde_json::Value>,
    strip_whitespace: Option<bool>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    text: String,
    expected: BTreeMap<String, Vec<String>>,
    start_index: BTreeMap<String, Vec<i64>>,
}

impl From<OracleSettings> for SplitSettings {
    fn from(given: OracleSettings) -> Self {
        let keep_separator = match given.keep_separator {
            None | Some(serde_json::Value::Bool(true)) => KeepSeparator::Start,
            Some(serde_json::Value::Bool(false)) => KeepSeparator::None,
            Some(other) => serde_json::from_value(other).unwrap(),
        };
        Self {
            chunk_size: given.chunk_size,
            chunk_overlap: given.chunk_overlap,
            separators: given.separators,
            keep_separator,
            strip: given.strip_whitespace.unwrap_or(true),
            ..Self::default()
        }
    }
}

#[test]
fn chunks_are_those_of_the_oracle() {
    let Ok(json) = std::fs::read_to_string(ORACLE) else {
        ragstone_testkit::skip_test("oracle cases of the splitter", "put shared/ beside the repository");
        return;
    };
    let Oracle { meta, cases } = serde_json::from_str(&json).unwrap();
    let mut moved = 0;
    for (name, settings) in meta.settings {
        let settings = SplitSettings::from(settings);
        for case in &cases {
            let pieces = split_recursively(&case.text, &settings);
            let texts: Vec<&str> = pieces.iter().map(|piece| piece.text.as_str()).collect();
            assert_eq!(texts, case.expected[&name], "case {} setting {name}", case.id);
            assert_eq!(reference::split(&case.text, &settings), case.expected[&name]);
            moved += check_starts(case, &pieces, &case.start_index[&name], &settings);
        }
    }
    assert!(
        moved > 0,
        "no case has repeated text any more: starts may be compared directly"
    );
}

/// Compares starts with those that LangChain finds by searching the text for the chunk, from `overlap` before the end
/// of the chunk before it. In text that repeats itself this finds the first equal words, but the overlap that was cut
/// may be shorter, as it is made of whole pieces: our start is where the chunk was cut, theirs an occurrence of the
/// same text. A miss (-1) is a chunk that was joined over a gap and is nowhere in the text. Returns how many differ.
fn check_starts(case: &Case, pieces: &[TextPiece], found: &[i64], settings: &SplitSettings) -> usize {
    let mut moved = 0;
    for (piece, &found) in pieces.iter().zip(found) {
        let start = code_points::count_code_points(&case.text, 0..piece.range.start);
        if found == i64::try_from(start).unwrap() {
            continue;
        }
        moved += 1;
        match usize::try_from(found) {
            Err(_) => assert!(joined_over_a_gap(&case.text, piece, settings), "case {}", case.id),
            Ok(found) => {
                let found = code_points::step_forward(&case.text, 0, found, case.text.len());
                assert!(case.text[found..].starts_with(&piece.text), "case {}", case.id);
                assert_eq!(case.text[piece.range.clone()], piece.text, "case {}", case.id);
            }
        }
    }
    moved
}

/// Whether a chunk is one of those that the text does not contain: see the invariant of the module.
fn joined_over_a_gap(text: &str, piece: &TextPiece, settings: &SplitSettings) -> bool {
    let span = &text[piece.range.clone()];
    settings.keep_separator == KeepSeparator::None
        && span != piece.text
        && settings
            .separators
            .iter()
            // Stripping may have taken white space off the end of a doubled separator.
            .any(|separator| !separator.is_empty() && span.contains(separator.repeat(2).trim()))
}

#[test]
fn a_doubled_separator_may_end_in_white_space_that_is_stripped() {
    let settings = SplitSettings {
        chunk_size: 10,
        chunk_overlap: 0,
        separators: vec!["aa".into(), ". ".into()],
        keep_separator: KeepSeparator::None,
        ..Default::default()
    };
    let text = "bcd\r\n,. . \r\naa";
    let pieces = split_recursively(text, &settings);
    assert_eq!(pieces.len(), 1);
    assert_eq!((pieces[0].text.as_str(), pieces[0].range.clone()), ("bcd\r\n,.", 0..9));
    assert!(joined_over_a_gap(text, &pieces[0], &settings));
}

fn check(text: &str, settings: (usize, usize, KeepSeparator, bool), separators: &[&str], expected: &[(&str, usize)]) {
    let (chunk_size, chunk_overlap, keep_separator, strip) = settings;
    let separators = separators.iter().map(ToString::to_string).collect();
    let settings = SplitSettings {
        chunk_size,
        chunk_overlap,
        keep_separator,
        strip,
        separators,
        ..Default::default()
    };
    let pieces = split_recursively(text, &settings);
    let found: Vec<_> = pieces
        .iter()
        .map(|piece| (piece.text.as_str(), piece.range.start))
        .collect();
    assert_eq!(found, expected, "{text:?}");
    let reference = reference::split(text, &settings);
    assert_eq!(
        reference,
        expected.iter().map(|(text, _)| *text).collect::<Vec<_>>(),
        "reference on {text:?}"
    );
}

/// What the Python library gives for these texts and settings.
#[test]
fn small_cases() {
    use KeepSeparator::{End, None, Start};
    let usual = ["\n\n", "\n", " ", ""];
    check("", (10, 0, Start, true), &usual, &[]);
    check(" \n\n\t ", (10, 0, Start, true), &usual, &[]);
    check("a b", (10, 0, Start, true), &usual, &[("a b", 0)]);
    check(
        "one two three",
        (7, 4, Start, true),
        &usual,
        &[("one two", 0), ("three", 8)],
    );
    check(
        "one two six",
        (8, 5, Start, true),
        &usual,
        &[("one two", 0), ("two six", 4)],
    );
    check("one, two", (4, 0, End, true), &[", "], &[("one, ", 0), ("two", 5)]);
    check("ab  cd", (10, 0, None, true), &[" "], &[("ab cd", 0)]);
    check(
        "abcdef",
        (3, 1, Start, true),
        &usual,
        &[("abc", 0), ("cde", 2), ("ef", 4)],
    );
    check(
        "abc\ndéf",
        (3, 0, Start, true),
        &usual,
        &[("abc", 0), ("dé", 4), ("f", 7)],
    );
    check("a b", (1, 0, Start, true), &usual, &[("a", 0), (" ", 1), ("b", 2)]);
    check("abcd efgh", (4, 4, Start, true), &[" "], &[("abcd", 0), (" efgh", 4)]);
    check("x\u{1f}\n\ny", (2, 0, Start, true), &usual, &[("x", 0), ("y", 4)]);
    check("漢字 漢字", (3, 0, Start, true), &usual, &[("漢字", 0), ("漢字", 7)]);
    check("a b c", (3, 3, Start, false), &usual, &[("a b", 0), (" c", 3)]);
    check(
        "a b c d",
        (3, 3, None, false),
        &usual,
        &[("a b", 0), ("b c", 2), ("c d", 4)],
    );
}

#[test]
fn no_separators_are_the_default_ones() {
    let none = SplitSettings {
        separators: Vec::new(),
        chunk_size: 3,
        chunk_overlap: 0,
        ..Default::default()
    };
    let usual = SplitSettings {
        separators: SplitSettings::default().separators,
        ..none.clone()
    };
    assert_eq!(
        split_recursively("a b c defg", &none),
        split_recursively("a b c defg", &usual)
    );
}

/// Two million bytes: work that grew with the square of any of these would not end.
#[test]
fn hostile_texts_take_linear_work() {
    let size = 2_000_000;
    for unit in [
        "a",
        "\n",
        " ",
        "\n\n",
        "é",
        "a ",
        "a\n",
        "\u{3000}",
        "aaaaaaaaaaaaaaaa\n\n",
    ] {
        let text = unit.repeat(size / unit.len());
        for keep_separator in [KeepSeparator::Start, KeepSeparator::End, KeepSeparator::None] {
            let settings = SplitSettings {
                keep_separator,
                ..Default::default()
            };
            assert!(
                split_recursively(&text, &settings)
                    .iter()
                    .all(|piece| piece.text.chars().count() <= 800)
            );
        }
    }
}

fn texts() -> impl Strategy<Value = String> {
    let unit = prop_oneof![
        4 => Just(" "), 3 => Just("\n"), 1 => Just("\r\n"), 2 => Just(". "), 2 => Just(","), 1 => Just("\u{1f}"),
        1 => Just("\u{a0}"), 1 => Just("\u{3000}"), 6 => Just("a"), 3 => Just("bcd"), 2 => Just("é"), 2 => Just("漢"), 1 => Just("😀"),
        1 => Just("aab"),
    ];
    prop::collection::vec(unit, 0..120).prop_map(|units| units.concat())
}

fn settings() -> impl Strategy<Value = SplitSettings> {
    let separator = prop::sample::select(vec![
        "\n\n", "\n", " ", "", ". ", ",", "aa", "a", "é", "b", "aba", ",,", "\r",
    ]);
    let keep = prop::sample::select(vec![KeepSeparator::Start, KeepSeparator::End, KeepSeparator::None]);
    let separators = prop_oneof![
        Just(SplitSettings::default().separators),
        prop::collection::vec(separator.prop_map(String::from), 1..5),
    ];
    (1..40_usize, 0..=40_usize, separators, keep, any::<bool>()).prop_map(
        |(chunk_size, overlap, separators, keep_separator, strip)| SplitSettings {
            chunk_size,
            chunk_overlap: overlap.min(chunk_size),
            separators,
            keep_separator,
            strip,
            ..Default::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn chunks_are_those_of_the_reference(text in texts(), settings in settings()) {
        let texts: Vec<String> = split_recursively(&text, &settings).into_iter().map(|piece| piece.text).collect();
        prop_assert_eq!(texts, reference::split(&text, &settings));
    }

    #[test]
    fn ranges_hold_the_chunks(text in texts(), settings in settings()) {
        let pieces = split_recursively(&text, &settings);
        for piece in &pieces {
            let span = text.get(piece.range.clone()).expect("on character boundaries");
            prop_assert!(span == piece.text || joined_over_a_gap(&text, piece, &settings), "{:?}", piece);
            prop_assert!(span.starts_with(piece.text.chars().next().unwrap()));
            prop_assert!(span.ends_with(piece.text.chars().next_back().unwrap()));
        }
        // Two chunks may differ only by white space that is stripped from both, as LangChain's do.
        let at_least = usize::from(!settings.strip);
        for pair in pieces.windows(2) {
            prop_assert!(pair[0].range.start + at_least <= pair[1].range.start, "in order");
            prop_assert!(pair[0].range.end + at_least <= pair[1].range.end, "none lies in the one before");
        }
    }

    #[test]
    fn nothing_is_lost(text in texts(), settings in settings()) {
        let mut end = 0;
        for piece in split_recursively(&text, &settings) {
            let between = text.get(end..piece.range.start).unwrap_or_default();
            prop_assert!(may_be_lost(between, &settings), "{:?}", between);
            end = piece.range.end;
        }
        prop_assert!(may_be_lost(&text[end..], &settings));
    }
}

/// What stands in no chunk is white space if that is stripped, and separators if those are dropped.
fn may_be_lost(between: &str, settings: &SplitSettings) -> bool {
    let mut rest = between.to_owned();
    if settings.keep_separator == KeepSeparator::None {
        for separator in settings.separators.iter().filter(|separator| !separator.is_empty()) {
            rest = rest.replace(separator, "");
        }
    }
    if settings.strip {
        rest.trim_matches(code_points::is_space).is_empty()
    } else {
        rest.is_empty()
    }
}
