//! `ingest` of what stands at an address of the web: fetched, refused, broken off.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::Sandbox;

/// A web site on a free port, for as long as the tests run.
fn site() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            // A caller that is gone is nobody's error.
            std::thread::spawn(move || drop(answer(caller)));
        }
    });
    address
}

fn answer(mut caller: TcpStream) -> std::io::Result<()> {
    let (mut first, mut line) = (String::new(), String::new());
    let mut request = BufReader::new(caller.try_clone()?);
    request.read_line(&mut first)?;
    while request.read_line(&mut line)? > 2 {
        line.clear();
    }
    let head = |status: &str, media_type: &str, bytes: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {bytes}\r\nConnection: close\r\n")
    };
    let page = "<html><head><title>Tides</title></head><body><p>High water comes twice a day.</p></body></html>";
    let sent = match first.split(' ').nth(1).unwrap_or_default() {
        "/tides" => format!("{}\r\n{page}", head("200 OK", "text/html; charset=utf-8", page.len())),
        "/old" => format!(
            "{}Location: /tides\r\n\r\n",
            head("301 Moved Permanently", "text/plain", 0)
        ),
        "/cut" => format!("{}\r\nonly the beg", head("200 OK", "text/plain", 10_000)),
        _ => format!("{}\r\n", head("404 Not Found", "text/plain", 0)),
    };
    caller.write_all(sent.as_bytes())
}

/// A library that may ask this site.
fn library(site: SocketAddr) -> Sandbox {
    let sandbox = Sandbox::lexical();
    let allowed = format!(
        "[fetch]\nallowed_ranges = [\"127.0.0.1/32\"]\nports = [\"{}\"]\n",
        site.port()
    );
    sandbox.write("ragstone.toml", allowed);
    sandbox
}

fn detail(line: &Value) -> &str {
    line["error"]["detail"].as_str().unwrap_or_default()
}

#[test]
fn an_address_is_fetched_under_its_own_name_and_once() {
    let site = site();
    let sandbox = library(site);
    let url = format!("http://{site}/tides");
    let done = sandbox
        .run(&["--json", "ingest", &format!("{url}#twice")])
        .ended(0)
        .json();
    assert_eq!(
        (&done["uri"], &done["status"]),
        (&json!(url), &json!("published")),
        "{done}"
    );
    let found = sandbox.run(&["--json", "search", "high water"]).ended(0).json();
    let passage = &found["passages"][0];
    assert_eq!(
        (&passage["source_url"], &passage["title"]),
        (&json!(url), &json!("Tides")),
        "{found}"
    );
    let again = sandbox.run(&["--json", "ingest", &url]).ended(0).json();
    assert_eq!(again["status"], "unchanged");
    let moved = format!("http://{site}/old");
    let moved = sandbox.run(&["--json", "ingest", &moved]).ended(0).json();
    assert_eq!(moved["status"], "published", "{moved}");
}

#[test]
fn what_cannot_be_fetched_fails_alone_and_leaves_nothing() {
    let site = site();
    let sandbox = library(site);
    sandbox.write("kept.md", "This one is fine.");
    let (gone, cut) = (format!("http://{site}/none"), format!("http://{site}/cut"));
    let ran = sandbox.run(&["--json", "ingest", &gone, &cut, "kept.md"]).ended(1);
    let lines = ran.lines();
    let of = |uri: &str| lines.iter().find(|line| line["uri"] == uri).unwrap();
    assert!(detail(of(&gone)).ends_with("answered 404"), "{}", of(&gone));
    assert_eq!(
        (&of(&cut)["error"]["code"], &of(&cut)["document_id"]),
        (&json!("not_fetched"), &Value::Null),
        "{}",
        of(&cut)
    );
    assert!(ran.err.contains("1 published"), "{}", ran.err);
    sandbox.run(&["fsck"]).ended(0);
}

#[test]
fn this_machine_is_not_fetched_from_unless_the_settings_say_so() {
    let site = site();
    let sandbox = Sandbox::lexical();
    let (port, own) = (format!("http://{site}/tides"), "http://127.0.0.1/tides");
    let ran = sandbox.run(&["--json", "ingest", &port, own]).ended(1);
    let lines = ran.lines();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(
            line["error"]["code"] == "not_fetched" && detail(&line).contains("[fetch]"),
            "{line}"
        );
    }
}
