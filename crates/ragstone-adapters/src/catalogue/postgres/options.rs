//! How the server is reached.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use uuid::Uuid;

use super::error::PostgresError;

/// Connections of one process.
pub const POOL_SIZE: usize = 16;
/// How long one statement may take.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long making a connection may take, and how long a call waits for one of the pool.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How a process uses a server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where it is and who asks. Its `Debug` form leaves the password out.
    pub(super) config: Config,
    /// Whose jobs [`take_back`](ragstone_core::seam::catalogue::Catalogue::take_back) takes back.
    pub(super) holder: Uuid,
    /// Most connections, 1 or more.
    pub pool_size: usize,
    /// Bounds each statement, on the server.
    pub statement_timeout: Duration,
    /// Bounds the making of a connection, and the wait for one.
    pub connect_timeout: Duration,
}

impl PostgresOptions {
    /// The server of a URL (`postgresql://user:password@host:port/database`) or of a list of `key=value`. A schema other
    /// than `public` is named by its `options`: `?options=-c%20search_path%3Dname`.
    ///
    /// TLS is not spoken yet: a URL that asks for it is refused, one that does not say goes without.
    ///
    /// `holder` names this process and, if it is to take its own jobs back at once after a crash, the process that comes
    /// after it: an id that lies in a data directory which one process has at a time. Two processes that live at once must
    /// not share it. A fresh one means that nothing is taken back and leases run out.
    pub fn new(url: &str, holder: Uuid) -> Result<Self, PostgresError> {
        // What the parser says of a bad URL may hold parts of it, so it is not passed on.
        let config: Config = url.parse().map_err(|_| PostgresError::Url)?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(PostgresError::Tls);
        }
        Ok(Self {
            config,
            holder,
            pool_size: POOL_SIZE,
            statement_timeout: STATEMENT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_shown_and_a_bad_url_is_refused() {
        let url = "postgresql://me:hunter2@localhost:5432/db";
        let options = PostgresOptions::new(url, Uuid::nil()).unwrap();
        assert!(!format!("{options:?}").contains("hunter2"));
        let wants_tls = format!("{url}?sslmode=require");
        for bad in [
            "postgresql://me:hunter2@localhost:x/db",
            "hunter2",
            "hunter2=1",
            &wants_tls,
        ] {
            let refused = PostgresOptions::new(bad, Uuid::nil()).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
    }
}
