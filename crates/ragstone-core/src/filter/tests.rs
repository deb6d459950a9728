use super::*;
use serde_json::json;

fn check(filter: Value, passes: bool) {
    let fields = json!({"lang": "en", "year": 2024, "tags": ["a", "b"], "day": "2024-05-01", "none": null});
    let filter = MetadataFilter::from_json(&filter).unwrap();
    assert_eq!(filter.matches(fields.as_object().unwrap()), passes, "{filter:?}");
    let json = serde_json::to_value(&filter).unwrap();
    assert_eq!(MetadataFilter::from_json(&json).unwrap(), filter);
}

#[test]
fn comparisons_pass_and_their_twins_do_not() {
    let c = |kind: &str, key: &str, value: Value| json!({"type": kind, "key": key, "value": value});
    check(c("eq", "lang", json!("en")), true);
    check(c("eq", "lang", json!("de")), false);
    check(c("eq", "year", json!(2024.0)), true);
    check(c("eq", "tags", json!("b")), true);
    check(c("eq", "tags", json!("c")), false);
    check(c("ne", "lang", json!("de")), true);
    check(c("ne", "missing", json!("de")), false);
    check(c("eq", "none", json!("x")), false);
    check(c("gt", "year", json!(2023)), true);
    check(c("gt", "year", json!(2024)), false);
    check(c("gte", "day", json!("2024-05-01")), true);
    check(c("lt", "day", json!("2024-05-01")), false);
    check(c("lt", "year", json!("2025")), false);
    check(c("in", "lang", json!(["de", "en"])), true);
    check(c("nin", "lang", json!(["de", "en"])), false);
    check(c("prefix", "day", json!("2024-")), true);
    check(c("prefix", "year", json!("20")), false);
    check(c("prefix", "day", json!("2024-06")), false);
}

#[test]
fn dates_compare_by_instant() {
    let check = |kind: &str, value: &str, passes: bool| {
        let fields = json!({"at": "2024-05-01T00:30:00+02:00", "word": "2024-x"});
        let filter = MetadataFilter::from_json(&json!({"type": kind, "key": "at", "value": value})).unwrap();
        assert_eq!(filter.matches(fields.as_object().unwrap()), passes, "{kind} {value}");
    };
    check("lt", "2024-05-01T00:00:00Z", true);
    check("gte", "2024-05-01T00:00:00Z", false);
    check("gte", "2024-04-30T22:30:00Z", true);
    check("lte", "2024-04-30T17:30:00-05:00", true);
    check("gt", "2024-04-30T22:30:00.000Z", false);
    check("lt", "2024-05-01", true);
    check("gt", "2024-04-30", true);
    check("gte", "2024-05-01T00:30", true);
    check("eq", "2024-04-30T22:30:00Z", false);
    check("prefix", "2024-05-01", true);
}

#[test]
fn combinations() {
    let yes = json!({"type": "eq", "key": "lang", "value": "en"});
    let no = json!({"type": "eq", "key": "lang", "value": "de"});
    check(json!({"type": "and", "filters": [yes, no]}), false);
    check(json!({"type": "or", "filters": [yes, no]}), true);
    check(json!({"type": "not", "filters": [no]}), true);
    check(json!({"type": "not", "filters": [yes]}), false);
}

#[test]
fn a_mistake_is_named_with_its_place() {
    let check =
        |filter: Value, pointer: &str| assert_eq!(MetadataFilter::from_json(&filter).unwrap_err().pointer, pointer);
    check(json!([]), "");
    check(json!({"type": "near"}), "/key");
    check(json!({"type": "near", "key": "a", "value": 1}), "/type");
    check(json!({"type": "eq", "key": "a"}), "/value");
    check(json!({"type": "eq", "key": "a", "value": {}}), "/value");
    check(json!({"type": "and", "filters": []}), "/filters");
    check(
        json!({"type": "and", "filters": [{"type": "in", "key": "a", "value": 3}]}),
        "/filters/0/value",
    );
    check(json!({"type": "in", "key": "a", "value": [1, "b", {}]}), "/value/2");
    check(
        json!({"type": "in", "key": "a", "value": vec![1; MAX_FILTER_VALUES + 1]}),
        "/value",
    );
    check(json!({"type": "eq", "key": "a", "value": "x".repeat(5_000)}), "/value");
    check(json!({"type": "eq", "key": "k".repeat(300), "value": 1}), "/key");
    check(
        json!({"type": "eq", "key": "a", "value": 1, "not/known": true}),
        "/not~1known",
    );
    check(
        json!({"type": "not", "filters": [{"type": "eq", "key": "a", "value": 1}], "filter": 1}),
        "/filter",
    );
    check(json!({"type": "gt", "key": "a", "value": true}), "/value");
    check(json!({"type": "prefix", "key": "a", "value": 1}), "/value");
    let mut deep = json!({"type": "eq", "key": "a", "value": 1});
    for _ in 0..MAX_FILTER_DEPTH {
        deep = json!({"type": "not", "filters": [deep]});
    }
    assert!(MetadataFilter::from_json(&deep).unwrap_err().problem.contains("deeper"));
}
