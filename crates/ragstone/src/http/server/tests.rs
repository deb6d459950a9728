//! Clients that are slow, silent or too many, over real sockets.

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);
const LIMITS: ConnectionLimits = ConnectionLimits {
    connections: 100,
    head: PATIENCE,
    write_stall: PATIENCE,
    head_bytes: 16 * 1024,
    headers: 20,
    requests: Requests::Many,
};

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: tokio::task::JoinHandle<()>,
}

async fn served(limits: ConnectionLimits, router: Router) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let ended = tokio::spawn(serve(listener, router, limits, stopped));
    Served { address, stop, ended }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

async fn connect(served: &Served) -> TcpStream {
    TcpStream::connect(served.address).await.unwrap()
}

/// What comes until the end of the connection; a reset is an end too.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    let _ = read.expect("the connection was closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn ask(stream: &mut TcpStream, more: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(stream).await
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let limits = ConnectionLimits {
        head: SHORT,
        ..LIMITS
    };
    let served = served(limits, hello()).await;
    let mut silent = connect(&served).await;
    let mut slow = connect(&served).await;
    slow.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        .await
        .unwrap();
    rest(&mut silent).await;
    assert!(!rest(&mut slow).await.contains(" 200 "));
    let mut quick = connect(&served).await;
    assert!(ask(&mut quick, "").await.ends_with("hello"));
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let served = served(LIMITS, hello()).await;
    let large = format!("X-A: {}\r\n", "a".repeat(20_000));
    let many: String = (0..30).map(|n| format!("X-{n}: a\r\n")).collect();
    for more in [large, many] {
        let answer = ask(&mut connect(&served).await, &more).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(
        ask(&mut connect(&served).await, "X-A: a\r\n")
            .await
            .ends_with("hello")
    );
}

#[tokio::test]
async fn an_answer_that_is_not_taken_ends_with_its_work() {
    let (alive, mut gone) = watch::channel(());
    let endless = Router::new().route(
        "/",
        get(async move || {
            let alive = alive.clone();
            Body::from_stream(futures::stream::repeat_with(move || {
                let _ = &alive;
                Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 64 * 1024]))
            }))
        }),
    );
    let limits = ConnectionLimits {
        write_stall: SHORT,
        ..LIMITS
    };
    let served = served(limits, endless).await;
    let mut lazy = connect(&served).await;
    lazy.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut first = [0; 12];
    lazy.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    // The route's own copy goes with the server; the stream's goes with the connection.
    served.stop.send_replace(true);
    let ended = tokio::time::timeout(PATIENCE, served.ended).await;
    ended.expect("the stalled connection was cut off").unwrap();
    assert!(gone.changed().await.is_err(), "the stream was dropped");
    drop(lazy);
}

#[tokio::test]
async fn one_connection_more_than_allowed_waits_for_a_place() {
    let limits = ConnectionLimits {
        connections: 1,
        ..LIMITS
    };
    let served = served(limits, hello()).await;
    let mut first = connect(&served).await;
    first
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = connect(&served).await;
    let waiting = tokio::spawn(async move { ask(&mut second, "").await });
    drop(first);
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(answer.ends_with("hello"));
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_waits_for_requests() {
    let (go, gone) = watch::channel(false);
    let working = Arc::new(tokio::sync::Notify::new());
    let works = working.clone();
    let slow = Router::new().route(
        "/",
        get(async move || {
            works.notify_one();
            let _ = gone.clone().wait_for(|go| *go).await;
            "done"
        }),
    );
    let served = served(LIMITS, slow).await;
    let (mut idle, mut busy) = (connect(&served).await, connect(&served).await);
    busy.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, working.notified()).await.unwrap();
    served.stop.send_replace(true);
    rest(&mut idle).await;
    assert!(!served.ended.is_finished());
    go.send_replace(true);
    assert!(rest(&mut busy).await.ends_with("done"));
    tokio::time::timeout(PATIENCE, served.ended)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn who_connects_after_the_stop_is_answered_once_while_others_are_worked_on() {
    let (go, gone) = watch::channel(false);
    let working = Arc::new(tokio::sync::Notify::new());
    let works = working.clone();
    let router = hello().route(
        "/slow",
        get(async move || {
            works.notify_one();
            let _ = gone.clone().wait_for(|go| *go).await;
            "done"
        }),
    );
    let served = served(LIMITS, router).await;
    let mut busy = connect(&served).await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, working.notified()).await.unwrap();
    served.stop.send_replace(true);
    let mut late = connect(&served).await;
    late.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let answer = rest(&mut late).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"),
        "{answer}"
    );
    let mut silent = connect(&served).await;
    go.send_replace(true);
    assert!(rest(&mut busy).await.ends_with("done"));
    rest(&mut silent).await;
    tokio::time::timeout(PATIENCE, served.ended)
        .await
        .unwrap()
        .unwrap();
}
