//! Clients that are slow, silent or too many, over real sockets.

use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// How long a test waits for what has to happen.
const PATIENCE: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(200);

fn limits() -> ConnectionLimits {
    ConnectionLimits {
        connections: 100,
        address_connections: 0,
        trusted_proxies: Arc::default(),
        head: PATIENCE,
        write_stall: PATIENCE,
        head_bytes: 16 * 1024,
        headers: 20,
        requests: ConnectionReuse::Many,
    }
}

struct Served {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    ended: tokio::task::JoinHandle<()>,
}

async fn served(limits: ConnectionLimits, router: Router) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let ended = tokio::spawn(run_server(listener, router, limits, stopped));
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
        ..limits()
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
    let served = served(limits(), hello()).await;
    let large = format!("X-A: {}\r\n", "a".repeat(20_000));
    let many: String = (0..30).map(|n| format!("X-{n}: a\r\n")).collect();
    for more in [large, many] {
        let answer = ask(&mut connect(&served).await, &more).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(ask(&mut connect(&served).await, "X-A: a\r\n").await.ends_with("hello"));
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
        ..limits()
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

/// A route whose answers come when they are let, and a way to know that one is asked for.
struct Slow {
    go: watch::Sender<bool>,
    asked: Arc<tokio::sync::Notify>,
}

impl Slow {
    fn new() -> (Self, Router) {
        let (go, gone) = watch::channel(false);
        let asked = Arc::new(tokio::sync::Notify::new());
        let asks = asked.clone();
        let slow = get(async move || {
            asks.notify_one();
            let _ = gone.clone().wait_for(|go| *go).await;
            "done"
        });
        let router = Router::new().route("/slow", slow).route("/", get(async || "hello"));
        (Self { go, asked }, router)
    }

    /// A connection whose request is worked on.
    async fn busy(&self, served: &Served) -> TcpStream {
        let mut busy = connect(served).await;
        busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        tokio::time::timeout(PATIENCE, self.asked.notified()).await.unwrap();
        busy
    }
}

#[tokio::test]
async fn where_all_connections_are_at_work_one_more_waits_for_a_place() {
    let (slow, router) = Slow::new();
    let limits = ConnectionLimits {
        connections: 1,
        ..limits()
    };
    let served = served(limits, router).await;
    let mut first = slow.busy(&served).await;
    let mut second = connect(&served).await;
    let waiting = tokio::spawn(async move { ask(&mut second, "").await });
    slow.go.send_replace(true);
    assert!(rest(&mut first).await.ends_with("done"));
    let answer = tokio::time::timeout(PATIENCE, waiting).await.unwrap().unwrap();
    assert!(answer.ends_with("hello"));
}

#[tokio::test]
async fn beyond_its_share_an_address_is_refused_while_others_are_served() {
    let (slow, router) = Slow::new();
    let limits = ConnectionLimits {
        connections: 4,
        ..limits()
    };
    let served = served(limits, router).await;
    let _busy = [slow.busy(&served).await, slow.busy(&served).await];
    let refused = rest(&mut connect(&served).await).await;
    assert!(refused.starts_with("HTTP/1.1 429 "), "{refused}");
    assert!(refused.contains(r#""code":"too_many_connections""#), "{refused}");
    let mut other = connect_from([127, 0, 0, 2], &served).await;
    assert!(ask(&mut other, "").await.ends_with("hello"));
}

/// A connection from another address of this machine.
async fn connect_from(address: [u8; 4], served: &Served) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(served.address).await.unwrap()
}

#[tokio::test]
async fn half_requests_of_one_address_keep_nobody_waiting() {
    let limits = ConnectionLimits {
        connections: 100,
        ..limits()
    };
    let served = served(limits, hello()).await;
    let mut half = Vec::new();
    for _ in 0..150 {
        let mut one = connect_from([127, 0, 0, 2], &served).await;
        one.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ")
            .await
            .unwrap();
        half.push(one);
    }
    for from in [[127, 0, 0, 1], [127, 0, 0, 3], [127, 0, 0, 2]] {
        let mut other = connect_from(from, &served).await;
        assert!(ask(&mut other, "").await.ends_with("hello"), "{from:?}");
    }
    // Those that gave way were the oldest; a young one may still send the other half.
    rest(&mut half[0]).await;
    let last = half.last_mut().unwrap();
    last.write_all(b"a\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(rest(last).await.ends_with("hello"));
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
    let served = served(limits(), slow).await;
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
    tokio::time::timeout(PATIENCE, served.ended).await.unwrap().unwrap();
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
    let served = served(limits(), router).await;
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
    tokio::time::timeout(PATIENCE, served.ended).await.unwrap().unwrap();
}
