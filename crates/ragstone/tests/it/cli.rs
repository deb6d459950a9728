//! The forms of the commands, their exit codes, and two processes on one data directory.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Sandbox, Server, interrupt};

fn library() -> Sandbox {
    let sandbox = Sandbox::lexical();
    sandbox.write("docs/attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
    sandbox.write("docs/cellar notes.txt", "Walnuts are stored in the cellar.\n");
    sandbox.run(&["ingest", "docs"]).ended(0);
    sandbox
}

#[test]
fn ingest_says_what_became_of_each_file() {
    let sandbox = Sandbox::lexical();
    sandbox.write("docs/attic.md", "# Attic\n\nThe zebra lives in the attic.\n");
    sandbox.write("docs/.hidden.md", "nobody sees this");
    sandbox.write("docs/broken.pdf", "%PDF-1.4 nothing behind it");
    let ran = sandbox.run(&["--json", "ingest", "docs"]).ended(1);
    let mut lines = ran.lines();
    lines.sort_by_key(|line| line["uri"].to_string());
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["status"], &lines[0]["chunks"]),
        (&json!("published"), &json!(1))
    );
    assert!(lines[0]["uri"].as_str().unwrap().starts_with("file:///"));
    assert_eq!(
        (&lines[1]["status"], &lines[1]["error"]["code"]),
        (&json!("failed"), &json!("damaged"))
    );
    assert!(
        ran.err.contains("broken.pdf") && ran.err.contains("1 failed"),
        "{}",
        ran.err
    );
    let again = sandbox.run(&["--json", "ingest", "docs/attic.md"]).ended(0);
    assert_eq!(again.json()["status"], "unchanged");
}

#[test]
fn json_lines_are_documents() {
    let sandbox = Sandbox::lexical();
    let lines = "{\"_id\":\"7\",\"title\":\"T\",\"text\":\"walrus in the tub\",\"page\":3}\n\nnot json\n";
    let ran = sandbox
        .run_with(
            &[
                "--json",
                "ingest",
                "--jsonl",
                "-",
                "--department",
                "hr",
                "--metadata",
                r#"{"year":1}"#,
            ],
            lines,
        )
        .ended(1);
    let lines = ran.lines();
    let published = lines.iter().find(|line| line["uri"] == "7").unwrap();
    assert_eq!(published["status"], "published");
    assert!(
        lines
            .iter()
            .any(|line| line["uri"] == "line 3" && line["status"] == "failed")
    );
    let document = sandbox.run(&["--json", "document", "list"]).ended(0).json();
    assert_eq!(document["metadata"], json!({"_id": "7", "page": 3, "year": 1}));
    assert_eq!(document["readers"], json!(["dept:hr"]));
}

#[test]
fn a_question_is_answered_with_its_source() {
    let sandbox = library();
    let answer = sandbox
        .run(&["--json", "ask", "Where does the zebra live?"])
        .ended(0)
        .json();
    assert_eq!(answer["answered"], true);
    assert_eq!(answer["citations"][0]["title"], "Attic");
    assert_eq!(answer["citations"][0]["verified"], true);
    let text = sandbox.run(&["ask", "Where does the zebra live?"]).ended(0);
    assert!(text.out.contains("[1] Attic"), "{}", text.out);
    let none = sandbox
        .run(&["--json", "ask", "xyzzy plugh frobnicate"])
        .ended(0)
        .json();
    assert_eq!(none["answered"], false);
    let found = sandbox
        .run(&["--json", "search", "walnuts", "--limit", "1"])
        .ended(0)
        .json();
    assert_eq!(found["passages"].as_array().unwrap().len(), 1);
    assert!(found["passages"][0]["text"].as_str().unwrap().contains("Walnuts"));
}

#[test]
fn a_deleted_document_is_gone() {
    let sandbox = library();
    let listed = sandbox.run(&["--json", "document", "list"]).ended(0).lines();
    let id = listed.iter().find(|document| document["title"] == "Attic").unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    sandbox.run(&["document", "get", &id]).ended(0);
    sandbox.run(&["document", "delete", &id]).ended(0);
    let gone = sandbox.run(&["document", "get", &id]).ended(1);
    assert!(gone.err.starts_with("error: "), "{}", gone.err);
    let found = sandbox.run(&["--json", "search", "zebra"]).ended(0).json();
    assert!(!found.to_string().contains("attic"), "{found}");
}

#[test]
fn an_index_is_made_again() {
    let sandbox = library();
    let rebuilt = sandbox.run(&["--json", "index", "rebuild"]).ended(0).json();
    assert_eq!(rebuilt, json!({"documents": 2, "failed": 0}));
    let status = sandbox.run(&["--json", "index", "status"]).ended(0).json();
    assert_eq!((&status["documents"], &status["points"]), (&json!(2), &json!(2)));
    let jobs = sandbox
        .run(&["--json", "job", "list", "--kind", "ingest"])
        .ended(0)
        .lines();
    assert_eq!(jobs.len(), 4);
    let found = sandbox
        .run(&["--json", "search", "zebra", "--limit", "1"])
        .ended(0)
        .json();
    assert!(found.to_string().contains("zebra"), "{found}");
}

#[test]
fn a_second_process_goes_through_the_first() {
    let sandbox = library();
    let server = Server::start(&sandbox);
    let found = sandbox
        .run(&["--json", "search", "zebra", "--limit", "1"])
        .ended(0)
        .json();
    assert!(found.to_string().contains("zebra"), "{found}");
    let file = sandbox.write("more/ghost.md", "# Ghost\n\nThe ghost haunts the pantry.\n");
    let ran = sandbox.run(&["--json", "ingest", file.to_str().unwrap()]).ended(0);
    assert_eq!(ran.json()["status"], "published");
    let answer = sandbox.run(&["ask", "What does the ghost haunt?"]).ended(0);
    assert!(answer.out.contains("pantry"), "{}", answer.out);
    let second = sandbox.run(&["serve", "--listen", "127.0.0.1:0"]).ended(2);
    assert!(second.err.contains("is in use by process"), "{}", second.err);
    assert!(server.get("/readyz").starts_with("HTTP/1.1 200"));
    let socket = std::fs::metadata(sandbox.path().join(".ragstone/data/socket")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&socket.permissions()) & 0o777,
        0o600
    );
    assert_eq!(server.stop(), Some(0));
    sandbox.run(&["search", "ghost"]).ended(0);
}

#[test]
fn inspecting_stores_nothing() {
    let sandbox = Sandbox::lexical();
    let file = sandbox.write("a.md", "# Alpha\n\nBeta gamma.\n");
    let file = file.to_str().unwrap();
    let parsed = sandbox.run(&["--json", "inspect", "parse", file]).ended(0).json();
    assert_eq!(
        (&parsed["title"], &parsed["pages"][0]["page"]),
        (&json!("Alpha"), &json!(null))
    );
    assert_eq!(parsed["attachments"], json!([]));
    let chunks = sandbox.run(&["inspect", "split", file]).ended(0).lines();
    assert_eq!(
        (&chunks[0]["section"], &chunks[0]["page"]),
        (&json!("Alpha"), &json!(null))
    );
    let split = ["inspect", "split", "-", "--chunk-size", "5", "--chunk-overlap", "0"];
    let texts: Vec<_> = sandbox.run_with(&split, "ä one\n\ntwo").ended(0).lines();
    let ranges: Vec<_> = texts.iter().map(|chunk| chunk["range"].clone()).collect();
    assert_eq!(ranges, [json!([0, 6]), json!([8, 11])]);
    let terms = sandbox
        .run_with(&["inspect", "analyze", "-"], "{\"text\":\"Running dogs\"}\n")
        .ended(0);
    assert_eq!(terms.out, "{\"tokens\":[\"run\",\"dog\"]}\n");
    assert!(!sandbox.path().join(".ragstone").exists());
}

#[test]
fn wrong_use_is_2() {
    let sandbox = Sandbox::lexical();
    let check = |arguments: &[&str], expected: &str| {
        let ran = sandbox.run(arguments).ended(2);
        assert!(
            ran.err.contains(expected) && ran.out.is_empty(),
            "{arguments:?}: {}",
            ran.err
        );
    };
    check(&["bogus"], "unrecognized subcommand");
    check(&["ingest"], "required");
    check(&["ingest", "none.md"], "none.md does not exist");
    check(&["ingest", "*.pdf"], "*.pdf matches no file");
    check(&["ingest", ".", "--metadata", "x"], "not a JSON object");
    check(&["ask", " "], "the question is empty");
    check(&["search", "x", "--filter", "{"], "--filter is not JSON");
    check(
        &["inspect", "split", "-", "--chunk-size", "0"],
        "chunk_size must be at least 1",
    );
}

#[test]
fn what_nobody_reads_ends_quietly() {
    let sandbox = Sandbox::lexical();
    let mut command = sandbox.command(&["inspect", "analyze", "-"]);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    // Once the program has ended nobody reads these lines either.
    let _ = (0..1000).try_for_each(|_| stdin.write_all(b"{\"text\":\"one two three\"}\n"));
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn an_interrupt_is_130() {
    let sandbox = Sandbox::lexical();
    let mut command = sandbox.command(&["inspect", "analyze", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"{\"text\":\"one\"}\n").unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    out.read_to_string(&mut line).unwrap();
}

#[test]
fn versions_and_completions_need_nothing() {
    let sandbox = Sandbox::lexical();
    let version = sandbox.run(&["--version"]).ended(0).out;
    assert!(
        version.contains("commit ") && version.contains("features: "),
        "{version}"
    );
    assert!(sandbox.run(&["completions", "bash"]).ended(0).out.contains("_ragstone"));
    assert!(!sandbox.path().join(".ragstone").exists());
}

#[test]
fn a_terminal_sees_rate_and_remaining_time_and_nobody_else_does() {
    let sandbox = Sandbox::lexical();
    let files: Vec<String> = (0..3)
        .map(|n| {
            let file = sandbox.write(&format!("{n}.txt"), format!("The pump number {n}."));
            file.to_str().unwrap().to_owned()
        })
        .collect();
    let mut arguments = vec!["ingest"];
    arguments.extend(files.iter().map(String::as_str));
    let quiet = sandbox.run(&arguments).ended(0);
    assert!(!quiet.err.contains("/3 files"), "{}", quiet.err);
    files
        .iter()
        .for_each(|file| std::fs::write(file, "Another text.").unwrap());
    let command = sandbox.command(&arguments);
    let said = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| format!("'{}'", word.to_str().unwrap()))
        .collect::<Vec<_>>()
        .join(" ");
    // `script` of util-linux gives the program a terminal.
    let mut terminal = Command::new("script");
    terminal
        .args(["-qec", &said, "/dev/null"])
        .env_clear()
        .current_dir(sandbox.path())
        .stdin(Stdio::null());
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    terminal.envs(variables).env("TERM", "xterm");
    let Ok(seen) = terminal.output() else {
        ragstone_testkit::skip_test("progress bars on a terminal", "install util-linux (`script`)");
        return;
    };
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("/3 files, ") && seen.contains("/s, ") && seen.contains(" left"),
        "{seen}"
    );
}
