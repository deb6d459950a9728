//! How the server is reached.

use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::error::PostgresError;
use super::tls;

/// Connections of one process.
pub const POOL_SIZE: usize = 16;
/// How long one statement may take.
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long making a connection may take, and how long a call waits for one of the pool.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silent probes after which a connection to a host that is gone is given up.
const KEEPALIVE_PROBES: u32 = 3;

/// How a process uses a server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where it is and who asks. Its `Debug` form leaves the password out.
    pub(super) config: Config,
    /// Certificates to trust, in PEM, in place of the machine's.
    pub(super) authorities: Option<Vec<u8>>,
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
    /// TLS is spoken if the URL asks for it by `sslmode=require`, and the server's certificate is verified then; a URL that
    /// does not goes without.
    ///
    /// `holder` names this process and, if it is to take its own jobs back at once after a crash, the process that comes
    /// after it: an id that lies in a data directory which one process has at a time. Two processes that live at once must
    /// not share it. A fresh one means that nothing is taken back and leases run out.
    pub fn new(url: &str, holder: Uuid) -> Result<Self, PostgresError> {
        // What the parser says of a bad URL may hold parts of it, so it is not passed on.
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

    /// The same, trusting the certificates in `pem` in place of the machine's.
    pub fn with_authorities(self, pem: Vec<u8>) -> Self {
        Self {
            authorities: Some(pem),
            ..self
        }
    }

    /// How TLS is spoken, if it is.
    pub(super) fn tls_connector(&self) -> Result<Option<MakeRustlsConnect>, PostgresError> {
        match self.config.get_ssl_mode() {
            SslMode::Require => tls::build_connector(self.authorities.as_deref()).map(Some),
            _ => Ok(None),
        }
    }

    /// The way to the server, with bounds on how long it may be silent.
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
