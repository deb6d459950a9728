//! Random and mutated input at the doors that read what strangers wrote: the filter language, Markdown, HTML, text in
//! this process, PDF in the parser's. `RAGSTONE_TEST_FUZZ_CASES` says how many of each (few by default).
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use ragstone_adapters::parse::{ParseLimits, parse_bytes};
use ragstone_core::filter::MetadataFilter;
use serde_json::{Map, Value};

/// Bytes of text that a small input may become: nothing here unpacks.
const MAX_TEXT: u64 = 1 << 20;

#[expect(
    clippy::disallowed_methods,
    reason = "how long a test runs is no setting of the program"
)]
fn runner(divisor: u32) -> TestRunner {
    let cases = std::env::var("RAGSTONE_TEST_FUZZ_CASES").ok();
    let cases = cases.and_then(|cases| cases.parse().ok()).unwrap_or(96_u32);
    TestRunner::new(ProptestConfig {
        cases: (cases / divisor).max(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

fn json(depth: u32) -> impl Strategy<Value = Value> {
    let words = vec![
        "eq",
        "ne",
        "gt",
        "lte",
        "in",
        "nin",
        "prefix",
        "and",
        "or",
        "not",
        "2024-05-01T00:00:00+02:00",
        "2024-05-01",
        "",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
        prop::sample::select(words).prop_map(Value::from),
    ];
    leaf.prop_recursive(depth, 64, 5, |inner| {
        let names = prop::sample::select(vec!["type", "key", "value", "filters", "x~/y"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.prop_map(String::from), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// A filter that is well formed but for its values.
fn filter() -> impl Strategy<Value = Value> {
    let kinds = prop::sample::select(vec!["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin", "prefix"]);
    let keys = prop::sample::select(vec!["a", "b", "created_at", "x~/y"]);
    let leaf = (kinds, keys, json(2))
        .prop_map(|(kind, key, value)| serde_json::json!({"type": kind, "key": key, "value": value}));
    leaf.prop_recursive(10, 80, 4, |inner| {
        let parts = prop::collection::vec(inner, 0..4);
        (prop::sample::select(vec!["and", "or", "not"]), parts)
            .prop_map(|(kind, filters)| serde_json::json!({"type": kind, "filters": filters}))
    })
}

#[test]
fn a_filter_is_read_the_same_again_or_refused_at_a_place_that_exists() {
    let input = (prop_oneof![filter(), json(6)], json(3));
    let run = runner(1).run(&input, |(value, fields)| {
        match MetadataFilter::from_json(&value) {
            Ok(filter) => {
                let fields: Map<String, Value> = fields.as_object().cloned().unwrap_or_default();
                let found = filter.matches(&fields);
                let again = MetadataFilter::from_json(&serde_json::to_value(&filter).unwrap()).unwrap();
                prop_assert_eq!(again.matches(&fields), found);
                let not = serde_json::json!({"type": "not", "filters": [value]});
                if let Ok(not) = MetadataFilter::from_json(&not) {
                    prop_assert_eq!(not.matches(&fields), !found);
                }
            }
            Err(error) => {
                let parent = error.pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
                prop_assert!(value.pointer(parent).is_some(), "{} in {}", error, value);
            }
        }
        Ok(())
    });
    run.unwrap();
}

/// Input built of what the parsers look for.
fn markup() -> impl Strategy<Value = String> {
    let parts = vec![
        "<p>",
        "</p>",
        "<div hidden>",
        "<div style='",
        "display:none",
        "color:#fff",
        "'>",
        "<style>",
        ".a{",
        "}",
        "@media",
        "</style>",
        "<table><tr><td>",
        "<pre><code>",
        "<!--",
        "-->",
        "<script>",
        "&#x",
        ";",
        "&nbsp;",
        "# ",
        "\n",
        "\n\n",
        "- ",
        "> ",
        "```",
        "|",
        "---\n",
        "title: x\n",
        "+++\n",
        "[a](b)",
        "\u{e0041}",
        "\u{200b}",
        "\u{202e}",
        "\u{feff}",
        "🏴",
        "é",
        "中文",
        "word ",
        "<![CDATA[",
        "<svg>",
        "<title>",
        "\"",
        "/*",
        "*/",
        "{",
        "font-size:0",
        "\r",
        "\t",
        "\u{c}",
    ];
    prop::collection::vec(
        prop_oneof![prop::sample::select(parts).prop_map(String::from), "\\PC{0,6}"],
        0..60,
    )
    .prop_map(|parts| parts.concat())
}

#[test]
fn text_formats_are_read_or_refused() {
    let bytes = prop_oneof![
        4 => markup().prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..400),
    ];
    let limits = ParseLimits {
        max_text_bytes: MAX_TEXT,
        ..ParseLimits::default()
    };
    let run = runner(1).run(&bytes, |bytes| {
        for name in ["a.html", "a.md", "a.txt"] {
            if let Ok(parsed) = parse_bytes(bytes.clone(), name, None, &limits) {
                prop_assert!(!parsed.text.trim().is_empty());
                let commands = ['\0', '\u{1b}', '\u{202e}', '\r'];
                prop_assert!(!parsed.text.contains(commands));
                for span in parsed
                    .pages
                    .iter()
                    .map(|page| &page.range)
                    .chain(parsed.sections.iter().map(|s| &s.range))
                {
                    let inside = parsed.text.get(span.clone()).is_some();
                    prop_assert!(inside);
                }
            }
        }
        Ok(())
    });
    run.unwrap();
}

#[test]
fn deep_and_long_markup_ends() {
    let limits = ParseLimits {
        max_text_bytes: MAX_TEXT,
        ..ParseLimits::default()
    };
    for text in [
        "# a\n".repeat(20_000),
        "> ".repeat(2_000) + "a",
        "*a ".repeat(20_000),
        "[".repeat(20_000),
        "![a](".repeat(10_000),
        "`".repeat(30_001),
        "|a".repeat(20_000) + "\n" + &"|-".repeat(20_000),
    ] {
        let parsed = parse_bytes(text.into_bytes(), "a.md", None, &limits);
        assert!(parsed.is_ok());
    }
}

#[cfg(feature = "pdf")]
mod pdf {
    use ragstone_adapters::parse::{ParserOptions, ParserPool};

    use super::*;

    const HANDBOOK: &[u8] = include_bytes!("../../../samples/handbook.pdf");

    /// A change to a file: a place, what is written there, and how often.
    fn change() -> impl Strategy<Value = (prop::sample::Index, Vec<u8>)> {
        let tokens = vec![
            "[",
            "<<",
            ">>",
            "(",
            "0 R",
            "obj",
            "endstream",
            "999999999",
            "-1",
            "/Filter/FlateDecode",
            "/Parent 2 0 R",
            "BT",
            "Tj",
            "cm",
            "Do",
        ];
        let token = prop::sample::select(tokens).prop_map(|token| token.as_bytes().to_vec());
        let bytes = prop::collection::vec(any::<u8>(), 1..4);
        let many = (prop::sample::select(vec!["[", "<<", "(", "q "]), 1..5_000_usize)
            .prop_map(|(part, times)| part.repeat(times).into_bytes());
        (
            any::<prop::sample::Index>(),
            prop_oneof![4 => token, 4 => bytes, 1 => many],
        )
    }

    #[test]
    fn mutated_files_are_read_or_refused_by_a_pool_that_lives_on() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let pool = runtime.block_on(async {
            ParserPool::new(ParserOptions {
                workers: 1,
                cpu_seconds: 5,
                wall_seconds: 20,
                ..ParserOptions::new(env!("CARGO_BIN_EXE_parse_worker"), [] as [&str; 0])
            })
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document");
        let run = runner(4).run(&prop::collection::vec(change(), 1..8), |changes| {
            let mut file = HANDBOOK.to_vec();
            for (at, with) in changes {
                let at = at.index(file.len());
                let end = (at + with.len().min(8)).min(file.len());
                file.splice(at..end, with);
            }
            std::fs::write(&path, &file).unwrap();
            if let Ok(parsed) = runtime.block_on(pool.parse_file(&path, "a.pdf", None)) {
                prop_assert!(!parsed.text.trim().is_empty());
            }
            Ok(())
        });
        run.unwrap();
        std::fs::write(&path, HANDBOOK).unwrap();
        assert!(runtime.block_on(pool.parse_file(&path, "a.pdf", None)).is_ok());
    }
}
