//! Serves the router over TCP, as HTTP/1.1, to clients that may be slow, silent or many.
//!
//! Invariant: a connection that sends no whole head, or takes no bytes of an answer, within its bound is closed; no more
//! than the allowed number are open, of all and of one address. Where all are at work, further ones wait in the system's
//! queue. HTTP/2 is not spoken: a proxy in front
//! speaks it to browsers, and one stream a connection is what is counted here.

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

/// Wait after an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Most bytes of a connection that were read and not looked at, or that wait for the client to take them; of what is read
/// more where a request's head may be larger.
const CONNECTION_BYTES: usize = 64 * 1024;

/// How long who connected after the stop may still take to send a request, once all others have ended.
const LATE_REQUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// What a connection may cost.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
    /// Those of one address; 0 is half of all.
    pub address_connections: usize,
    /// Proxies, which have no such bound: their clients share one address.
    pub trusted_proxies: Arc<TrustedProxies>,
    /// Longest time for a request's head, from the first byte that is waited for; so also the longest pause between two
    /// requests.
    pub head: Duration,
    /// Longest time in which a client takes not one byte of an answer that waits for it.
    pub write_stall: Duration,
    /// Largest head of a request, in bytes.
    pub head_bytes: usize,
    /// Most header fields of a request.
    pub headers: usize,
    /// How many requests it may bring.
    pub requests: ConnectionReuse,
}

/// Requests of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionReuse {
    /// One after the other.
    Many,
    /// One: the server is about to end.
    One,
}

/// Serves until `stop` is true, then until the requests that were open have ended; who connects meanwhile is answered
/// once, by a router that has been told as well. Dropped, it cuts them off.
pub async fn run_server(listener: TcpListener, router: Router, limits: ConnectionLimits, stop: watch::Receiver<bool>) {
    let places = Arc::new(ConnectionSlots::new(&limits));
    let mut connections = JoinSet::new();
    // Kept between rounds: dropped, it would cut off a connection that waits for its place.
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
            // One request, and no more after its answer.
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
    // Who has not sent a request by now is cut off.
    let _ = tokio::time::timeout(LATE_REQUEST_TIMEOUT, async {
        while late.join_next().await.is_some() {}
    })
    .await;
}

/// Ends when it is time to stop, or nobody is left to say so.
async fn wait_for_stop(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection, once there is a place for it.
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
            // The place that was free has found its work meanwhile.
            Err(SlotError::All) => places.wait_for_room().await,
        }
    }
}

/// Tells a client that its address has enough connections, if it can be told at once; nothing is waited for.
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

/// Whether an accept failed because that one client had left.
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
    // Tokens are small and must not wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        let (router, working) = (router.clone(), ActiveRequest::begin_request(&place));
        async move {
            // Its place went to another connection while the last byte was on its way.
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

/// A request of a connection, until its answer's body is sent or dropped.
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
