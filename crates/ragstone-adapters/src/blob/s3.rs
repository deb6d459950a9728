//! Blobs in a bucket of an S3-compatible service.
//!
//! Invariant: no credential stands in an error or in debug output.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

/// For making a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For one request, the part of a large file that it carries included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a request is tried again, and until when; jobs come back later by themselves.
const RETRIES: usize = 4;
const RETRY_TIMEOUT: Duration = Duration::from_secs(20);

/// A bucket and how it is reached; what is empty is not set.
#[derive(Clone, Default)]
pub struct S3Options {
    /// Its name.
    pub bucket: String,
    /// What every key begins with.
    pub prefix: String,
    /// The service's address, where it is not Amazon's; `http://` is allowed.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// Who asks; where nobody is named, the role of the machine.
    pub access_key_id: String,
    /// Their secret.
    pub secret_access_key: String,
    /// For credentials that end.
    pub session_token: String,
    /// A role to take by the token in the file.
    pub role_arn: String,
    /// The file, which is read again when it has changed.
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

/// The bucket as a store. Nothing is asked of the service yet.
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
