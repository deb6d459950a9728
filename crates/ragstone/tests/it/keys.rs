//! Keys as an operator makes them and callers use them: the program, its socket, and callers over TCP.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::http::{Answer, Request, request};
use crate::support::{Sandbox, Server};

const DOCUMENTS: &str = "/api/v1/documents";
const KEYS: &str = "/api/v1/keys";

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn call(server: &Server, key: &str, method: &str, path: &str) -> Request {
    request(&server.address, method, path).header("Authorization", &format!("Bearer {key}"))
}

fn list(server: &Server, key: &str) -> Answer {
    call(server, key, "GET", DOCUMENTS).send()
}

/// `key create` with further arguments: its id and its text.
fn create(sandbox: &Sandbox, arguments: &[&str]) -> (String, String) {
    let arguments = [&["--json", "key", "create"], arguments].concat();
    let made = sandbox.run(&arguments).ended(0).json();
    assert_eq!(made.as_object().unwrap().len(), 2, "{made}");
    (text(&made["id"]).to_owned(), text(&made["key"]).to_owned())
}

#[test]
fn keys_are_managed_without_a_server_and_through_one() {
    let sandbox = Sandbox::lexical();
    let robot = ["robot", "--role", "reader", "--department", "x", "--department", "y"];
    let more = ["--group", "g", "--user", "ada", "--tenant", "acme", "--expires", "30d"];
    let (first, first_key) = create(&sandbox, &[robot.as_slice(), &more].concat());
    let listed = sandbox.run(&["--json", "key", "list"]).ended(0);
    assert!(!listed.out.contains("rgs_"));
    let listed = listed.json();
    assert_eq!((&listed["id"], &listed["tenant"]), (&json!(first), &json!("acme")));
    assert_eq!(listed["readers"], json!(["dept:x", "dept:y", "group:g", "user:ada"]));
    assert!(listed["expires_at"].is_string() && listed["live"] == true);

    let server = Server::start(&sandbox);
    list(&server, &first_key).ok(200);
    request(&server.address, "GET", DOCUMENTS)
        .send()
        .problem(401, "unauthorized");
    assert_eq!(request(&server.address, "GET", "/healthz").send().status, 200);
    let (second, second_key) = create(&sandbox, &["clerk", "--role", "writer"]);
    list(&server, &second_key).ok(200);
    let rotated = sandbox.run(&["--json", "key", "rotate", &second]).ended(0).json();
    list(&server, &second_key).problem(401, "unauthorized");
    list(&server, text(&rotated["key"])).ok(200);
    let third = text(&rotated["id"]);
    let graced = sandbox.run(&["--json", "key", "rotate", third, "--grace", "1h"]);
    let graced = graced.ended(0).json();
    list(&server, text(&rotated["key"])).ok(200);
    list(&server, text(&graced["key"])).ok(200);
    let again = sandbox.run(&["key", "rotate", third]).ended(1);
    assert!(again.err.contains("has ended"), "{}", again.err);
    sandbox.run(&["key", "revoke", &first]).ended(0);
    list(&server, &first_key).problem(401, "unauthorized");
    sandbox.run(&["key", "revoke", "0000000000000000"]).ended(1);

    let shown = sandbox.run(&["key", "list"]).ended(0);
    let states: Vec<&str> = shown
        .out
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(states, ["revoked", "rotated", "live", "live"], "{}", shown.out);
    let of_acme = sandbox.run(&["--json", "key", "list", "--tenant", "acme"]).ended(0);
    assert_eq!(of_acme.lines().len(), 1);
    let human = sandbox.run(&["key", "create", "plain", "--role", "reader"]).ended(0);
    list(&server, human.out.trim_end()).ok(200);
    assert!(
        human.err.contains("not shown again") && !human.err.contains("rgs_"),
        "{}",
        human.err
    );
}

#[test]
fn the_first_key_closes_a_server_that_runs() {
    let sandbox = Sandbox::lexical();
    let server = Server::start(&sandbox);
    let open = || request(&server.address, "GET", DOCUMENTS).send();
    open().ok(200);
    let (id, key) = create(&sandbox, &["first", "--role", "admin"]);
    open().problem(401, "unauthorized");
    list(&server, &key).ok(200);
    sandbox.run(&["key", "revoke", &id]).ended(0);
    open().problem(401, "unauthorized");
    list(&server, &key).problem(401, "unauthorized");
    sandbox.run(&["document", "list"]).ended(0);
}

#[test]
fn beyond_this_machine_nothing_is_served_without_a_key() {
    let sandbox = Sandbox::lexical();
    let everywhere = ["serve", "--listen", "0.0.0.0:0"];
    let refused = sandbox.run(&everywhere).ended(2);
    assert!(
        refused.err.contains("server.listen") && refused.err.contains("not a loopback address"),
        "{}",
        refused.err
    );
    let (_, key) = create(&sandbox, &["first", "--role", "reader"]);
    let mut command = sandbox.command(&everywhere);
    let server = Server::spawn(command.stdin(Stdio::null()));
    list(&server, &key).ok(200);
    list(&server, "rgs_x").problem(401, "unauthorized");
}

#[test]
fn what_a_key_may_not_is_refused_as_described() {
    let sandbox = Sandbox::lexical();
    let (_, reader) = create(&sandbox, &["r", "--role", "reader", "--department", "x"]);
    let (writer_id, writer) = create(&sandbox, &["w", "--role", "writer", "--department", "x"]);
    let (_, other) = create(&sandbox, &["o", "--role", "writer", "--department", "y"]);
    let (_, admin) = create(&sandbox, &["a", "--role", "admin"]);
    let server = Server::start(&sandbox);
    let post = |key: &str, path: &str, body: Value| call(&server, key, "POST", path).json(&body).send();
    let document = |readers: &[&str], batch: &str| {
        let text = readers.join(" ");
        json!({"uri": "a://b", "text": text, "readers": readers, "batch": batch})
    };
    let (one, two) = (
        "00000000-0000-0000-0000-00000000000a",
        "00000000-0000-0000-0000-00000000000b",
    );
    post(&writer, DOCUMENTS, document(&["dept:x"], one)).ok(202);
    post(&reader, DOCUMENTS, document(&["dept:x"], two)).problem(403, "forbidden");
    post(&writer, DOCUMENTS, document(&["dept:y"], two)).problem(403, "grant_refused");
    post(&other, DOCUMENTS, document(&["dept:y"], two)).problem(409, "uri_taken");
    let own = json!({"uri": "c://d", "text": "t", "readers": ["dept:y"], "batch": one});
    post(&other, DOCUMENTS, own).problem(409, "batch_taken");
    let key = |name: &str| json!({"name": name, "role": "reader"});
    post(&writer, KEYS, key("n")).problem(403, "forbidden");
    post(&admin, KEYS, key("")).problem(422, "bad_field");
    assert!(text(&post(&admin, KEYS, key("n")).ok(201)["key"]).starts_with("rgs_"));
    let rotate = format!("{KEYS}/{writer_id}/rotate");
    call(&server, &admin, "POST", &rotate).send().ok(200);
    call(&server, &admin, "POST", &rotate).send().problem(409, "key_ended");
    let description = call(&server, &admin, "GET", "/openapi.json").send().ok(200);
    for (path, status, code) in [
        (DOCUMENTS, "403", "grant_refused"),
        (DOCUMENTS, "409", "uri_taken"),
        (DOCUMENTS, "409", "batch_taken"),
        (KEYS, "403", "forbidden"),
        (KEYS, "422", "bad_field"),
        ("/api/v1/keys/{id}/rotate", "409", "key_ended"),
    ] {
        let described = &description["paths"][path]["post"]["responses"][status]["description"];
        let described = described.as_str().unwrap_or_default();
        assert!(described.contains(&format!("`{code}`")), "{path} {status} {code}");
    }
}

#[test]
fn access_is_explained_set_by_set() {
    let sandbox = Sandbox::lexical();
    let (id, _) = create(
        &sandbox,
        &["lab", "--role", "reader", "--department", "lab", "--tenant", "acme"],
    );
    let server = Server::start(&sandbox);
    let (_, admin) = create(&sandbox, &["root", "--role", "admin", "--tenant", "acme"]);
    let body = json!({"uri": "a://b", "text": "The zebra lives in the attic.", "readers": ["dept:lab", "user:ann"]});
    let sent = call(&server, &admin, "POST", DOCUMENTS).json(&body).send().ok(202);
    let events = format!("/api/v1/jobs/{}/events", text(&sent["job"]["id"]));
    assert!(call(&server, &admin, "GET", &events).open().events().count() > 0);
    let document = text(&sent["document"]["id"]);
    let explain = |named: &str, arguments: &[&str]| {
        let arguments = [&["--json", "explain-access", "--document", named], arguments].concat();
        sandbox.run(&arguments).ended(0).json()
    };
    let check = |told: &Value, readable: bool, by: Value, reasons: &[&str]| {
        assert_eq!(told["readable"], readable, "{told}");
        assert_eq!(told["sets"][0]["by"], by, "{told}");
        let codes: Vec<_> = told["reasons"]
            .as_array()
            .unwrap()
            .iter()
            .map(|reason| text(&reason["code"]))
            .collect();
        assert_eq!(codes, reasons, "{told}");
    };
    for named in [document, "a://b"] {
        check(
            &explain(named, &["--user", "ann", "--tenant", "acme"]),
            true,
            json!(["user:ann"]),
            &[],
        );
        let refused = explain(named, &["--user", "bob", "--tenant", "acme", "--group", "lab"]);
        check(&refused, false, json!([]), &["set_refuses"]);
        let elsewhere = explain(named, &["--user", "ann"]);
        check(&elsewhere, false, json!(["user:ann"]), &["other_tenant"]);
        check(&explain(named, &["--key", &id]), true, json!(["dept:lab"]), &[]);
    }
    let shown = sandbox.run(&[
        "explain-access",
        "--document",
        document,
        "--user",
        "bob",
        "--tenant",
        "acme",
    ]);
    assert!(
        shown
            .ended(0)
            .out
            .contains("set 1     refuses: any of dept:lab user:ann")
    );
    sandbox.run(&["key", "revoke", &id]).ended(0);
    let revoked = explain(document, &["--key", &id]);
    check(&revoked, false, json!(["dept:lab"]), &["key_ended"]);
    assert_eq!(revoked["admitted"], false);
    let gone = format!("{DOCUMENTS}/{document}");
    call(&server, &admin, "DELETE", &gone).send().ok(202);
    let told = explain(document, &["--user", "ann", "--tenant", "acme"]);
    check(&told, false, Value::Null, &["deleted"]);
    let unknown = ["explain-access", "--document", "c://d", "--user", "ann"];
    assert!(sandbox.run(&unknown).ended(1).err.contains("no such document"));
    sandbox.run(&["explain-access", "--document", "c://d"]).ended(2);
}
