//! Serves the router over TCP, as HTTP/1.1, to clients that may be slow, silent or many.
//!
//! Invariant: a connection that sends no whole head, or takes no bytes of an answer, within its bound is closed; no more
//! than the allowed number are open, and further ones wait in the system's queue. HTTP/2 is not spoken: a proxy in front
//! speaks it to browsers, and one stream a connection is what is counted here.

mod stall;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

use stall::Stalling;

/// Wait after an accept that failed for want of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long who connected after the stop may still take to send a request, once all others have ended.
const LATE_PATIENCE: Duration = Duration::from_secs(1);

/// What a connection may cost.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once.
    pub connections: usize,
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
    pub requests: Requests,
}

/// Requests of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requests {
    /// One after the other.
    Many,
    /// One: the server is about to end.
    One,
}

/// Serves until `stop` is true, then until the requests that were open have ended; who connects meanwhile is answered
/// once, by a router that has been told as well. Dropped, it cuts them off.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: ConnectionLimits,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
            () = told(stop.clone()) => break,
        };
        let Some((stream, peer, place)) = accepted else {
            continue;
        };
        let served = serve_connection(stream, peer, router.clone(), limits, told(stop.clone()));
        connections.spawn(async move {
            served.await;
            drop(place);
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
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((stream, peer, place)) = accepted {
            // One request, and no more after its answer.
            let limits = ConnectionLimits {
                requests: Requests::One,
                ..limits
            };
            let served = serve_connection(stream, peer, router.clone(), limits, std::future::pending());
            late.spawn(async move {
                served.await;
                drop(place);
            });
        }
    }
    drop(listener);
    // Who has not sent a request by now is cut off.
    let _ = tokio::time::timeout(LATE_PATIENCE, async { while late.join_next().await.is_some() {} }).await;
}

/// Ends when it is time to stop, or nobody is left to say so.
async fn told(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, place)),
        Err(error) if is_of_connection(&error) => None,
        Err(error) => {
            tracing::error!(%error, "no connection could be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// Whether an accept failed because that one client had left.
fn is_of_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

async fn serve_connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    limits: ConnectionLimits,
    until: impl Future<Output = ()>,
) {
    // Tokens are small and must not wait for each other; without it they are only slower.
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let io = TokioIo::new(Stalling::new(stream, limits.write_stall));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(limits.requests == Requests::Many)
            .header_read_timeout(limits.head)
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

#[cfg(test)]
mod tests;
