//! Several processes over shared stores: what one takes in the others find, and what ends is missed by nobody.

use serde_json::{Value, json};

use crate::shared_set::{S3, Set, call, raw, start, until};
use crate::support::{Sandbox, Server};

/// Paragraphs of a document that takes a worker a while.
const LONG: usize = 400;

fn send(server: &Server, uri: &str, text: &str) -> Value {
    let body = json!({"uri": uri, "title": uri, "text": text});
    let (status, answer) = call(server, "POST", "/api/v1/documents", Some(&body));
    assert_eq!(status, 202, "{answer}");
    answer
}

fn job(sent: &Value) -> &str {
    sent["job"]["id"].as_str().unwrap()
}

fn state_of(server: &Server, job: &str) -> Value {
    call(server, "GET", &format!("/api/v1/jobs/{job}"), None).1["state"].clone()
}

#[track_caller]
fn until_succeeded(server: &Server, job: &str) {
    until("the job succeeds", || {
        let state = state_of(server, job);
        assert_ne!(state, "failed", "{job}");
        state == "succeeded"
    });
}

fn found(server: &Server, query: &str) -> Vec<String> {
    let (status, answer) = call(server, "POST", "/api/v1/search", Some(&json!({"query": query})));
    assert_eq!(status, 200, "{answer}");
    let passages = answer["passages"].as_array().unwrap().iter();
    passages
        .map(|passage| passage["uri"].as_str().unwrap().to_owned())
        .collect()
}

fn readiness(server: &Server) -> (u16, Value) {
    call(server, "GET", "/readyz", None)
}

fn long_text() -> String {
    let paragraph = |n| {
        format!(
            "Paragraph {n} is about lamp number {n}. {}",
            "It shines at night. ".repeat(30)
        )
    };
    (0..LONG).map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn is_clean(sandbox: &Sandbox) {
    let report = sandbox.run(&["--json", "fsck"]).ended(0).json();
    assert_eq!(
        report["orphans"],
        json!({"index": 0, "blobs": 0, "catalogue": 0}),
        "{report}"
    );
}

#[test]
fn what_one_process_takes_in_every_other_finds() {
    let Some(set) = Set::start() else { return };
    let homes: Vec<Sandbox> = (0..4).map(|_| set.sandbox()).collect();
    let (one, other) = (start(&homes[0], "api"), start(&homes[1], "api"));
    let sent = send(&one, "test:lamp", "The lamp on the pier burns oil.");
    // Who serves works nothing off, and says how it goes whoever asks.
    assert_eq!(state_of(&other, job(&sent)), "queued");
    let workers = [start(&homes[2], "worker"), start(&homes[3], "worker")];
    let (status, events) = raw(&other, "GET", &format!("/api/v1/jobs/{}/events", job(&sent)), None);
    assert!(status == 200 && events.contains("event: done"), "{events}");
    for api in [&one, &other] {
        assert_eq!(found(api, "lamp pier"), ["test:lamp"]);
        let (status, ready) = readiness(api);
        let states = ["catalogue", "index", "blobs", "doorbell"].map(|part| &ready["dependencies"][part]);
        assert_eq!(
            (status, states),
            (200, ["ok"; 4].map(Value::from).each_ref()),
            "{ready}"
        );
    }
    for worker in &workers {
        let status = |path| raw(worker, "GET", path, None).0;
        assert_eq!(["/healthz", "/readyz", "/metrics"].map(status), [200; 3]);
        assert_eq!(["/api/v1/documents", "/docs", "/openapi.json"].map(status), [404; 3]);
    }
    let document = format!("/api/v1/documents/{}", sent["document"]["id"].as_str().unwrap());
    let (status, patched) = call(&other, "PATCH", &document, Some(&json!({"title": "Pier"})));
    assert_eq!((status, &patched["title"]), (200, &json!("Pier")));
    assert_eq!(call(&one, "GET", &document, None).1["title"], "Pier");
    let (status, deleted) = call(&other, "DELETE", &document, None);
    assert_eq!(status, 202, "{deleted}");
    assert_eq!(call(&one, "GET", &document, None).0, 404);
    assert_eq!(found(&one, "lamp pier"), [""; 0]);
    until_succeeded(&one, deleted["job"]["id"].as_str().unwrap());
    is_clean(&homes[0]);
}

#[test]
fn commands_work_on_the_shared_stores_themselves() {
    let Some(set) = Set::start() else { return };
    let (at_work, here) = (set.sandbox(), set.sandbox());
    let worker = start(&at_work, "worker");
    here.write(
        "lamp.md",
        "# Lamps\n\nThe lamp on the pier burns oil, and the one on the tower burns gas.",
    );
    let ingested = here.run(&["--json", "ingest", "lamp.md"]).ended(0).json();
    assert_eq!(ingested["status"], "published", "{ingested}");
    let jobs = here.run(&["--json", "job", "list"]).ended(0).lines();
    assert!(
        !jobs.is_empty() && jobs.iter().all(|job| job["state"] == "succeeded"),
        "{jobs:?}"
    );
    assert_eq!(here.run(&["--json", "document", "list"]).ended(0).lines().len(), 1);
    let passages = here.run(&["--json", "search", "lamp tower"]).ended(0).json();
    assert_eq!(passages["passages"].as_array().unwrap().len(), 1);
    let answer = here
        .run(&["--json", "ask", "What does the lamp on the pier burn?"])
        .ended(0)
        .json();
    assert!(answer["answer"].as_str().unwrap().contains("oil"), "{answer}");
    // Nothing of it lies on this machine.
    assert!(!here.path().join(".ragstone").exists());
    is_clean(&here);
    drop(worker);
}

#[test]
fn a_worker_that_is_killed_at_work_loses_nothing() {
    let Some(set) = Set::start() else { return };
    let homes: Vec<Sandbox> = (0..3)
        .map(|_| set.sandbox().with("RAGSTONE_JOBS__BATCH_CHUNKS", "1"))
        .collect();
    let api = start(&homes[0], "api");
    let sent = send(&api, "test:long", &long_text());
    let at_work = || {
        let job = call(&api, "GET", &format!("/api/v1/jobs/{}", job(&sent)), None).1;
        assert_ne!(job["state"], "succeeded", "too short a job");
        job["state"] == "running" && job["done"].as_u64() > Some(0)
    };
    // The process that comes after it takes its jobs back at once; another one when their leases run out.
    for home in [1, 1] {
        let worker = start(&homes[home], "worker");
        until("the job is at work", at_work);
        drop(worker);
    }
    let last = start(&homes[2], "worker");
    until_succeeded(&api, job(&sent));
    let (_, document) = call(&api, "GET", "/api/v1/documents?limit=2", None);
    let documents = document["documents"].as_array().unwrap();
    assert_eq!((documents.len(), &documents[0]["status"]), (1, &json!("published")));
    let (_, chunks) = call(
        &api,
        "GET",
        &format!(
            "/api/v1/documents/{}/chunks?limit=1000",
            documents[0]["id"].as_str().unwrap()
        ),
        None,
    );
    assert_eq!(
        chunks["chunks"].as_array().unwrap().len() as u64,
        documents[0]["chunks"].as_u64().unwrap()
    );
    // What earlier attempts left goes after the document is published: a worker that dies first leaves it to the sweep.
    let document = documents[0]["id"].as_str().unwrap();
    until("earlier attempts are purged", || set.generations_of(document) == 1);
    drop(last);
    is_clean(&homes[0]);
}

#[test]
fn redis_may_be_wiped_and_go_away() {
    let Some(mut set) = Set::start() else { return };
    let homes = [set.sandbox(), set.sandbox()];
    let (api, _worker) = (start(&homes[0], "api"), start(&homes[1], "worker"));
    let first = send(&api, "test:1", "The first lamp.");
    set.wipe_redis();
    until_succeeded(&api, job(&first));
    set.stop_redis();
    let doorbell = |server: &Server| {
        readiness(server).1["dependencies"]["doorbell"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    until("it is noticed", || doorbell(&api).starts_with("down: redis"));
    // Without it everything takes a little longer, and nothing more.
    assert_eq!(readiness(&api).0, 200);
    let second = send(&api, "test:2", "The second lamp.");
    until_succeeded(&api, job(&second));
    set.start_redis();
    until("it is noticed", || doorbell(&api) == "ok");
    let third = send(&api, "test:3", "The third lamp.");
    until_succeeded(&api, job(&third));
    assert_eq!(found(&api, "lamp").len(), 3);
}

#[test]
fn a_database_that_goes_away_is_told_and_waited_for() {
    let Some(mut set) = Set::start() else { return };
    let homes = [set.sandbox(), set.sandbox()];
    let (api, _worker) = (start(&homes[0], "api"), start(&homes[1], "worker"));
    let first = send(&api, "test:1", "The first lamp.");
    until_succeeded(&api, job(&first));
    set.stop_database();
    until("it is noticed", || readiness(&api).0 == 503);
    let (_, told) = readiness(&api);
    assert!(
        told["dependencies"]["catalogue"]
            .as_str()
            .unwrap()
            .starts_with("down: "),
        "{told}"
    );
    assert_eq!(told["dependencies"]["index"], "ok");
    let doctor = homes[0].run(&["doctor"]).ended(1);
    assert!(doctor.out.contains("broken  catalogue"), "{}", doctor.out);
    set.start_database();
    until("it is noticed", || readiness(&api).0 == 200);
    let doctor = homes[0].run(&["doctor"]).ended(0);
    for part in [
        "catalogue       PostgreSQL",
        "index           Qdrant",
        "doorbell        Redis wakes",
    ] {
        assert!(doctor.out.contains(part), "{part}: {}", doctor.out);
    }
    let second = send(&api, "test:2", "The second lamp.");
    until_succeeded(&api, job(&second));
}

#[test]
fn a_rolling_restart_loses_nothing() {
    let Some(set) = Set::start() else { return };
    let homes: Vec<Sandbox> = (0..4).map(|_| set.sandbox()).collect();
    let role = |home: usize| if home < 2 { "api" } else { "worker" };
    let mut running: Vec<Option<Server>> = (0..4).map(|home| Some(start(&homes[home], role(home)))).collect();
    let mut jobs = Vec::new();
    for home in 0..4 {
        let ended = running[home].take().unwrap();
        let api = running[..2].iter().flatten().next().unwrap();
        for n in 0..4 {
            let sent = send(
                api,
                &format!("test:{home}/{n}"),
                &format!("Lamp {n} of round {home} shines."),
            );
            jobs.push(job(&sent).to_owned());
        }
        assert_eq!(ended.stop(), Some(0));
        running[home] = Some(start(&homes[home], role(home)));
    }
    let api = running[1].as_ref().unwrap();
    jobs.iter().for_each(|job| until_succeeded(api, job));
    let (_, listed) = call(api, "GET", "/api/v1/documents?limit=100", None);
    let documents = listed["documents"].as_array().unwrap();
    assert_eq!(documents.len(), jobs.len());
    assert!(
        documents.iter().all(|document| document["status"] == "published"),
        "{listed}"
    );
    is_clean(&homes[0]);
}

/// All documents, without what making the points again changes.
fn listing(sandbox: &Sandbox) -> Vec<Value> {
    let mut listed = sandbox.run(&["--json", "document", "list"]).ended(0).lines();
    for document in &mut listed {
        document.as_object_mut().unwrap().remove("updated_at");
    }
    listed.sort_unstable_by_key(|document| document["id"].as_str().unwrap().to_owned());
    listed
}

#[test]
fn a_lost_database_of_shared_stores_is_made_again() {
    let Some(set) = Set::start() else { return };
    let home = set.sandbox();
    let worker = start(&home, "all");
    for n in 0..5 {
        let sent = send(&worker, &format!("{n}"), &format!("Lamp number {n} burns oil."));
        until_succeeded(&worker, job(&sent));
    }
    let before = listing(&home);
    drop(worker);
    // One that holds documents is not filled.
    let refused = home.run(&["--json", "recover"]).ended(0).json();
    assert_eq!(refused["recovered"], Value::Null, "it fits");
    let home = set.sandbox().with("DATABASE_URL", &set.another_database());
    let told = home.run(&["--json", "recover"]).ended(0).json();
    assert_eq!(told["recovered"]["documents"], 5, "{told}");
    assert_eq!(told["index"]["documents"], 5, "{told}");
    let worker = start(&home, "all");
    until("the points are made again", || found(&worker, "lamp oil").len() == 5);
    drop(worker);
    assert_eq!(listing(&home), before);
}

#[test]
fn stores_of_another_library_are_not_touched() {
    let Some(set) = Set::start() else { return };
    let home = set.sandbox();
    home.write("lamp.md", "The lamp on the pier burns oil.");
    let at_work = set.sandbox();
    let worker = start(&at_work, "worker");
    home.run(&["ingest", "lamp.md"]).ended(0);
    drop(worker);
    let another = set.sandbox().with("DATABASE_URL", &set.another_database());
    let refused = another.run(&["document", "list"]).ended(1);
    assert!(refused.err.contains("the blobs hold originals"), "{}", refused.err);
    let blobs = tempfile::tempdir().unwrap();
    let another = another.with("RAGSTONE_BLOBS_URL", blobs.path().to_str().unwrap());
    let refused = another.run(&["fsck", "--repair"]).ended(1);
    assert!(refused.err.contains("another library's"), "{}", refused.err);
    is_clean(&home);
}

#[test]
fn blobs_may_be_in_a_bucket() {
    let Some(set) = Set::start() else { return };
    let Some(s3) = S3::start(&set) else { return };
    let (at_work, home) = (s3.sandbox(&set), s3.sandbox(&set));
    let _worker = start(&at_work, "worker");
    // More than a part of an upload.
    home.write("long.txt", long_text().repeat(24));
    let ingested = home.run(&["--json", "ingest", "long.txt"]).ended(0).json();
    assert_eq!(ingested["status"], "published", "{ingested}");
    let passages = home.run(&["--json", "search", "lamp number 7"]).ended(0).json();
    assert!(!passages["passages"].as_array().unwrap().is_empty());
    let doctor = home.run(&["doctor"]).ended(0);
    assert!(
        doctor.out.contains("the bucket bucket at http://127.0.0.1"),
        "{}",
        doctor.out
    );
    assert!(!doctor.out.contains("hidden"));
    home.run(&["document", "delete", ingested["document_id"].as_str().unwrap()])
        .ended(0);
    is_clean(&home);
}

#[test]
fn a_data_directory_has_one_worker() {
    let home = Sandbox::lexical();
    let _server = Server::start(&home);
    let refused = home.run(&["worker", "--listen", "127.0.0.1:0"]).ended(2);
    assert!(
        refused.err.contains("is in use by process") && refused.err.contains("DATABASE_URL"),
        "{}",
        refused.err
    );
    let wrong = home.run(&["serve", "--role", "both"]).ended(2);
    assert!(wrong.err.contains("server.role"), "{}", wrong.err);
}
