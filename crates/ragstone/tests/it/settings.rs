//! Settings as the program reads them: layers, wrong ones, secrets.

use crate::support::Sandbox;

#[test]
fn a_wrong_setting_is_named_with_what_is_allowed() {
    let check = |name: &str, value: &str, expected: &str| {
        let ran = Sandbox::lexical().with(name, value).run(&["doctor"]).ended(2);
        assert!(ran.err.contains(expected), "{name}={value}: {}", ran.err);
        assert!(ran.out.is_empty());
    };
    check(
        "MAX_RETRIEVAL_RESULTS",
        "0",
        "ask.limit (from MAX_RETRIEVAL_RESULTS): must be 1 to 100, got 0",
    );
    check("RAGSTONE_SPLIT__CHUNKSIZE", "9", "did you mean split.chunk_size?");
    check("QDRANT_URL", "http://localhost:6334", "all local or all shared");
    check("RAGSTONE_ADMIN_KEY", "short", "32 characters or more");
    check("RAGSTONE_CONFIG", "none.toml", "none.toml: cannot be read");
}

#[test]
fn layers_lie_over_each_other() {
    let sandbox = Sandbox::lexical().with("RAGSTONE_LISTEN", "127.0.0.1:3");
    let listens = |sandbox: &Sandbox, arguments: &[&str], port: &str| {
        let ran = sandbox.run(arguments).ended(0);
        assert!(ran.out.contains(&format!("127.0.0.1:{port}")), "{}", ran.out);
    };
    sandbox.write(
        "ragstone.toml",
        "[server]\nlisten = \"127.0.0.1:1\"\n[data]\ndirectory = \"named\"\n",
    );
    sandbox.write(".env", "RAGSTONE_LISTEN=127.0.0.1:2\n");
    listens(&sandbox, &["doctor"], "3");
    assert!(sandbox.run(&["doctor"]).out.contains("named"));
    assert!(sandbox.run(&["--data", "other", "doctor"]).out.contains("other"));
    let without = Sandbox::lexical();
    without.write("ragstone.toml", "[server]\nlisten = \"127.0.0.1:1\"\n");
    listens(&without, &["doctor"], "1");
    without.write(".env", "RAGSTONE_LISTEN=127.0.0.1:2\n");
    listens(&without, &["doctor"], "2");
}

#[test]
fn no_secret_is_shown() {
    let sandbox = Sandbox::lexical()
        .with("OPENAI_API_KEY", "sk-very-hidden")
        .with("RAGSTONE_ADMIN_KEY", "very-hidden-and-long-enough-for-a-key")
        .with("LLM_MODEL", "gpt-test")
        .with("OPENAI_BASE_URL", "http://user:very-hidden@127.0.0.1:9/v1");
    for arguments in [
        &["doctor"][..],
        &["--json", "doctor"],
        &["--log", "trace", "doctor"],
    ] {
        let ran = sandbox.run(arguments).ended(0);
        assert!(
            !ran.out.contains("hidden") && !ran.err.contains("hidden"),
            "{}{}",
            ran.out,
            ran.err
        );
        assert!(
            ran.out.contains("gpt-test") && ran.out.contains("http://127.0.0.1:9/v1"),
            "{}",
            ran.out
        );
    }
}

#[test]
fn the_manual_is_printed() {
    let manual = Sandbox::lexical().run(&["doctor", "--settings"]).ended(0).out;
    assert!(manual.contains("chunk_size = 800") && manual.contains("RAGSTONE_LISTEN"));
}
