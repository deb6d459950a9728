//! Serves the router over TCP as HTTP/1.1, also to clients that are slow, silent or many.
//!
//! Invariant: a connection that does not send a complete request head, or takes no byte of a response, within its time
//! limit is closed; the number of open connections is limited in total and per address. If all are busy, further ones
//! wait in the system's accept queue. HTTP/2 is not supported: a proxy can offer it to browsers, and the limits here
//! count one stream per connection.

mod places;
mod stall;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::TrustedProxies;
use super::middleware::BUSY_RETRY_AFTER;
use super::problem::{ApiProblem, Code, PROBLEM_JSON};
use places::{ConnectionSlot, ConnectionSlots, SlotError};
use stall::StallTimeout;

/// Pause after an accept that failed for lack of a resource, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Buffer size of a connection, in bytes: read but not yet parsed, or written but not yet sent. Larger for reading if a
/// request head may be larger.
const CONNECTION_BYTES: usize = 64 * 1024;

/// Time that connections accepted during shutdown have to finish, once all others have ended.
const LATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// Limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Maximum number of open connections.
    pub connections: usize,
    /// Maximum number per client address; 0 means half of all.
    pub address_connections: usize,
    /// Proxies without a limit per address, because all of their clients share one.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Time limit for a complete request head, counted from when the server starts to wait for it; so also the longest
    /// pause between two requests.
    pub head: Duration,
    /// Longest time in which a client takes no byte of a response that is ready.
    pub write_stall: Duration,
    /// Largest request head, in bytes.
    pub head_bytes: usize,
    /// Maximum number of header fields of a request.
    pub headers: usize,
    /// How many requests a connection may carry.
    pub requests: ConnectionReuse,
}

/// Whether a connection is reused after its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionReuse {
    /// Keep-alive: one request after another.
    Many,
    /// A single request, because the server is shutting down.
    One,
}

/// Serves until `stop` is true, then until all open requests have ended. A connection accepted meanwhile gets one
/// response, from the router, which has to know of the shutdown itself. Dropping the future closes all connections.
pub async fn run_server(listener: TcpListener, router: Router, limits: ConnectionLimits, stop: watch::Receiver<bool>) {
    let places = Arc::new(ConnectionSlots::new(&limits));
    let mut connections = JoinSet::new();
    // Kept across iterations: dropping it would close a connection that was accepted and waits for its slot.
    let mut accepting = Box::pin(accept_connection(&listener, &places));
    loop {
        let accepted = tokio::select! {
            accepted = &mut accepting => accepted,
            Some(_) = connections.join_next() => continue,
            () = wait_for_stop(stop.clone()) => break,
        };
        accepting.set(accept_connection(&listener, &places));
        let Some((stream, peer, place)) = accepted else {
            continue;
        };
        let (router, limits, until) = (router.clone(), limits.clone(), wait_for_stop(stop.clone()));
        connections.spawn(async move {
            let taken_away = place.clone();
            tokio::select! {
                () = serve_connection(stream, peer, place, router, limits, until) => {}
                () = taken_away.wait_until_revoked() => tracing::debug!(%peer, "an idle connection gave way"),
            }
        });
    }
    let mut late = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            ended = connections.join_next() => match ended {
                Some(_) => continue,
                None => break,
            },
            Some(_) = late.join_next() => continue,
            accepted = &mut accepting => accepted,
        };
        accepting.set(accept_connection(&listener, &places));
        if let Some((stream, peer, place)) = accepted {
            // One request only: the connection closes after its response.
            let limits = ConnectionLimits {
                requests: ConnectionReuse::One,
                ..limits.clone()
            };
            let until = std::future::pending();
            late.spawn(serve_connection(stream, peer, place, router.clone(), limits, until));
        }
    }
    drop(accepting);
    drop(listener);
    // Connections that have not sent a request by then are closed.
    let _ = tokio::time::timeout(LATE_REQUEST_TIMEOUT, async {
        while late.join_next().await.is_some() {}
    })
    .await;
}

/// Returns when `stop` is true or its sender was dropped.
async fn wait_for_stop(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Accepts the next connection once there is a slot for it; `None` if the accept failed or the address is over its
/// share.
async fn accept_connection(
    listener: &TcpListener,
    places: &Arc<ConnectionSlots>,
) -> Option<(TcpStream, SocketAddr, Arc<ConnectionSlot>)> {
    places.wait_for_room().await;
    let (stream, peer) = match listener.accept().await {
        Ok(accepted) => accepted,
        Err(error) if is_client_gone(&error) => return None,
        Err(error) => {
            tracing::error!(%error, "no connection could be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            return None;
        }
    };
    loop {
        match places.acquire_slot(peer.ip()) {
            Ok(place) => return Some((stream, peer, place)),
            Err(SlotError::Share) => {
                refuse_connection(&stream, peer, places.address_share());
                return None;
            }
            // The idle connection whose slot was to be taken has received a request meanwhile.
            Err(SlotError::All) => places.wait_for_room().await,
        }
    }
}

/// Sends a 429 to a client whose address is over its share, if the socket takes it at once; does not wait.
fn refuse_connection(stream: &TcpStream, peer: SocketAddr, share: usize) {
    let detail = format!("{share} connections of this address are open already");
    tracing::debug!(%peer, share, "a connection beyond the share of its address was refused");
    let problem = ApiProblem::new(Code::TooManyConnections, detail).to_body();
    let body = serde_json::to_string(&problem).unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nretry-after: {}\r\nconnection: close\r\n\r\n{body}",
        Code::TooManyConnections.status().as_u16(),
        Code::TooManyConnections.status().canonical_reason().unwrap_or_default(),
        body.len(),
        BUSY_RETRY_AFTER.as_secs(),
    );
    let _ = stream.try_write(answer.as_bytes());
}

/// Whether an accept failed only because the client had disconnected.
fn is_client_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    place: Arc<ConnectionSlot>,
    router: Router,
    limits: ConnectionLimits,
    until: impl Future<Output = ()>,
) {
    // Tokens are small and must not wait for each other (Nagle); if this fails, streams are only slower.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, working) = (router.clone(), ActiveRequest::begin_request(&place));
        async move {
            // The slot was given to another connection while the head of this request arrived.
            let working = working.ok_or("the connection gave way")?;
            let answer = router.oneshot(request.map(Body::new)).await;
            let answer = answer.unwrap_or_else(|never| match never {});
            Ok::<_, &str>(answer.map(|body| {
                let held = move |error| {
                    let _ = &working;
                    error
                };
                Body::new(body.map_err(held))
            }))
        }
    });
    let io = TokioIo::new(StallTimeout::new(stream, limits.write_stall));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(limits.requests == ConnectionReuse::Many)
            .header_read_timeout(limits.head)
            .max_buf_size(CONNECTION_BYTES.max(limits.head_bytes))
            .max_header_size(limits.head_bytes)
            .max_headers(limits.headers)
            .serve_connection(io, service)
    );
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = until => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// A request in progress on a connection; ends when its response body is sent or dropped.
struct ActiveRequest(Arc<ConnectionSlot>);

impl ActiveRequest {
    fn begin_request(place: &Arc<ConnectionSlot>) -> Option<Self> {
        place.begin_request().then(|| Self(place.clone()))
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

#[cfg(test)]
mod tests;
