//! Who may call while no keys exist: only this machine, by a loopback name, and not from a page of another site.
//!
//! Invariant: a page of another site reaches nothing, neither by DNS rebinding (its Host is not a loopback name) nor by
//! a plain cross-site request (its Origin or `Sec-Fetch-Site` is foreign).

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, Method};

use crate::http::problem::{ApiProblem, Code};

/// Refuses a request that does not come from this machine, or that a foreign page caused.
pub(super) fn check_local(request: &Parts, allowed_origins: &[String]) -> Result<(), ApiProblem> {
    check_peer(request)?;
    let host = check_host(request)?;
    check_origin(request, &host, allowed_origins)
}

fn check_peer(request: &Parts) -> Result<(), ApiProblem> {
    let peer = request.extensions.get::<ConnectInfo<SocketAddr>>();
    match peer.map(|ConnectInfo(peer)| peer.ip().to_canonical()) {
        Some(ip) if ip.is_loopback() => Ok(()),
        Some(ip) => Err(ApiProblem::new(Code::NotLocal, format!("{ip} is not this machine"))),
        None => Err(ApiProblem::new(Code::NotLocal, "the caller's address is not known")),
    }
}

fn check_host(request: &Parts) -> Result<Authority, ApiProblem> {
    let foreign = |named: &str| ApiProblem::new(Code::ForeignHost, format!("Host is {named:?}"));
    let named = header_text(&request.headers, HOST.as_str());
    let target = request.uri.authority().map(Authority::as_str);
    let named = named.or(target).ok_or_else(|| foreign(""))?;
    let host: Authority = named.parse().map_err(|_| foreign(named))?;
    let local = is_loopback_name(host.host()) && request.uri.host().is_none_or(is_loopback_name);
    match local {
        true => Ok(host),
        false => Err(foreign(named)),
    }
}

fn check_origin(request: &Parts, host: &Authority, allowed: &[String]) -> Result<(), ApiProblem> {
    let headers = &request.headers;
    let foreign = |origin: &str| ApiProblem::new(Code::ForeignOrigin, format!("the request comes from {origin}"));
    match headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or("null")) {
        Some(origin) if is_same_origin(origin, host) || allowed.iter().any(|allowed| allowed == origin) => Ok(()),
        Some(origin) => Err(foreign(origin)),
        None => match header_text(headers, "sec-fetch-site") {
            Some("cross-site") if !is_page_navigation(request) => Err(foreign("another site")),
            _ => Ok(()),
        },
    }
}

fn is_same_origin(origin: &str, host: &Authority) -> bool {
    let authority = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host.as_str()))
}

/// Whether a browser navigates to a page: a link on another site may open the docs page, but call no API.
fn is_page_navigation(request: &Parts) -> bool {
    let headers = &request.headers;
    request.method == Method::GET
        && !request.uri.path().starts_with("/api/")
        && header_text(headers, "sec-fetch-mode") == Some("navigate")
        && header_text(headers, "sec-fetch-dest") == Some("document")
}

fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn is_loopback_name(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address: Option<IpAddr> = bare.unwrap_or(host).parse().ok();
    address.is_some_and(|ip| ip.to_canonical().is_loopback()) || host.eq_ignore_ascii_case("localhost")
}
