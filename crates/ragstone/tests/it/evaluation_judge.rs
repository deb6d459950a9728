//! Answers judged by a model: a service that speaks the protocol over a real socket, and sometimes forgets its JSON.

use serde_json::{Value, json};

use crate::model::{Model, saying};
use crate::support::Sandbox;

/// A judge; it says nonsense before its first good reply, so often.
fn judge(nonsense: usize) -> Model {
    saying(move |call, prompt| match call < nonsense {
        true => "I would rather not.".to_owned(),
        false => reply(prompt).to_string(),
    })
}

/// Two statements, of which the first is supported.
fn reply(prompt: &str) -> Value {
    let statement = |verdict: i64| json!({ "statement": "s", "reason": "r", "verdict": verdict });
    match prompt {
        prompt if prompt.contains("Break the answer") => json!({ "statements": ["one", "two"] }),
        prompt if prompt.contains("For each statement") => {
            json!({ "statements": [statement(1), statement(0)] })
        }
        prompt if prompt.contains("sentence by sentence") => json!({ "classifications": [] }),
        prompt => panic!("unexpected prompt: {prompt}"),
    }
}

fn library(judge: &str) -> Sandbox {
    let sandbox = Sandbox::lexical()
        .with("RAGSTONE_EVAL__JUDGE_MODEL", "judge-1")
        .with("RAGSTONE_EVAL__JUDGE_BASE_URL", judge)
        .with("RAGSTONE_EVAL__METRICS", "[\"faithfulness\",\"context_recall\"]");
    sandbox.write(
        "docs/origami.txt",
        "Origami cranes are folded from a single square sheet of paper.",
    );
    sandbox.run(&["ingest", "docs"]).ended(0);
    let question = json!({ "id": 1, "question": "What are origami cranes folded from?", "reference": "paper" });
    sandbox.write("set.jsonl", question.to_string());
    sandbox
}

#[test]
fn answers_are_judged_in_a_form_that_is_asked_for() {
    let model = judge(0);
    let found = library(&model.address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert_eq!(found["metrics"]["faithfulness"]["mean"], 0.5, "{found}");
    assert!(
        found["metrics"].get("context_recall").is_none(),
        "NaN has no mean: {found}"
    );
    assert!(found.get("unjudged").is_none());
    let (calls, with_schema) = model.calls();
    assert_eq!(calls, with_schema);
}

#[test]
fn a_judge_that_talks_is_asked_again_and_not_for_ever() {
    let model = judge(2);
    let found = library(&model.address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert_eq!(found["metrics"]["faithfulness"]["mean"], 0.5, "{found}");
    let model = judge(usize::MAX);
    let found = library(&model.address)
        .run(&["eval", "run", "set.jsonl", "--json"])
        .ended(0)
        .json();
    assert!(found["metrics"].get("faithfulness").is_none(), "{found}");
    assert_eq!(found["unjudged"], json!({ "context_recall": 1, "faithfulness": 1 }));
}

#[test]
fn a_judge_that_cannot_be_is_refused() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_EVAL__METRICS", "[\"politeness\"]");
    let refused = sandbox.run(&["eval", "runs"]).ended(2);
    assert!(refused.err.contains("eval.metrics"), "{}", refused.err);
}
