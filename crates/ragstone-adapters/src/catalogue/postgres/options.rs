//! Connection settings of a PostgreSQL server.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::error::PostgresError;
use super::tls;

/// Default size of the connection pool of one process.
pub const POOL_SIZE: usize = 16;
/// Default time limit of a statement.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// Default time limit for opening a connection, and for the wait for one of the pool.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Unanswered keepalive probes after which a connection is closed.
const KEEPALIVE_PROBES: u32 = 3;

/// Connection settings of a PostgreSQL server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Server, database and credentials. Its `Debug` form omits the password.
    pub(super) config: Config,
    /// PEM certificates to trust in place of the machine's root certificates.
    pub(super) authorities: Option<Vec<u8>>,
    /// Holder id of this process's jobs, which
    /// [`requeue_interrupted_jobs`](ragstone_core::seam::catalogue::Catalogue::requeue_interrupted_jobs) requeues.
    pub(super) holder: Uuid,
    /// Most connections of the pool, at least 1.
    pub pool_size: usize,
    /// Time limit of each statement, enforced by the server.
    pub statement_timeout: Duration,
    /// Time limit for opening a connection, and for the wait for one of the pool.
    pub connect_timeout: Duration,
}

impl PostgresOptions {
    /// Settings from a URL (`postgresql://user:password@host:port/database`) or a list of `key=value`. A schema other
    /// than `public` is selected by `options`: `?options=-c%20search_path%3Dname`.
    ///
    /// TLS is used if the URL has `sslmode=require`, and then the server's certificate is verified; otherwise the
    /// connection is not encrypted.
    ///
    /// `holder` identifies this process, and the next one that shall requeue this one's jobs at once after a crash: an
    /// id from a data directory that only one process has at a time. Two living processes must not share it. With a
    /// fresh id nothing is requeued until leases expire.
    pub fn new(url: &str, holder: Uuid) -> Result<Self, PostgresError> {
        // Not passed on: the parser's message may contain parts of the URL.
        let config: Config = url.parse().map_err(|_| PostgresError::Url)?;
        Ok(Self {
            config,
            authorities: None,
            holder,
            pool_size: POOL_SIZE,
            statement_timeout: STATEMENT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        })
    }

    /// Trusts the certificates in `pem` in place of the machine's.
    pub fn with_authorities(self, pem: Vec<u8>) -> Self {
        Self {
            authorities: Some(pem),
            ..self
        }
    }

    /// TLS connector, or `None` if TLS is off.
    pub(super) fn tls_connector(&self) -> Result<Option<MakeRustlsConnect>, PostgresError> {
        match self.config.get_ssl_mode() {
            SslMode::Require => tls::build_connector(self.authorities.as_deref()).map(Some),
            _ => Ok(None),
        }
    }

    /// The configuration with timeouts and keepalives.
    pub(super) fn tuned_config(&self) -> Config {
        let mut config = self.config.clone();
        if config.get_ssl_mode() != SslMode::Require {
            config.ssl_mode(SslMode::Disable);
        }
        config.connect_timeout(self.connect_timeout);
        config.tcp_user_timeout(self.statement_timeout);
        config.keepalives_idle(self.statement_timeout);
        config.keepalives_interval(self.statement_timeout / KEEPALIVE_PROBES);
        config.keepalives_retries(KEEPALIVE_PROBES);
        if config.get_application_name().is_none() {
            config.application_name("ragstone");
        }
        config
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
        for bad in ["postgresql://me:hunter2@localhost:x/db", "hunter2", "hunter2=1"] {
            let refused = PostgresOptions::new(bad, Uuid::nil()).unwrap_err();
            assert!(!refused.to_string().contains("hunter2"), "{refused}");
            assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
        }
    }

    #[test]
    fn tls_is_spoken_where_the_url_asks_for_it() {
        let options = |mode: &str| PostgresOptions::new(&format!("host=h sslmode={mode}"), Uuid::nil()).unwrap();
        for mode in ["disable", "prefer"] {
            assert!(options(mode).tls_connector().unwrap().is_none());
            assert_eq!(options(mode).tuned_config().get_ssl_mode(), SslMode::Disable);
        }
        let nothing = options("require").with_authorities(b"no certificate".to_vec());
        assert!(nothing.tls_connector().is_err());
    }
}
