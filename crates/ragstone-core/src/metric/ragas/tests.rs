use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::json;

use super::*;

/// A judge with scripted replies for each kind of call, and a table of vectors.
struct Script {
    replies: Mutex<Vec<(&'static str, String)>>,
    vectors: Vec<(&'static str, Vec<f64>)>,
}

#[async_trait]
impl Judge for Script {
    async fn reply_to_call(&self, call: &JudgeCall, _: usize) -> Result<String, JudgeError> {
        assert!(call.input.is_object() && !build_judge_prompt(call).is_empty());
        let mut replies = self.replies.lock().unwrap();
        let next = replies.iter().position(|(kind, _)| *kind == call.kind.name());
        let missing = || JudgeError(format!("nothing to say about {}", call.kind.name()));
        next.map(|at| replies.remove(at).1).ok_or_else(missing)
    }

    async fn embed_texts(&self, texts: &[String]) -> Result<Vec<Vec<f64>>, JudgeError> {
        let vector = |text: &String| self.vectors.iter().find(|(known, _)| known == text);
        texts
            .iter()
            .map(|text| vector(text).map(|(_, vector)| vector.clone()))
            .collect::<Option<_>>()
            .ok_or_else(|| JudgeError("no vector".into()))
    }
}

fn sample() -> RagasSample {
    RagasSample {
        user_input: Some("q".into()),
        response: Some("a".into()),
        reference: Some("r".into()),
        retrieved_contexts: Some(vec!["one".into(), "two".into()]),
        ..RagasSample::default()
    }
}

fn statements(texts: &[&str]) -> (&'static str, String) {
    ("statements", json!({ "statements": texts }).to_string())
}

fn claims(texts: &[&str]) -> (&'static str, String) {
    ("claims", json!({ "claims": texts }).to_string())
}

fn nli(verdicts: &[i64]) -> (&'static str, String) {
    let verdict = |verdict: &i64| json!({ "statement": "s", "reason": "r", "verdict": verdict });
    let list: Vec<Value> = verdicts.iter().map(verdict).collect();
    ("nli", json!({ "statements": list }).to_string())
}

fn useful(verdict: i64) -> (&'static str, String) {
    (
        "context_useful",
        json!({ "reason": "r", "verdict": verdict }).to_string(),
    )
}

fn generated(question: &str, noncommittal: i64) -> (&'static str, String) {
    let reply = json!({ "question": question, "noncommittal": noncommittal });
    ("question_from_answer", reply.to_string())
}

fn sorted(counts: [usize; 3]) -> (&'static str, String) {
    let list = |count: usize| vec![json!({ "statement": "s", "reason": "r" }); count];
    let [right, wrong, missing] = counts.map(list);
    (
        "tp_fp_fn",
        json!({ "TP": right, "FP": wrong, "FN": missing }).to_string(),
    )
}

fn attributed(values: &[i64]) -> (&'static str, String) {
    let value = |value: &i64| json!({ "statement": "s", "reason": "r", "attributed": value });
    let list: Vec<Value> = values.iter().map(value).collect();
    ("context_attribution", json!({ "classifications": list }).to_string())
}

async fn scored(
    metric: RagasMetric,
    api: RagasApi,
    sample: &RagasSample,
    parameters: Value,
    replies: &[(&'static str, String)],
) -> Result<f64, RagasError> {
    let script = Script {
        replies: Mutex::new(replies.to_vec()),
        vectors: vec![
            ("q", vec![1.0, 0.0]),
            ("a", vec![0.0, 2.0]),
            ("r", vec![3.0, 3.0]),
            (" ", vec![0.0, 0.0]),
            ("like q", vec![3.0, 4.0]),
            ("unlike q", vec![-1.0, 0.0]),
            ("", vec![0.0, 1.0]),
        ],
    };
    let parameters = serde_json::from_value(parameters).unwrap();
    score_sample(metric, api, sample, &parameters, &script).await
}

/// What legacy and collections give; NaN means NaN, an infinity means an error.
async fn check(
    metric: RagasMetric,
    sample: &RagasSample,
    parameters: Value,
    replies: &[(&'static str, String)],
    [legacy, collections]: [f64; 2],
) {
    for (api, expected) in [(RagasApi::Legacy, legacy), (RagasApi::Collections, collections)] {
        let found = scored(metric, api, sample, parameters.clone(), replies)
            .await
            .unwrap_or(f64::INFINITY);
        let same = (found - expected).abs() < 1e-9 || found.is_nan() && expected.is_nan() || found == expected;
        assert!(
            same,
            "{metric:?} {api:?} {parameters} {replies:?}: {found}, expected {expected}"
        );
    }
}

const FAILS: f64 = f64::INFINITY;

#[tokio::test]
async fn faithfulness_counts_returned_verdicts() {
    let sample = sample();
    for (replies, expected) in [
        (vec![statements(&["a", "b"]), nli(&[1, 0])], [0.5; 2]),
        (vec![statements(&["a", "b", "c"]), nli(&[-2, 0])], [0.5; 2]),
        (vec![statements(&[])], [f64::NAN; 2]),
        (vec![statements(&["a"]), nli(&[])], [f64::NAN; 2]),
        (vec![statements(&["a"])], [FAILS; 2]),
    ] {
        check(RagasMetric::Faithfulness, &sample, json!({}), &replies, expected).await;
    }
    let nothing = RagasSample {
        retrieved_contexts: Some(vec![]),
        ..sample
    };
    let replies = [statements(&["a"]), nli(&[0])];
    check(RagasMetric::Faithfulness, &nothing, json!({}), &replies, [0.0, FAILS]).await;
}

#[tokio::test]
async fn relevancy_is_the_mean_cosine_unless_all_are_evasive() {
    let metric = RagasMetric::AnswerRelevancy;
    let (near, far) = (generated("like q", 0), generated("unlike q", 1));
    check(
        metric,
        &sample(),
        json!({}),
        &[near.clone(), near.clone(), far.clone()],
        [0.2 / 3.0; 2],
    )
    .await;
    check(metric, &sample(), json!({ "strictness": 1 }), &[far], [-0.0; 2]).await;
    check(
        metric,
        &sample(),
        json!({ "strictness": 1 }),
        &[generated("unlike q", 0)],
        [-1.0; 2],
    )
    .await;
    let mixed = [near, generated("", 0)];
    check(metric, &sample(), json!({ "strictness": 2 }), &mixed, [0.3, 0.6]).await;
    check(
        metric,
        &sample(),
        json!({ "strictness": 1 }),
        &[generated("", 0)],
        [f64::NAN, 0.0],
    )
    .await;
}

#[tokio::test]
async fn context_precision_weighs_ranks() {
    let metric = RagasMetric::ContextPrecisionWithReference;
    check(metric, &sample(), json!({}), &[useful(0), useful(1)], [0.5; 2]).await;
    check(metric, &sample(), json!({}), &[useful(0), useful(0)], [0.0; 2]).await;
    check(metric, &sample(), json!({}), &[useful(1), useful(1)], [1.0; 2]).await;
    check(metric, &sample(), json!({}), &[useful(2), useful(0)], [1.0, 2.0]).await;
    let without = RagasSample {
        reference: None,
        ..sample()
    };
    check(metric, &without, json!({}), &[useful(1), useful(1)], [FAILS; 2]).await;
    let metric = RagasMetric::ContextPrecisionWithoutReference;
    check(metric, &without, json!({}), &[useful(1), useful(0)], [1.0; 2]).await;
}

#[tokio::test]
async fn context_recall_is_the_share_attributed() {
    let metric = RagasMetric::ContextRecall;
    check(metric, &sample(), json!({}), &[attributed(&[1, 0])], [0.5; 2]).await;
    check(metric, &sample(), json!({}), &[attributed(&[2, 0])], [0.5, 1.0]).await;
    check(metric, &sample(), json!({}), &[attributed(&[])], [f64::NAN; 2]).await;
}

#[tokio::test]
async fn answer_correctness_weighs_facts_and_meaning() {
    let metric = RagasMetric::AnswerCorrectness;
    let both = [statements(&["a"]), statements(&["b"])];
    let with = |counts| [both[0].clone(), both[1].clone(), sorted(counts)];
    let cosine = 0.5_f64.sqrt();
    check(metric, &sample(), json!({}), &with([1, 1, 0]), [0.5 + 0.25 * cosine; 2]).await;
    check(
        metric,
        &sample(),
        json!({ "weights": [1.0, 0.0] }),
        &with([1, 1, 0]),
        [2.0 / 3.0; 2],
    )
    .await;
    let recall_counts = json!({ "weights": [1.0, 0.0], "beta": 2.0 });
    check(metric, &sample(), recall_counts, &with([1, 1, 0]), [2.5 / 3.0; 2]).await;
    check(
        metric,
        &sample(),
        json!({ "weights": [1.0, 0.0] }),
        &with([0, 0, 0]),
        [0.0, 1.0],
    )
    .await;
    let empty = [statements(&[]), statements(&["b"]), sorted([0, 0, 1])];
    check(metric, &sample(), json!({ "weights": [1.0, 0.0] }), &empty, [0.0, 1.0]).await;
    let neither = [statements(&[]), statements(&[])];
    check(metric, &sample(), json!({ "weights": [1.0, 0.0] }), &neither, [1.0; 2]).await;
    let silent = RagasSample {
        response: Some(String::new()),
        ..sample()
    };
    check(metric, &silent, json!({}), &with([1, 0, 0]), [f64::NAN; 2]).await;
}

#[tokio::test]
async fn factual_correctness_is_rounded() {
    let metric = RagasMetric::FactualCorrectness;
    let both = [
        claims(&["a", "b"]),
        nli(&[1, 0]),
        claims(&["c", "d", "e"]),
        nli(&[1, 1, 0]),
    ];
    check(metric, &sample(), json!({}), &both, [0.5; 2]).await;
    let eight = [claims(&["a"]), nli(&[1, 1, 1, 0, 0, 0, 0, 0])];
    check(metric, &sample(), json!({ "mode": "precision" }), &eight, [0.37; 2]).await;
    check(metric, &sample(), json!({ "mode": "recall" }), &both, [0.5; 2]).await;
    check(metric, &sample(), json!({ "mode": "accuracy" }), &both, [FAILS; 2]).await;
    let nothing = [claims(&[]), claims(&["c"]), nli(&[0])];
    check(metric, &sample(), json!({}), &nothing, [0.0; 2]).await;
}

#[tokio::test]
async fn noise_sensitivity_asks_where_a_mistake_came_from() {
    let metric = RagasMetric::NoiseSensitivity;
    // One statement of the reference; context one is relevant. Of two statements the second is wrong.
    let replies = |one: &[i64], two: &[i64]| {
        [
            statements(&["g"]),
            statements(&["a", "b"]),
            nli(&[1]),
            nli(one),
            nli(&[0]),
            nli(two),
            nli(&[1, 0]),
        ]
    };
    check(metric, &sample(), json!({}), &replies(&[1, 1], &[0, 0]), [0.5; 2]).await;
    check(metric, &sample(), json!({}), &replies(&[1, 0], &[0, 1]), [0.0; 2]).await;
    let irrelevant = json!({ "mode": "irrelevant" });
    check(
        metric,
        &sample(),
        irrelevant.clone(),
        &replies(&[1, 0], &[0, 1]),
        [0.5; 2],
    )
    .await;
    check(metric, &sample(), irrelevant, &replies(&[1, 1], &[0, 1]), [0.0; 2]).await;
    check(metric, &sample(), json!({}), &replies(&[1], &[0, 1]), [FAILS; 2]).await;
    check(metric, &sample(), json!({ "mode": "all" }), &[], [FAILS; 2]).await;
    let nothing_said = [statements(&["g"]), statements(&[]), nli(&[1]), nli(&[0])];
    check(metric, &sample(), json!({}), &nothing_said, [f64::NAN; 2]).await;
    let no_reference = [statements(&[]), statements(&["a"])];
    check(metric, &sample(), json!({}), &no_reference, [FAILS; 2]).await;
}

#[tokio::test]
async fn similarity_and_ids_need_no_reply() {
    let metric = RagasMetric::SemanticSimilarity;
    check(metric, &sample(), json!({}), &[], [0.5_f64.sqrt(); 2]).await;
    check(metric, &sample(), json!({ "threshold": 0.7 }), &[], [1.0; 2]).await;
    check(metric, &sample(), json!({ "threshold": 0.8 }), &[], [0.0; 2]).await;
    let ids = |retrieved: Value, reference: Value| {
        serde_json::from_value::<RagasSample>(
            json!({ "retrieved_context_ids": retrieved, "reference_context_ids": reference }),
        )
        .unwrap()
    };
    let both = ids(json!([1, 2, "2", "x"]), json!(["1", "3"]));
    check(
        RagasMetric::IdBasedContextPrecision,
        &both,
        json!({}),
        &[],
        [1.0 / 3.0; 2],
    )
    .await;
    check(RagasMetric::IdBasedContextRecall, &both, json!({}), &[], [0.5; 2]).await;
    let none = ids(json!([]), json!([]));
    check(
        RagasMetric::IdBasedContextPrecision,
        &none,
        json!({}),
        &[],
        [f64::NAN; 2],
    )
    .await;
    check(RagasMetric::IdBasedContextRecall, &sample(), json!({}), &[], [FAILS; 2]).await;
}

#[tokio::test]
async fn a_malformed_reply_is_asked_for_again() {
    let wrong = ("nli", "no JSON".to_owned());
    let fixed = ("fix_format", json!({ "text": nli(&[1, 0]).1 }).to_string());
    let unfixed = ("fix_format", json!({ "text": "still none" }).to_string());
    let first = statements(&["a", "b"]);
    let metric = RagasMetric::Faithfulness;
    let replies = [first.clone(), wrong.clone(), fixed, wrong.clone(), nli(&[1, 1])];
    check(metric, &sample(), json!({}), &replies, [0.5, 1.0]).await;
    let replies = [first, wrong.clone(), unfixed, wrong.clone(), wrong, nli(&[1, 1])];
    check(metric, &sample(), json!({}), &replies, [FAILS; 2]).await;
    let error = scored(metric, RagasApi::Legacy, &sample(), json!({}), &replies)
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the judge's reply about nli cannot be read: it holds no JSON"
    );
}

#[tokio::test]
async fn recorded_replies_are_scored_again() {
    let step = |kind: &str, input: Value, reply: String| json!({ "kind": kind, "input": input, "reply": reply });
    let steps = json!([
        step("nli", json!({ "context": "c", "statements": ["x"] }), nli(&[1]).1),
        step(
            "statements",
            json!({ "question": "q", "answer": "a" }),
            statements(&["x"]).1
        ),
    ]);
    let inputs = json!({ "user_input": "q", "response": "a", "retrieved_contexts": ["c"] });
    let other = json!({ "user_input": "other", "response": "a", "retrieved_contexts": ["c"] });
    let file = json!({ "cases": [
        { "id": "1", "metric": "faithfulness", "inputs": inputs,
          "legacy": { "steps": steps }, "collections": { "steps": "same as legacy" } },
        { "id": "2", "metric": "faithfulness", "inputs": other, "legacy": { "steps": steps } },
        { "id": "3", "metric": "id_based_context_recall",
          "inputs": { "retrieved_context_ids": ["a"], "reference_context_ids": [] }, "legacy": { "steps": [] } },
    ] });
    let lines = replay_recordings(&file.to_string()).await.unwrap();
    assert_eq!(lines.len(), 4);
    assert_eq!((lines[0].score, lines[1].score), (Some(1.0), Some(1.0)));
    assert!(lines[2].score.is_none() && lines[2].error.as_ref().unwrap().contains("no recorded reply"));
    assert_eq!((lines[3].score, &lines[3].error), (None, &None));
    assert!(replay_recordings("[]").await.is_err());
}

#[tokio::test]
async fn equals_ragas() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/ragas/cases.json");
    let Ok(text) = std::fs::read_to_string(path) else {
        ragstone_testkit::skip_test("the RAGAS oracle", &format!("put its cases.json at {path}"));
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let lines = replay_recordings(&text).await.unwrap();
    let mut expected = Vec::new();
    for case in file["cases"].as_array().unwrap() {
        let apis = ["legacy", "collections"].iter().filter_map(|api| case.get(api));
        expected.extend(apis.map(|scored| (case["id"].as_str().unwrap(), scored)));
    }
    assert_eq!(lines.len(), expected.len());
    for (line, (id, expected)) in lines.iter().zip(expected) {
        assert_eq!(line.id, id);
        let found = format!("{line:?}, expected {expected}");
        assert_eq!(line.error.is_some(), expected.get("error").is_some(), "{found}");
        let score = expected.get("score").and_then(Value::as_f64);
        assert_eq!(line.score.is_some(), score.is_some(), "{found}");
        assert!(
            (line.score.unwrap_or(0.0) - score.unwrap_or(0.0)).abs() < 1e-6,
            "{found}"
        );
    }
}
