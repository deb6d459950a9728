//! Connection settings of a Qdrant server, and the layout of its collection.
//!
//! Invariant: the API key appears in no error and in no debug output.

use std::fmt;
use std::time::Duration;

use qdrant_client::Qdrant;
use qdrant_client::config::QdrantConfig;
use ragstone_core::seam::index::IndexError;

use crate::index::fit::mismatch_error;

/// Qdrant's REST port, which users often copy from a browser.
const REST_PORT: &str = "6333";
/// Qdrant's gRPC port on the same host.
const GRPC_PORT: &str = "6334";
/// Longest collection name that Qdrant accepts, in bytes (it becomes a folder's name).
const MAX_COLLECTION_BYTES: usize = 255;
/// Size of the connection pool of one process.
const CONNECTIONS: usize = 4;

/// An API key that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// Wraps the key without changes.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

/// Connection settings of a Qdrant server, and the layout of its collection.
#[derive(Debug, Clone, PartialEq)]
pub struct QdrantOptions {
    /// `http(s)://host[:port]`. Without a port, or with the REST port 6333, the gRPC port 6334 is used; any other port
    /// is used as it is.
    pub url: String,
    /// API key that is sent with every request.
    pub api_key: Option<ApiKey>,
    /// Name of the collection that holds the points.
    pub collection: String,
    /// Id of the library that owns the points: a new collection is marked with it, and one with another mark is
    /// refused. `None` neither checks nor marks.
    pub library: Option<String>,
    /// Limit for one request.
    pub timeout: Duration,
    /// Limit for opening a connection.
    pub connect_timeout: Duration,
    /// Retries of a read after a transient failure.
    pub read_retries: usize,
    /// Retries of a write; more than of a read, because an aborted write has to be repeated completely.
    pub write_retries: usize,
    /// Wait before the first retry; it doubles up to [`Self::longest_wait`].
    pub first_wait: Duration,
    /// Longest wait between two retries.
    pub longest_wait: Duration,
    /// Shards of a new collection; `None` leaves it to the server.
    pub shards: Option<u32>,
    /// Replicas of each shard of a new collection; `None` leaves it to the server.
    pub replicas: Option<u32>,
    /// Replicas that must confirm a write to a new collection; `None` leaves it to the server.
    pub write_consistency: Option<u32>,
    /// Whether vectors of a new collection are on disk, for libraries larger than memory.
    pub vectors_on_disk: bool,
    /// Whether a new collection is quantised to one byte per component: only these vectors stay in memory for the
    /// graph search, and results are rescored by the whole ones.
    pub quantized: bool,
    /// Whether payloads of a new collection are on disk. Text and tokens are most of a payload, and they are read for
    /// a few points only.
    pub payload_on_disk: bool,
    /// Most points in scope for an exact scan; above, the graph is searched.
    pub exact_below: u64,
    /// Breadth of the graph search (`hnsw_ef`), in points.
    pub graph_breadth: u64,
}

impl QdrantOptions {
    /// Options for the server at `url` with default values.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            api_key: None,
            collection: "ragstone".into(),
            library: None,
            timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(3),
            read_retries: 2,
            write_retries: 6,
            first_wait: Duration::from_millis(50),
            longest_wait: Duration::from_secs(2),
            shards: None,
            replicas: None,
            write_consistency: None,
            vectors_on_disk: false,
            quantized: false,
            payload_on_disk: true,
            exact_below: 50_000,
            graph_breadth: 512,
        }
    }

    /// Validates the options and makes a client, which connects at first use.
    pub(super) fn build_client(&self) -> Result<Qdrant, IndexError> {
        let mut config = QdrantConfig::from_url(&grpc_url(&self.url)?);
        if let Some(ApiKey(key)) = &self.api_key {
            // Checked here, because the client's error for a malformed key would contain the key.
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(mismatch_error("the Qdrant API key is not plain ASCII without spaces"));
            }
            config.set_api_key(key);
        }
        check_collection_name(&self.collection)?;
        config.set_timeout(self.timeout);
        config.set_connect_timeout(self.connect_timeout);
        config.set_keep_alive_while_idle(true);
        config.set_pool_size(CONNECTIONS);
        // The client's check would block and print; `ensure_collection` reads the version itself.
        config.check_compatibility = false;
        Qdrant::new(config).map_err(|_| mismatch_error(format!("{:?} is not a URL", self.url)))
    }
}

/// The gRPC URL for a URL with either of the two ports.
fn grpc_url(url: &str) -> Result<String, IndexError> {
    let wrong = |what: &str| Err(mismatch_error(format!("the Qdrant URL {what}")));
    let Some((scheme, rest)) = url.split_once("://") else {
        return wrong("has no scheme: write http://host or https://host");
    };
    if !matches!(scheme, "http" | "https") {
        return wrong("is neither http nor https");
    }
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains('@') {
        return wrong("holds credentials: give the API key by its own setting");
    }
    if authority.is_empty() || authority.contains(['/', '?', '#']) || authority.contains(char::is_whitespace) {
        return wrong("is not scheme, host and port alone");
    }
    // A colon inside the brackets of an IPv6 address does not begin a port.
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    let (host, port) = match authority[host_end..].split_once(':') {
        Some((name, port)) => (&authority[..host_end + name.len()], port),
        None => (authority, REST_PORT),
    };
    if port.parse::<u16>().is_err() {
        return wrong("has a port that is no number below 65536");
    }
    let port = if port == REST_PORT { GRPC_PORT } else { port };
    Ok(format!("{scheme}://{host}:{port}"))
}

fn check_collection_name(name: &str) -> Result<(), IndexError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= MAX_COLLECTION_BYTES && !name.starts_with('.') && name.chars().all(fits) {
        true => Ok(()),
        false => Err(mismatch_error(format!(
            "{name:?} is not a Qdrant collection: use letters, digits, '-', '_', '.'"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grpc_port_is_found() {
        let check = |url: &str, expected: &str| assert_eq!(grpc_url(url).unwrap(), expected, "{url}");
        check("http://localhost:6333", "http://localhost:6334");
        check("http://localhost:6333/", "http://localhost:6334");
        check("http://localhost:6334", "http://localhost:6334");
        check("http://localhost", "http://localhost:6334");
        check("https://x.cloud.qdrant.io:443", "https://x.cloud.qdrant.io:443");
        check("http://[::1]:6333", "http://[::1]:6334");
        check("http://[::1]", "http://[::1]:6334");
        for bad in [
            "localhost:6334",
            "ftp://localhost",
            "http://",
            "http://me:secret@host",
            "http://host/path",
            "http://host:port",
            "http://host:66666",
        ] {
            let error = grpc_url(bad).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_key_is_never_shown() {
        let mut options = QdrantOptions::new("http://localhost");
        options.api_key = Some(ApiKey::new("se\ncret"));
        assert!(!format!("{options:?}").contains("cret"));
        let Err(error) = options.build_client() else {
            panic!("a key with a line break was taken");
        };
        assert!(!format!("{error} {error:?}").contains("cret"));
    }

    #[test]
    fn a_collection_is_a_plain_name() {
        assert!(check_collection_name("ragstone-2.b_c").is_ok());
        for bad in ["", "a/b", "..", "a b", &"a".repeat(MAX_COLLECTION_BYTES + 1)] {
            assert!(check_collection_name(bad).is_err(), "{bad:?}");
        }
    }
}
