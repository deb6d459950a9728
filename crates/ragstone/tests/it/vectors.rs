//! Documents that came before the model get their vectors once it is there, and another model is never mixed in.

use serde_json::json;

use crate::support::{Ran, Sandbox, Server};

/// Looks at a server until its embedder is in use: as often as a slow machine needs, then no more.
const LOOKS: usize = 20_000;

fn has_model(sandbox: &Sandbox) -> bool {
    let status = sandbox.run(&["--json", "model", "status"]).ended(0).json();
    let present = status["present"] == true;
    if !present {
        ragstone_testkit::skip_test("vectors that come later", "ragstone model fetch");
    }
    present
}

fn notices(ran: Ran) -> serde_json::Value {
    ran.ended(0).json()["notices"].clone()
}

#[test]
fn a_library_begun_without_a_model_turns_hybrid() {
    let sandbox = Sandbox::new();
    if !has_model(&sandbox) {
        return;
    }
    sandbox.write("docs/attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
    let mut lexical = sandbox.command(&["ingest", "docs"]);
    assert!(
        lexical
            .env("RAGSTONE_EMBED__PROVIDER", "none")
            .status()
            .unwrap()
            .success()
    );
    let search = ["--json", "search", "where do striped animals live?"];
    assert_eq!(notices(sandbox.run(&search))[0]["code"], "lexical_only");
    let server = Server::start(&sandbox);
    let ready = (0..LOOKS).any(|_| server.get("/readyz").contains(r#""embedder":"all-MiniLM-L6-v2""#));
    assert!(ready, "{}", server.get("/readyz"));
    assert_eq!(notices(sandbox.run(&search)), json!([]));
    assert_eq!(server.stop(), Some(0));
    let found = sandbox.run(&search).ended(0).json();
    assert_eq!(
        (&found["notices"], &found["passages"][0]["ranks"]["dense"]),
        (&json!([]), &json!(1))
    );
}

#[test]
fn another_model_is_not_mixed_in() {
    let sandbox = Sandbox::new();
    if !has_model(&sandbox) {
        return;
    }
    sandbox.write("docs/attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
    sandbox.run(&["ingest", "docs"]).ended(0);
    // Another prefix makes other vectors.
    let other = sandbox.with("RAGSTONE_EMBED__PASSAGE_PREFIX", "passage: ");
    let search = ["--json", "search", "where do striped animals live?"];
    assert_eq!(notices(other.run(&search))[0]["code"], "lexical_only");
    other.write("docs/cellar.md", "# Cellar\n\nWalnuts are stored in the cellar.\n");
    other.run(&["ingest", "docs/cellar.md"]).ended(0);
    other.run(&["index", "rebuild"]).ended(0);
    assert_eq!(notices(other.run(&search)), json!([]));
}
