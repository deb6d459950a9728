//! `ragstone eval`: figures as trec_eval and RAGAS give them, runs that are kept, compared and gone on with.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::support::{Sandbox, Server};

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

/// What is asked of eight documents, each of which answers one question.
const TOPICS: [(&str, &str); 8] = [
    (
        "basalt",
        "Basalt columns form when thick lava cools slowly and cracks into hexagons.",
    ),
    (
        "origami",
        "Origami cranes are folded from a single square sheet of paper.",
    ),
    (
        "glacier",
        "Glacier ice looks blue because it absorbs red light over long paths.",
    ),
    (
        "violin",
        "Violin strings were once made of sheep gut and are now often steel.",
    ),
    ("saffron", "Saffron threads are picked by hand from the autumn crocus."),
    (
        "sundial",
        "Sundial markings show apparent solar time, not the time of a clock.",
    ),
    (
        "bamboo",
        "Bamboo culms reach their full height within one growing season.",
    ),
    (
        "lantern",
        "Lantern oil was pressed from rapeseed before petroleum was refined.",
    ),
];

/// A library of the topics, and a set that asks for each.
fn library() -> Sandbox {
    let sandbox = Sandbox::lexical();
    let mut set = String::new();
    for (name, text) in TOPICS {
        sandbox.write(&format!("docs/{name}.txt"), text);
        let first = text.split(' ').take(4).collect::<Vec<_>>().join(" ");
        let question =
            json!({ "id": name, "question": first, "documents": [format!("{name}.txt")], "reference": text });
        writeln!(set, "{question}").unwrap();
    }
    sandbox.write("set.jsonl", set);
    sandbox.run(&["ingest", "docs"]).ended(0);
    sandbox
}

#[test]
fn ranked_lists_are_measured() {
    let sandbox = Sandbox::lexical();
    sandbox.write("run", "q1 Q0 a 1 2.0 t\nq1 Q0 b 2 1.0 t\nq3 Q0 a 1 1 t\n");
    sandbox.write("qrels", "q1 0 b 2\nq1 0 c 1\nq2 0 a 1\n");
    let measured = |arguments: &[&str]| {
        let all = [
            &["eval", "metrics", "--run", "run", "--qrels", "qrels", "--json"],
            arguments,
        ]
        .concat();
        sandbox.run(&all).ended(0).json()
    };
    let found = measured(&[]);
    let ndcg = 2.0 / 3_f64.log2() / (2.0 + 1.0 / 3_f64.log2());
    for (query, key, expected) in [
        ("q1", "ndcg_10", ndcg),
        ("q1", "recall_10", 0.5),
        ("q1", "precision_10", 0.1),
        ("q1", "mrr_10", 0.5),
        ("q1", "mrr", 0.5),
        ("q1", "map", 0.25),
        ("q1", "hit_10", 1.0),
        ("q2", "ndcg_10", 0.0),
    ] {
        let value = found["per_query"][query][key].as_f64().unwrap();
        assert!((value - expected).abs() < 1e-12, "{query} {key}: {value}");
    }
    assert_eq!(found["mean"]["map"], 0.125);
    assert!(found["per_query"].get("q3").is_none());
    assert_eq!(measured(&["--k", "1,5"])["mean"]["hit_1"], 0.0);
    sandbox
        .run(&["eval", "metrics", "--run", "run", "--qrels", "qrels", "--k", "0"])
        .ended(2);
    sandbox.write("qrels", "q1 0 b\n");
    let refused = sandbox
        .run(&["eval", "metrics", "--run", "run", "--qrels", "qrels"])
        .ended(1);
    assert!(refused.err.contains("line 1"), "{}", refused.err);
}

#[test]
fn ranked_lists_are_measured_as_trec_eval_does() {
    let Ok(text) = std::fs::read_to_string(format!("{SHARED}/irmetrics/cases.json")) else {
        ragstone_testkit::skip_test(
            "the trec_eval oracle",
            &format!("put its cases.json into {SHARED}/irmetrics"),
        );
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let cases = file["cases"].as_array().unwrap();
    let (mut run, mut qrels) = (String::new(), String::new());
    for case in cases {
        let id = case["id"].as_str().unwrap();
        for (document, score) in case["run"].as_object().unwrap() {
            writeln!(run, "{id} Q0 {document} 1 {score} t").unwrap();
        }
        for (document, gain) in case["qrels"].as_object().unwrap() {
            writeln!(qrels, "{id} 0 {document} {gain}").unwrap();
        }
    }
    let sandbox = Sandbox::lexical();
    sandbox.write("run", run);
    sandbox.write("qrels", qrels);
    let arguments = [
        "eval",
        "metrics",
        "--run",
        "run",
        "--qrels",
        "qrels",
        "--k",
        "1,5,10,100",
        "--json",
    ];
    let found = sandbox.run(&arguments).ended(0).json();
    for case in cases {
        let mut compared = 0;
        for (name, expected) in case["expected"].as_object().unwrap() {
            let key = name
                .replace("ndcg_cut", "ndcg")
                .replace("P_", "precision_")
                .replace("recip_rank", "mrr");
            let Some(value) = found["per_query"][case["id"].as_str().unwrap()][&key].as_f64() else {
                continue;
            };
            assert!(
                (value - expected.as_f64().unwrap()).abs() < 1e-6,
                "{} {name}: {value}",
                case["id"]
            );
            compared += 1;
        }
        assert_eq!(compared, 14, "{}", case["id"]);
    }
}

#[test]
fn recorded_replies_are_scored() {
    let sandbox = Sandbox::lexical();
    let step =
        |input: Value, reply: Value| json!({ "kind": "context_useful", "input": input, "reply": reply.to_string() });
    let inputs = json!({ "user_input": "q", "reference": "r", "retrieved_contexts": ["one", "two"] });
    let steps = ["one", "two"].map(|context| {
        let input = json!({ "question": "q", "context": context, "answer": "r" });
        step(
            input,
            json!({ "reason": "because", "verdict": i32::from(context == "two") }),
        )
    });
    let file = json!({ "cases": [
        { "id": "a", "metric": "context_precision_with_reference", "inputs": inputs,
          "legacy": { "steps": steps }, "collections": { "steps": "same as legacy" } },
        { "id": "b", "metric": "id_based_context_recall",
          "inputs": { "retrieved_context_ids": [1], "reference_context_ids": [] }, "legacy": { "steps": [] } },
        { "id": "c", "metric": "context_recall", "inputs": inputs, "legacy": { "steps": [] } },
    ] });
    sandbox.write("cases.json", file.to_string());
    let lines = sandbox
        .run(&["eval", "score", "cases.json", "--replay"])
        .ended(0)
        .lines();
    let shown: Vec<_> = lines
        .iter()
        .map(|line| (line["id"].as_str().unwrap(), line["api"].as_str().unwrap()))
        .collect();
    assert_eq!(
        shown,
        [("a", "legacy"), ("a", "collections"), ("b", "legacy"), ("c", "legacy")]
    );
    assert!((lines[0]["score"].as_f64().unwrap() - 0.5).abs() < 1e-9);
    assert_eq!(
        lines[2],
        json!({ "id": "b", "api": "legacy", "metric": "id_based_context_recall", "score": null })
    );
    assert!(lines[3]["score"].is_null() && lines[3]["error"].is_string());
    sandbox.run(&["eval", "score", "cases.json"]).ended(2);
    sandbox.write("cases.json", "[]");
    sandbox.run(&["eval", "score", "cases.json", "--replay"]).ended(1);
}

#[test]
fn recorded_replies_are_scored_as_ragas_does() {
    let path = format!("{SHARED}/ragas/cases.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        ragstone_testkit::skip_test("the RAGAS oracle", &format!("put its cases.json at {path}"));
        return;
    };
    let file: Value = serde_json::from_str(&text).unwrap();
    let lines = Sandbox::lexical()
        .run(&["eval", "score", &path, "--replay"])
        .ended(0)
        .lines();
    assert!(lines.len() >= 80, "{}", lines.len());
    for line in lines {
        let cases = file["cases"].as_array().unwrap();
        let case = cases.iter().find(|case| case["id"] == line["id"]).unwrap();
        let expected = case[line["api"].as_str().unwrap()]["score"].as_f64();
        let difference = line["score"].as_f64().unwrap_or(0.0) - expected.unwrap_or(0.0);
        assert!(
            line["score"].is_null() == expected.is_none() && difference.abs() < 1e-6,
            "{line}"
        );
    }
}

#[test]
fn a_run_tells_whether_a_change_hurt() {
    let sandbox = library();
    let run = |arguments: &[&str]| sandbox.run(&[&["eval", "run", "set.jsonl", "--json"], arguments].concat());
    let base = run(&["--save", "base"]).ended(0).json();
    assert_eq!(
        (base["run"].as_str(), base["questions"].as_u64()),
        (Some("base"), Some(8))
    );
    for metric in [
        "ndcg_10",
        "hit_1",
        "refusal_accuracy",
        "verified_quotes",
        "citation_precision",
        "contains_gold",
    ] {
        assert_eq!(base["metrics"][metric]["mean"], 1.0, "{metric} of {}", base["metrics"]);
        assert!(base["metrics"][metric]["low"].is_f64() && base["metrics"][metric]["high"].is_f64());
    }
    assert!(base["metrics"]["ask_ms"]["p95"].is_f64() && base.get("compared").is_none());

    let against = ["--baseline", "base", "--fail-on-regression"];
    let same = run(&against).ended(0).json();
    assert_eq!(same["changed"], json!([]));
    assert_eq!(same["compared"]["ndcg_10"]["difference"], 0.0);
    assert_eq!(same["compared"]["ndcg_10"]["regression"], false);

    let narrow = ["--filter", r#"{"type":"eq","key":"uri","value":"nowhere"}"#];
    let worse = run(&[&against[..], &narrow].concat()).ended(1);
    assert!(worse.err.contains("regression: "), "{}", worse.err);
    let worse = worse.json();
    assert_eq!(worse["changed"], json!(["settings"]));
    assert_eq!(worse["compared"]["ndcg_10"]["difference"], -1.0);
    assert_eq!(worse["compared"]["ndcg_10"]["regression"], true);
    run(&["--baseline", "base", narrow[0], narrow[1]]).ended(0);

    let runs = sandbox.run(&["eval", "runs", "--json"]).ended(0).lines();
    let names: Vec<_> = runs
        .iter()
        .map(|run| (run["run"].as_str().unwrap(), run["finished"] == true))
        .collect();
    assert_eq!(names, [("base", true), ("last", true)]);
}

/// The list is as long as MAX_RETRIEVAL_RESULTS says, and what is missing at its end is a regression.
#[test]
fn a_shorter_list_fails_the_gate() {
    let sandbox = Sandbox::lexical();
    let mut set = String::new();
    for topic in 0..8 {
        for part in 0..3 {
            let text = format!("Subject{topic} is told in part number{part} of this handbook.");
            sandbox.write(&format!("docs/{topic}-{part}.txt"), text);
        }
        let documents: Vec<String> = (0..3).map(|part| format!("{topic}-{part}.txt")).collect();
        let question = json!({ "id": topic, "question": format!("Subject{topic}"), "documents": documents });
        writeln!(set, "{question}").unwrap();
    }
    sandbox.write("set.jsonl", set);
    sandbox.run(&["ingest", "docs"]).ended(0);
    let run = ["eval", "run", "set.jsonl", "--search-only", "--json"];
    let gate = [&run[..], &["--baseline", "base", "--fail-on-regression"]].concat();
    let base = sandbox.run(&[&run[..], &["--save", "base"]].concat()).ended(0).json();
    assert_eq!(base["metrics"]["returned_recall"]["mean"], 1.0, "{base}");
    sandbox.run(&gate).ended(0);
    let sandbox = sandbox.with("MAX_RETRIEVAL_RESULTS", "1");
    let worse = sandbox.run(&gate).ended(1).json();
    let compared = &worse["compared"];
    assert_eq!(compared["returned_recall"]["regression"], true, "{compared}");
    // The order of the best hundred is as it was.
    assert_eq!(compared["recall_10"]["difference"], 0.0, "{compared}");
}

#[test]
fn a_set_about_another_library_is_refused() {
    let sandbox = library();
    let set = |names: &[&str]| {
        let question = json!({ "id": 1, "question": "origami", "documents": names });
        sandbox.write("other.jsonl", question.to_string());
        sandbox.run(&["eval", "run", "other.jsonl", "--search-only", "--json"])
    };
    let foreign = set(&["nowhere.txt", "neither.txt"]).ended(2);
    assert!(foreign.out.is_empty());
    assert!(
        foreign.err.contains("none of the 2 documents") && foreign.err.contains("neither.txt, nowhere.txt"),
        "{}",
        foreign.err
    );
    let partly = set(&["origami.txt", "nowhere.txt"]).ended(0);
    assert!(
        partly.err.contains("1 of the 2 documents") && partly.err.contains("nowhere.txt"),
        "{}",
        partly.err
    );
    assert_eq!(partly.json()["missing_documents"], 1);
    let whole = set(&["origami.txt", "docs/violin.txt"]).ended(0);
    assert!(!whole.err.contains("warning"), "{}", whole.err);
    assert!(whole.json().get("missing_documents").is_none());
}

#[test]
fn another_corpus_or_set_is_named_and_not_blamed() {
    let sandbox = library();
    let run = ["eval", "run", "set.jsonl", "--baseline", "base", "--fail-on-regression"];
    let unknown = sandbox.run(&run).ended(2);
    assert!(unknown.err.contains("there is no run \"base\""), "{}", unknown.err);
    sandbox
        .run(&["eval", "run", "set.jsonl", "--save", "base", "--search-only"])
        .ended(0);
    sandbox.write("other.jsonl", "{\"id\": 1, \"question\": \"What is origami?\"}\n");
    let other = sandbox
        .run(&["eval", "run", "other.jsonl", "--baseline", "base"])
        .ended(2);
    assert!(
        other.err.contains("incomparable: the set is another one"),
        "{}",
        other.err
    );
    sandbox.write("docs/more.txt", "Quartz clocks count the swings of a crystal.");
    sandbox.run(&["ingest", "docs/more.txt"]).ended(0);
    let grown = sandbox.run(&run).ended(2);
    assert!(
        grown.err.contains("incomparable: the corpus is another one"),
        "{}",
        grown.err
    );
    sandbox.write("empty.jsonl", "\n");
    sandbox.run(&["eval", "run", "empty.jsonl"]).ended(2);
}

#[test]
fn a_run_that_broke_off_goes_on() {
    let sandbox = library().with("RAGSTONE_ASK__QUESTION_BYTES", "25");
    let broken = sandbox.run(&["eval", "run", "set.jsonl", "--save", "run"]).ended(1);
    assert!(broken.err.contains("of 8 questions failed"), "{}", broken.err);
    let unfinished = sandbox.run(&["eval", "run", "set.jsonl", "--baseline", "run"]).ended(2);
    assert!(unfinished.err.contains("is not finished"), "{}", unfinished.err);
    let sandbox = sandbox.with("RAGSTONE_ASK__QUESTION_BYTES", "1000");
    let whole = sandbox
        .run(&["eval", "run", "set.jsonl", "--save", "run", "--json"])
        .ended(0);
    assert!(whole.err.contains("going on with run: "), "{}", whole.err);
    assert_eq!(whole.json()["questions"], 8);
}

#[test]
fn a_folder_of_beir_is_a_set_and_a_server_may_run() {
    let sandbox = library();
    sandbox.write(
        "beir/queries.jsonl",
        "{\"_id\": \"1\", \"text\": \"origami cranes\"}\n{\"_id\": \"2\", \"text\": \"x\"}\n",
    );
    sandbox.write("beir/qrels/test.tsv", "query-id\tcorpus-id\tscore\n1\torigami.txt\t1\n");
    let server = Server::start(&sandbox);
    let found = sandbox
        .run(&["eval", "run", "beir", "--search-only", "--json"])
        .ended(0)
        .json();
    assert_eq!(
        (found["questions"].as_u64(), &found["metrics"]["mrr_10"]["mean"]),
        (Some(1), &json!(1.0))
    );
    assert!(found["metrics"].get("answered").is_none());
    sandbox.run(&["eval", "run", "beir", "--split", "dev"]).ended(1);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn the_threshold_is_found_and_kept() {
    let sandbox = library();
    sandbox.write(
        "more.jsonl",
        "{\"id\": 1, \"question\": \"origami cranes folded\", \"answerable\": true}\n\
        {\"id\": 2, \"question\": \"which submarine sank first\", \"answerable\": false}\n",
    );
    let found = sandbox
        .run(&["eval", "calibrate", "more.jsonl", "--json"])
        .ended(0)
        .json();
    assert_eq!(
        (found["answerable"].as_u64(), found["dense"].as_bool()),
        (Some(1), Some(false))
    );
    let curve = found["curve"].as_array().unwrap();
    let chosen = curve
        .iter()
        .find(|point| point["threshold"] == found["threshold"])
        .unwrap();
    assert_eq!(chosen["answered"], 1.0);
    assert!(chosen["refused"].as_f64().unwrap() > 0.8, "{chosen}");
    let answered = sandbox.run(&["ask", "origami cranes folded", "--json"]).ended(0).json();
    assert_eq!(answered["answered"], true);
    let shown = sandbox.run(&["eval", "calibrate"]).ended(0);
    assert!(shown.out.contains("from 0 questions with an answer"), "{}", shown.out);
}
