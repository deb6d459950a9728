//! The recipe's oracle cases, read from beside the repository where they are present.

#![allow(clippy::unwrap_used)]

use serde_json::Value;

/// The recipe's cases under `key`, or `None` with a line on stderr.
fn cases(key: &str) -> Option<Value> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/data/recipe/cases.json"
    );
    match std::fs::read_to_string(path) {
        Ok(text) => Some(serde_json::from_str::<Value>(&text).unwrap()[key].take()),
        Err(_) => {
            eprintln!("skipped: recipe oracle {key:?}, to enable put the recipe's cases.json at {path}");
            None
        }
    }
}

fn strings(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

#[test]
fn analyzer() {
    let Some(cases) = cases("analyzer") else { return };
    for case in cases.as_array().unwrap() {
        let terms = super::analyzer::analyze(case["text"].as_str().unwrap());
        assert_eq!(terms, strings(&case["tokens"]), "{}", case["text"]);
        if case["bigrams"].is_array() {
            assert_eq!(
                super::analyzer::bigrams(&terms),
                strings(&case["bigrams"]),
                "{}",
                case["text"]
            );
        }
    }
}
