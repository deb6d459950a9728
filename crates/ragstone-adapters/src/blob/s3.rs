//! Blobs in a bucket of an S3-compatible service.
//!
//! Invariant: no credential appears in an error or in debug output.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

/// Limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Limit for one request, including the part of a large file that it carries.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Retries of a request, and the time limit for all of them; jobs are retried later by the queue.
const RETRIES: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// A bucket and how to reach it; an empty string means not set.
#[derive(Clone, Default)]
pub struct S3Options {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of every key.
    pub prefix: String,
    /// Endpoint URL of a service other than Amazon's; `http://` is allowed.
    pub endpoint: String,
    /// Region of the bucket.
    pub region: String,
    /// Access key id; if empty, the machine's role is used.
    pub access_key_id: String,
    /// Secret of the access key.
    pub secret_access_key: String,
    /// Session token of temporary credentials.
    pub session_token: String,
    /// ARN of a role to assume with the token in `web_identity_token_file`.
    pub role_arn: String,
    /// Path of the token file, which is read again when it has changed.
    pub web_identity_token_file: PathBuf,
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// Opens the bucket as a store. Sends no request yet.
pub fn open_bucket(options: &S3Options) -> object_store::Result<Arc<dyn ObjectStore>> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_timeout(REQUEST_TIMEOUT)
        .with_allow_http(options.endpoint.starts_with("http://"));
    let token_file = options.web_identity_token_file.to_string_lossy();
    let given = [
        (AmazonS3ConfigKey::Endpoint, options.endpoint.trim_end_matches('/')),
        (AmazonS3ConfigKey::Region, &options.region),
        (AmazonS3ConfigKey::AccessKeyId, &options.access_key_id),
        (AmazonS3ConfigKey::SecretAccessKey, &options.secret_access_key),
        (AmazonS3ConfigKey::Token, &options.session_token),
        (AmazonS3ConfigKey::RoleArn, &options.role_arn),
        (AmazonS3ConfigKey::WebIdentityTokenFile, &token_file),
    ];
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&options.bucket)
        .with_client_options(client)
        .with_retry(RetryConfig {
            max_retries: RETRIES,
            retry_timeout: RETRY_TIMEOUT,
            ..RetryConfig::default()
        });
    let builder = given
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .fold(builder, |builder, (key, value)| builder.with_config(key, value));
    let store = builder.build()?;
    Ok(match options.prefix.is_empty() {
        true => Arc::new(store),
        false => Arc::new(PrefixStore::new(store, options.prefix.as_str())),
    })
}
