//! Sets of questions from use and from a model, and whom they ask as.

use serde_json::{Value, json};

use crate::http::request;
use crate::model::{Model, saying};
use crate::support::{Sandbox, Server};

const PASSAGE: &str = "The hydraulic pump of the press needs 120 ml of mineral oil every spring. It is filled through the \
    brass cap on its left side, and what is spilled has to be wiped off before the press is switched on again, because \
    the smell of burnt oil stays in the hall for days.";

fn create(sandbox: &Sandbox, arguments: &[&str]) -> String {
    let arguments = [&["key", "create", "n", "--json"], arguments].concat();
    let made = sandbox.run(&arguments).ended(0).json();
    made["key"].as_str().unwrap().to_owned()
}

/// What is said of answers becomes a set that runs as its askers did.
#[test]
fn feedback_becomes_a_set_that_runs() {
    let sandbox = Sandbox::lexical();
    let ann = create(&sandbox, &["--role", "reader", "--user", "ann", "--department", "lab"]);
    for (name, text, readers) in [
        ("pump", PASSAGE, "dept:lab"),
        (
            "safe",
            "The hydraulic pump stands behind the safe, whose code is 7731.",
            "dept:board",
        ),
    ] {
        let file = sandbox.write(&format!("{name}.txt"), text);
        sandbox
            .run(&["ingest", file.to_str().unwrap(), "--readers", readers])
            .ended(0);
    }
    let server = Server::start(&sandbox);
    let call = |path: &str, body: Value| {
        let call = request(&server.address, "POST", path);
        call.header("Authorization", &format!("Bearer {ann}"))
            .json(&body)
            .send()
    };
    let ask = |question: &str| {
        let answer = call("/api/v1/ask", json!({ "question": question })).ok(200);
        assert_eq!(answer["answered"], true, "{answer}");
        answer["trace_id"].as_str().unwrap().to_owned()
    };
    let said = [
        json!({ "rating": "up" }),
        json!({ "rating": "down", "correct_answer": "120 ml of mineral oil" }),
        json!({ "rating": "down", "comment": "vague" }),
    ];
    for mut said in said {
        said["trace_id"] = json!(ask("Which oil does the hydraulic pump of the press need?"));
        call("/api/v1/feedback", said).ok(200);
    }
    let collected = sandbox.run(&["eval", "collect", "--json"]).ended(0).lines();
    let drafts: Vec<_> = collected.iter().map(|line| line["draft"] == true).collect();
    assert_eq!(drafts, [false, false, true], "{collected:?}");
    for line in &collected {
        assert_eq!(line["caller"], json!({ "departments": ["lab"], "user": "ann" }));
    }
    sandbox.run(&["eval", "collect", "--out", "set.jsonl"]).ended(0);
    sandbox.run(&["eval", "collect", "--out", "set.jsonl"]).ended(2);
    let only_up = sandbox.run(&["eval", "collect", "--rating", "up", "--json"]).ended(0);
    assert_eq!(only_up.lines().len(), 1);

    let ran = sandbox.run(&["eval", "run", "set.jsonl", "--json"]).ended(0);
    assert!(ran.err.contains("1 drafts are left out"), "{}", ran.err);
    assert_eq!(ran.json()["questions"], 2);

    // Who may read what is part of a set.
    let board = json!({ "departments": ["board"] });
    let line = |id: &str, caller: &Value, forbidden: &str| {
        let question = "Where does the hydraulic pump stand?";
        json!({ "id": id, "question": question, "caller": caller, "forbidden": [forbidden] }).to_string()
    };
    let lab = &collected[0]["caller"];
    let set = [line("lab", lab, "safe.txt"), line("board", &board, "pump.txt")].join("\n");
    sandbox.write("access.jsonl", set);
    let ran = sandbox.run(&["eval", "run", "access.jsonl", "--json"]).ended(0).json();
    assert_eq!(ran["metrics"]["access"]["mean"], 1.0, "{ran}");
    let set = [line("1", lab, "safe.txt"), line("2", &board, "safe.txt")].join("\n");
    sandbox.write("access.jsonl", set);
    let ran = sandbox.run(&["eval", "run", "access.jsonl", "--json"]).ended(0).json();
    assert_eq!(ran["metrics"]["access"]["mean"], 0.5, "{ran}");
    sandbox.write("access.jsonl", line("1", &json!({ "user": "" }), "safe.txt"));
    let refused = sandbox.run(&["eval", "run", "access.jsonl"]).ended(1);
    assert!(refused.err.contains("1 of 1 questions failed"), "{}", refused.err);
}

fn generating(model: &Model) -> Sandbox {
    let sandbox = Sandbox::lexical()
        .with("LLM_MODEL", "drafter-1")
        .with("RAGSTONE_CHAT_BASE_URL", &model.address);
    sandbox.write("docs/pump.txt", PASSAGE);
    sandbox.write("docs/short.txt", "Too short to ask about.");
    sandbox.run(&["ingest", "docs"]).ended(0);
    sandbox
}

fn drafted(quote: &str) -> String {
    let question = "How much oil does the pump of the press need?";
    json!({ "questions": [{ "question": question, "answer": "120 ml", "quote": quote }] }).to_string()
}

#[test]
fn drafts_are_asked_once_a_person_accepted_them() {
    let good = drafted("needs 120 ml of mineral oil");
    // The first reply cannot be read.
    let model = saying(move |call, _| if call == 0 { "Gladly!".into() } else { good.clone() });
    let sandbox = generating(&model);
    sandbox.run(&["eval", "generate", "--out", "set.jsonl"]).ended(0);
    assert_eq!(model.calls(), (2, 2), "each with the form of its reply");
    let text = std::fs::read_to_string(sandbox.path().join("set.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&line["draft"], &line["reference"]), (&json!(true), &json!("120 ml")));
    assert!(line["documents"][0].as_str().unwrap().ends_with("pump.txt"));

    let refused = sandbox.run(&["eval", "run", "set.jsonl", "--search-only"]).ended(2);
    assert!(
        refused.err.contains("all 1 questions of the set are drafts"),
        "{}",
        refused.err
    );
    let id = line["id"].as_str().unwrap();
    let listed = sandbox.run(&["eval", "accept", "set.jsonl", "--json"]).ended(0);
    assert_eq!(listed.lines()[0]["id"], id);
    sandbox.run(&["eval", "accept", "set.jsonl", "--id", "nobody"]).ended(2);
    sandbox.run(&["eval", "run", "set.jsonl", "--search-only"]).ended(2);
    sandbox.run(&["eval", "accept", "set.jsonl", "--id", id]).ended(0);
    assert!(sandbox.run(&["eval", "accept", "set.jsonl"]).ended(0).out.is_empty());
    let ran = sandbox
        .run(&["eval", "run", "set.jsonl", "--search-only", "--json"])
        .ended(0);
    assert_eq!(ran.json()["metrics"]["hit_1"]["mean"], 1.0, "{}", ran.out);
    // What was accepted is no draft any more, and so cannot be rejected.
    sandbox.run(&["eval", "accept", "set.jsonl", "--reject", id]).ended(2);
}

#[test]
fn what_a_model_makes_up_is_no_draft_and_nonsense_ends() {
    let made_up = drafted("needs 130 ml of mineral oil");
    let model = saying(move |_, _| made_up.clone());
    let sandbox = generating(&model);
    let ran = sandbox.run(&["eval", "generate", "--json"]).ended(0);
    assert!(ran.out.is_empty(), "{}", ran.out);
    let model = saying(|_, _| "I would rather not.".into());
    let sandbox = generating(&model);
    let ran = sandbox.run(&["eval", "generate", "--json"]).ended(0);
    assert!(ran.err.contains("cannot be read") && ran.out.is_empty(), "{}", ran.err);
    assert_eq!(model.calls().0, 3);
    let without = Sandbox::lexical();
    let refused = without.run(&["eval", "generate"]).ended(2);
    assert!(refused.err.contains("chat.model"), "{}", refused.err);
}
