//! Documents that give orders, against the model that obeys them.

use serde_json::Value;

use crate::support::Sandbox;

/// Attacks that nobody sees in their document.
const UNSEEN: [&str; 7] = [
    "hidden-element",
    "hidden-comment",
    "hidden-colour",
    "tag-characters",
    "zero-width",
    "white-pdf",
    "tiny-pdf",
];

#[test]
fn nothing_leaks_however_obedient_the_model_is() {
    let verdicts = Sandbox::lexical().run(&["redteam", "--json"]).ended(0).lines();
    assert!(verdicts.len() >= 20, "{}", verdicts.len());
    let mut obeyed = 0;
    for verdict in &verdicts {
        let name = verdict["attack"].as_str().unwrap();
        // The characters of zero width go and leave plain words, which everybody sees.
        let unseen = UNSEEN.contains(&name) && name != "zero-width";
        assert_eq!(verdict["reached"], !unseen, "{verdict}");
        assert_eq!(verdict["obeyed"], !unseen, "{verdict}");
        assert_eq!(
            verdict["fenced"],
            if unseen { Value::Null } else { true.into() },
            "{verdict}"
        );
        assert_eq!(verdict["leaks"], serde_json::json!([]), "{verdict}");
        obeyed += usize::from(verdict["obeyed"] == true);
    }
    assert!(obeyed >= 15, "the model obeyed {obeyed} times");
}

#[test]
fn a_model_must_be_there_to_be_attacked() {
    let sandbox = Sandbox::lexical();
    let ran = sandbox.run(&["redteam", "--model", "configured"]).ended(2);
    assert!(ran.err.contains("chat.model"), "{}", ran.err);
    sandbox.run(&["redteam", "--only", "no such"]).ended(2);
}
