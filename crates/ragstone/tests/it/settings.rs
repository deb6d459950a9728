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
    check("RAGSTONE_LISTENN", "127.0.0.1:9", "It is set by RAGSTONE_LISTEN");
    check(
        "RAGSTONE_CHAT_BASEURL",
        "http://x",
        "It is set by RAGSTONE_CHAT_BASE_URL",
    );
    check("QDRANT_URL", "http://localhost:6334", "all local or all shared");
    check("RAGSTONE_ADMIN_KEY", "short", "32 characters or more");
    check("RAGSTONE_CONFIG", "none.toml", "none.toml: cannot be read");
}

/// What Kubernetes sets for a Service of this program's name stops nothing, and neither does another's variable.
#[test]
fn names_that_are_no_settings_are_told() {
    let mut sandbox = Sandbox::lexical().with("RAGSTONE_IMAGE_TAG", "v7");
    let of_services = [
        ("RAGSTONE_SERVICE_HOST", "10.0.0.7"),
        ("RAGSTONE_SERVICE_PORT", "80"),
        ("RAGSTONE_SERVICE_PORT_HTTP", "80"),
        ("RAGSTONE_PORT", "tcp://10.0.0.7:80"),
        ("RAGSTONE_PORT_8080_TCP", "tcp://10.0.0.7:8080"),
        ("RAGSTONE_PORT_8080_TCP_ADDR", "10.0.0.7"),
        ("RAGSTONE_API_SERVICE_HOST", "10.0.0.8"),
        ("RAGSTONE_API_PORT_8080_TCP_PROTO", "tcp"),
    ];
    for (name, value) in of_services {
        sandbox = sandbox.with(name, value);
    }
    let ran = sandbox.run(&["doctor"]).ended(0);
    let warning = |name: &str| {
        let lines = ran.err.lines().filter(|line| line.contains("WARN"));
        lines
            .filter(|line| {
                line.contains(&format!("{name} ")) || line.ends_with(name) || line.contains(&format!("{name},"))
            })
            .count()
    };
    for name in of_services
        .map(|(name, _)| name)
        .into_iter()
        .chain(["RAGSTONE_IMAGE_TAG"])
    {
        assert_eq!(warning(name), 1, "{name}: {}", ran.err);
        assert!(ran.out.contains(name), "{name}: {}", ran.out);
    }
    assert!(ran.out.contains("enableServiceLinks"), "{}", ran.out);
    assert!(!ran.err.contains("10.0.0.7") && !ran.out.contains("10.0.0.7"));
    let server = crate::support::Server::start(&sandbox);
    assert!(server.get("/healthz").starts_with("HTTP/1.1 200"));
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
    for arguments in [&["doctor"][..], &["--json", "doctor"], &["--log", "trace", "doctor"]] {
        // Nothing listens there, which doctor finds.
        let ran = sandbox.run(arguments).ended(1);
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
    let untried = sandbox.run(&["doctor", "--no-network"]).ended(0);
    assert!(untried.out.contains("skipped  chat"), "{}", untried.out);
}

#[test]
fn the_manual_is_printed() {
    let manual = Sandbox::lexical().run(&["doctor", "--settings"]).ended(0).out;
    assert!(manual.contains("chunk_size = 800") && manual.contains("RAGSTONE_LISTEN"));
}
