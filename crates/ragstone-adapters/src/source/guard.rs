//! HTTP client for addresses from untrusted input; it does not connect to the server's own network (SSRF protection).
//!
//! A host name is judged by the addresses it resolves to at the moment of connecting, inside the resolver of the client
//! itself, so DNS that changes between a check and the connection gains nothing. Redirects are followed one by one,
//! each judged again. Hosts in the own network that are meant to be reached are allowed by name or by range.
//!
//! Invariant: no connection is opened to an address that is neither public nor allowed; no proxy is used.

mod address;
mod answer;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout};

pub use address::{IpRange, is_private_service, is_public};
pub use answer::GuardedResponse;

/// Longest URL that is fetched, in bytes.
const MAX_URL_BYTES: usize = 2_048;

/// What may be fetched, and the limits on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardOptions {
    /// Hosts that may be in the own network: a name, or `*.` and a domain.
    pub allowed_hosts: Vec<String>,
    /// Address ranges that may be reached although they are not public.
    pub allowed_ranges: Vec<IpRange>,
    /// Ports that may be connected to.
    pub ports: Vec<u16>,
    /// Most redirects that are followed.
    pub max_redirects: usize,
    /// Most bytes of an answer.
    pub max_bytes: usize,
    /// Longest time to connect, TLS included.
    pub connect: Duration,
    /// Longest time from the first request to the last byte, redirects included, caller's time excluded.
    pub total: Duration,
}

impl Default for GuardOptions {
    fn default() -> Self {
        Self {
            allowed_hosts: Vec::new(),
            allowed_ranges: Vec::new(),
            ports: vec![80, 443],
            max_redirects: 5,
            max_bytes: 256 << 20,
            connect: Duration::from_secs(5),
            total: Duration::from_secs(120),
        }
    }
}

/// Why nothing was fetched, named by what the caller can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The address will never be fetched with these settings.
    #[error("{host} is not fetched: {reason}")]
    Refused {
        /// The host, or a placeholder if the address has none.
        host: String,
        /// Reason for the refusal, for users.
        reason: String,
    },
    /// The answer is larger than allowed.
    #[error("{host} sent more than {limit} bytes")]
    TooLarge {
        /// The host that answered.
        host: String,
        /// Largest allowed size in bytes.
        limit: usize,
    },
    /// The server answered with an error status.
    #[error("{host} answered {status}")]
    Status {
        /// The host that answered.
        host: String,
        /// HTTP status of the answer.
        status: u16,
    },
    /// The fetch failed, and may work later.
    #[error("{host} could not be reached: {detail}")]
    Broken {
        /// The host that was asked.
        host: String,
        /// Description of the failure, without the address.
        detail: String,
    },
}

/// An answer that was read completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchedResource {
    /// Final address, after redirects.
    pub url: Url,
    /// Media type that the server declared.
    pub media_type: Option<String>,
    /// Body of the answer.
    pub bytes: Bytes,
}

/// Resolves host names; a trait, so that a test can change the answer.
#[async_trait]
pub trait HostLookup: Send + Sync {
    /// Resolves a host name to its addresses.
    async fn lookup_host(&self, host: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// Resolver of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl HostLookup for SystemLookup {
    async fn lookup_host(&self, host: &str) -> std::io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((host, 0)).await?;
        Ok(found.map(|address| address.ip()).collect())
    }
}

/// HTTP client that connects only to public or allowed addresses.
pub struct FetchGuard {
    client: Client,
    options: Arc<GuardOptions>,
}

/// The error when none of a name's addresses may be reached; holds the first of them.
#[derive(Debug, thiserror::Error)]
#[error("it resolves to {0}, which is not public")]
struct NotPublicError(IpAddr);

/// Resolver of the HTTP client: returns only addresses that were judged.
struct GuardedResolver {
    lookup: Arc<dyn HostLookup>,
    options: Arc<GuardOptions>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, options) = (self.lookup.clone(), self.options.clone());
        Box::pin(async move {
            let found = lookup.lookup_host(name.as_str()).await?;
            let refused = found
                .iter()
                .copied()
                .find(|ip| !options.admits_address(name.as_str(), *ip));
            let admitted: Vec<SocketAddr> = found
                .into_iter()
                .filter(|ip| options.admits_address(name.as_str(), *ip))
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            match (admitted.is_empty(), refused) {
                (true, Some(ip)) => Err(NotPublicError(ip).into()),
                _ => Ok(Box::new(admitted.into_iter()) as Addrs),
            }
        })
    }
}

impl GuardOptions {
    /// Whether a host may be reached at an address. An allowed range admits any host there. An allowed host is admitted
    /// anywhere except at the machine's own and link-local addresses, where clouds serve credentials.
    fn admits_address(&self, host: &str, ip: IpAddr) -> bool {
        is_public(ip)
            || self.allowed_ranges.iter().any(|range| range.contains(ip))
            || self.allows_host(host) && !is_private_service(ip)
    }

    fn allows_host(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        self.allowed_hosts.iter().any(|allowed| {
            let allowed = allowed.to_ascii_lowercase();
            match allowed.strip_prefix("*.") {
                Some(domain) => host
                    .strip_suffix(domain)
                    .is_some_and(|before| before.len() > 1 && before.ends_with('.')),
                None => host == allowed,
            }
        })
    }

    /// Checks an address as far as that is possible without resolving its host name.
    fn check_url(&self, url: &str) -> Result<Url, GuardError> {
        let refused = |host: &str, reason: &str| GuardError::Refused {
            host: host.to_owned(),
            reason: reason.to_owned(),
        };
        if url.len() > MAX_URL_BYTES {
            return Err(refused("the address", "it is too long"));
        }
        let url = Url::parse(url).map_err(|error| refused("the address", &error.to_string()))?;
        let host = url.host_str().unwrap_or("the address").to_owned();
        if !matches!(url.scheme(), "http" | "https") {
            return Err(refused(&host, "only http and https are"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused(&host, "its address carries a name or password"));
        }
        if !url
            .port_or_known_default()
            .is_some_and(|port| self.ports.contains(&port))
        {
            return Err(refused(&host, "its port is not among those allowed"));
        }
        // The URL parser has already converted every spelling of an IP address to its usual form.
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        match literal {
            Ok(ip) if !self.admits_address(&host, ip) => Err(refused(&host, "its address is not public")),
            _ => Ok(url),
        }
    }
}

impl FetchGuard {
    /// Creates a guard that uses the system's resolver.
    pub fn new(options: GuardOptions) -> Result<Self, GuardError> {
        Self::with_lookup(options, Arc::new(SystemLookup))
    }

    /// Creates a guard that resolves names with `lookup`.
    pub fn with_lookup(options: GuardOptions, lookup: Arc<dyn HostLookup>) -> Result<Self, GuardError> {
        // Fails only if the process has already installed a provider, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = Arc::new(options);
        let resolver = GuardedResolver {
            lookup,
            options: options.clone(),
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            .user_agent(concat!("ragstone/", env!("CARGO_PKG_VERSION")))
            .pool_max_idle_per_host(0)
            .connect_timeout(options.connect)
            .dns_resolver(Arc::new(resolver))
            .build()
            .map_err(|error| connection_error("the client", &error))?;
        Ok(Self { client, options })
    }

    /// Fetches an address, with its whole body.
    pub async fn fetch_url(&self, url: &str) -> Result<FetchedResource, GuardError> {
        let answer = self.open_url(url, HeaderMap::new()).await?.ensure_success()?;
        let (url, media_type) = (answer.url.clone(), answer.media_type());
        let bytes = answer.read_bytes(usize::MAX).await?;
        Ok(FetchedResource { url, media_type, bytes })
    }

    /// Follows redirects and returns the last answer, whatever its status, with its body still to be read. `headers`
    /// are sent with each request.
    pub async fn open_url(&self, url: &str, headers: HeaderMap) -> Result<GuardedResponse, GuardError> {
        self.open_url_within(url, headers, &|_| true).await
    }

    /// Like [`Self::open_url`], but a redirect that `may_follow` rejects is returned as the answer.
    pub async fn open_url_within(
        &self,
        url: &str,
        headers: HeaderMap,
        may_follow: &(dyn Fn(&Url) -> bool + Sync),
    ) -> Result<GuardedResponse, GuardError> {
        let begun = Instant::now();
        match timeout(self.options.total, self.follow_redirects(url, &headers, may_follow)).await {
            Ok(found) => found.map(|(url, response)| GuardedResponse {
                url,
                status: response.status().as_u16(),
                headers: response.headers().clone(),
                response,
                limit: self.options.max_bytes,
                left: self.options.total.saturating_sub(begun.elapsed()),
            }),
            Err(_) => Err(too_slow("the address")),
        }
    }

    async fn follow_redirects(
        &self,
        url: &str,
        headers: &HeaderMap,
        may_follow: &(dyn Fn(&Url) -> bool + Sync),
    ) -> Result<(Url, Response), GuardError> {
        let mut url = self.options.check_url(url)?;
        for _ in 0..=self.options.max_redirects {
            let response = self.send_request(&url, headers).await?;
            match redirect_target(&url, &response)? {
                Some(next) if may_follow(&next) => url = self.options.check_url(next.as_str())?,
                _ => return Ok((url, response)),
            }
        }
        Err(GuardError::Refused {
            host: host_name(&url),
            reason: format!("more than {} redirects", self.options.max_redirects),
        })
    }

    async fn send_request(&self, url: &Url, headers: &HeaderMap) -> Result<Response, GuardError> {
        let request = self.client.get(url.clone()).headers(headers.clone());
        let request = request.header(ACCEPT_ENCODING, "identity");
        request.send().await.map_err(|error| match not_public(&error) {
            Some(reason) => GuardError::Refused {
                host: host_name(url),
                reason,
            },
            None => connection_error(&host_name(url), &error.without_url()),
        })
    }
}

fn too_slow(host: &str) -> GuardError {
    GuardError::Broken {
        host: host.to_owned(),
        detail: "it took longer than allowed".to_owned(),
    }
}

/// Target of a redirect; `None` if the answer is not one.
fn redirect_target(url: &Url, response: &Response) -> Result<Option<Url>, GuardError> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let refused = |reason: &str| GuardError::Refused {
        host: host_name(url),
        reason: reason.to_owned(),
    };
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| refused("it redirects to nowhere"))?;
    let next = url
        .join(location)
        .map_err(|_| refused("it redirects to what is no address"))?;
    if url.scheme() == "https" && next.scheme() == "http" {
        return Err(refused("it redirects from https to http"));
    }
    Ok(Some(next))
}

fn host_name(url: &Url) -> String {
    url.host_str().unwrap_or("the address").to_owned()
}

fn not_public(error: &reqwest::Error) -> Option<String> {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(refused) = error.downcast_ref::<NotPublicError>() {
            return Some(refused.to_string());
        }
        source = error.source();
    }
    None
}

fn connection_error(host: &str, error: &dyn std::error::Error) -> GuardError {
    let detail = std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    GuardError::Broken {
        host: host.to_owned(),
        detail,
    }
}
