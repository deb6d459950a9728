//! Shared stores (PostgreSQL, Qdrant, blobs) that any number of processes use together, in place of a data directory.
//!
//! Invariant: stores are all local or all shared; a mix is refused.

use std::path::PathBuf;

use serde::Deserialize;

use super::Settings;
use super::check::SettingsFindings;
use super::secret::SecretSetting;

/// The settings that are required together for shared stores: key and name in the environment.
const SHARED_SETTINGS: [(&str, &str); 3] = [
    ("data.database_url", "DATABASE_URL"),
    ("index.qdrant_url", "QDRANT_URL"),
    ("data.blobs_url", "RAGSTONE_BLOBS_URL"),
];

/// The keys that select shared stores; with all of them empty, stores are local.
pub const SHARED_KEYS: [&str; 4] = [
    "data.database_url",
    "data.blobs_url",
    "index.qdrant_url",
    "jobs.redis_url",
];

/// What work a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// Serves the API and leaves background work to others.
    Api,
    /// Does background work, and serves health and metrics only.
    Worker,
    /// Serves the API and does background work.
    All,
}

impl ServerRole {
    /// Whether this role serves the API.
    pub fn serves_api(self) -> bool {
        self != Self::Worker
    }

    /// Whether this role does background work.
    pub fn runs_jobs(self) -> bool {
        self != Self::Api
    }
}

/// The `[index]` section: Qdrant, in place of the embedded index. 0 leaves a number to the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSection {
    /// URL of Qdrant; empty means the embedded index.
    pub qdrant_url: String,
    /// API key of Qdrant, if it needs one.
    pub qdrant_api_key: SecretSetting,
    /// Name of the collection; must not be empty.
    pub qdrant_collection: String,
    /// Shards of a new collection, 0 to 10000.
    pub qdrant_shards: u32,
    /// Copies of each shard of a new collection, 0 to 100.
    pub qdrant_replicas: u32,
    /// Copies that confirm a write, 0 to 100; for a new collection.
    pub qdrant_write_consistency: u32,
    /// Whether a new collection keeps its vectors on disk.
    pub qdrant_vectors_on_disk: bool,
    /// Whether a new collection walks its graph over vectors of one byte per component (scalar quantization).
    pub qdrant_quantized: bool,
    /// Points in the caller's scope up to which search is exact, at most 2^40; above, the graph is walked.
    pub qdrant_exact_below: u64,
    /// Seconds for one request, 1 to 600.
    pub qdrant_timeout_seconds: u64,
}

/// The `[s3]` section: how the bucket of `data.blobs_url` is reached.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Section {
    /// URL of the service; empty means Amazon's.
    pub endpoint: String,
    /// Region that requests are signed for.
    pub region: String,
    /// Access key id; not set means the credentials of the machine's role.
    pub access_key_id: SecretSetting,
    /// Secret of the access key; set together with `access_key_id`.
    pub secret_access_key: SecretSetting,
    /// Session token of temporary credentials, if they have one.
    pub session_token: SecretSetting,
    /// ARN of a role to assume with a web identity token; set together with the file below.
    pub role_arn: String,
    /// Path of the file that holds the web identity token.
    pub web_identity_token_file: PathBuf,
}

/// Location of shared blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobLocation {
    /// A folder that every process sees.
    Folder(PathBuf),
    /// An S3 bucket and the prefix of all keys.
    Bucket {
        /// Name of the bucket.
        name: String,
        /// Prefix without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl BlobLocation {
    /// Parses `data.blobs_url`; the error says what form it must have.
    fn parse_url(url: &str) -> Result<Self, String> {
        if let Some(rest) = url.strip_prefix("s3://") {
            let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            return match !name.is_empty() && name.chars().all(plain) && !prefix.contains(['?', '#']) {
                true => Ok(Self::Bucket {
                    name: name.to_owned(),
                    prefix: prefix.trim_matches('/').to_owned(),
                }),
                false => Err("must be s3://bucket or s3://bucket/prefix; keys have settings of their own".into()),
            };
        }
        let folder = PathBuf::from(url.strip_prefix("file://").unwrap_or(url));
        match folder.is_absolute() {
            true => Ok(Self::Folder(folder)),
            false => Err("must be s3://bucket/prefix, or the absolute path of a folder that every process sees".into()),
        }
    }
}

/// Addresses of the shared stores.
#[derive(Debug, Clone)]
pub struct SharedStores {
    /// URL of the catalogue's database (PostgreSQL).
    pub database_url: SecretSetting,
    /// Location of the blobs.
    pub blobs: BlobLocation,
    /// URL of the Redis that notifies workers; not set means the catalogue's database does.
    pub redis_url: SecretSetting,
}

impl Settings {
    /// Replaces any shared stores by those of the data directory `directory`.
    pub fn use_local_stores(&mut self, directory: PathBuf) {
        self.data.directory = directory;
        self.data.database_url = SecretSetting::default();
        self.data.blobs_url.clear();
        self.index.qdrant_url.clear();
        self.jobs.redis_url = SecretSetting::default();
    }

    /// Addresses of the shared stores; `None` if stores are local.
    pub fn shared_stores(&self) -> Option<SharedStores> {
        let blobs = BlobLocation::parse_url(&self.data.blobs_url).ok()?;
        self.data.database_url.is_set().then(|| SharedStores {
            database_url: self.data.database_url.clone(),
            blobs,
            redis_url: self.jobs.redis_url.clone(),
        })
    }
}

/// Adds a finding for each setting of the shared stores that is wrong or missing.
pub(super) fn check_shared_stores(settings: &Settings, found: &mut SettingsFindings) {
    let given = [
        settings.data.database_url.is_set(),
        !settings.index.qdrant_url.is_empty(),
        !settings.data.blobs_url.is_empty(),
    ];
    let named = |wanted: bool| -> Vec<&str> {
        let parts = SHARED_SETTINGS.iter().zip(given);
        parts
            .filter(|(_, given)| *given == wanted)
            .map(|((_, name), _)| *name)
            .collect()
    };
    if given.contains(&true) {
        let set = named(true).join(" and ");
        for ((key, name), _) in SHARED_SETTINGS.iter().zip(given).filter(|(_, given)| !given) {
            found.add_finding(
                key,
                format!("must be set ({name}): stores are all local or all shared, and {set} is set"),
            );
        }
    } else if settings.jobs.redis_url.is_set() {
        let missing = named(false).join(", ");
        found.add_finding(
            "jobs.redis_url",
            format!("wakes the workers of shared stores, which need {missing} too; stores are all local or all shared"),
        );
    }
    check_addresses(settings, found);
    check_index(&settings.index, found);
    // The AWS variables may be set for other programs, so they are checked only where blobs are in a bucket.
    if settings.data.blobs_url.starts_with("s3://") {
        check_s3(&settings.s3, found);
    }
}

fn check_addresses(settings: &Settings, found: &mut SettingsFindings) {
    found.check_range(
        "data.database_connections",
        settings.data.database_connections,
        2..=1000,
    );
    let starts = |secret: &SecretSetting, schemes: &[&str]| {
        secret
            .expose_secret()
            .is_none_or(|url| schemes.iter().any(|scheme| url.starts_with(scheme)))
    };
    if !starts(&settings.data.database_url, &["postgres://", "postgresql://", "host="]) {
        found.add_finding(
            "data.database_url",
            "must be postgresql://user:password@host:port/database; other databases are not supported".into(),
        );
    }
    if !starts(
        &settings.jobs.redis_url,
        &["redis://", "rediss://", "redis+unix://", "unix://"],
    ) {
        found.add_finding(
            "jobs.redis_url",
            "must be redis://[user:password@]host:port, or rediss:// for TLS".into(),
        );
    }
    found.check_url("index.qdrant_url", &settings.index.qdrant_url);
    if !settings.data.blobs_url.is_empty()
        && let Err(detail) = BlobLocation::parse_url(&settings.data.blobs_url)
    {
        found.add_finding("data.blobs_url", detail);
    }
}

fn check_index(index: &IndexSection, found: &mut SettingsFindings) {
    found.check_range("index.qdrant_shards", index.qdrant_shards, 0..=10_000);
    found.check_range("index.qdrant_replicas", index.qdrant_replicas, 0..=100);
    found.check_range(
        "index.qdrant_write_consistency",
        index.qdrant_write_consistency,
        0..=100,
    );
    found.check_range("index.qdrant_exact_below", index.qdrant_exact_below, 0..=1 << 40);
    found.check_range("index.qdrant_timeout_seconds", index.qdrant_timeout_seconds, 1..=600);
    if index.qdrant_collection.is_empty() {
        found.add_finding("index.qdrant_collection", "must name a collection".into());
    }
}

fn check_s3(s3: &S3Section, found: &mut SettingsFindings) {
    found.check_url("s3.endpoint", &s3.endpoint);
    if s3.access_key_id.is_set() != s3.secret_access_key.is_set() {
        found.add_finding(
            "s3.access_key_id",
            "must be set together with s3.secret_access_key (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)".into(),
        );
    }
    if s3.role_arn.is_empty() != s3.web_identity_token_file.as_os_str().is_empty() {
        found.add_finding(
            "s3.role_arn",
            "must be set together with s3.web_identity_token_file (AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE)".into(),
        );
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{BlobLocation, Settings, SettingsLayers};

    const DATABASE: (&str, &str) = ("DATABASE_URL", "postgresql://me:hidden@db/ragstone");
    const QDRANT: (&str, &str) = ("QDRANT_URL", "http://qdrant:6333");
    const BLOBS: (&str, &str) = ("RAGSTONE_BLOBS_URL", "s3://bucket/some/prefix/");
    const REDIS: (&str, &str) = ("REDIS_URL", "redis://:hidden@redis");

    fn settings(given: &[(&str, &str)]) -> Result<Settings, String> {
        let environment = given.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let layers = SettingsLayers {
            environment: environment.collect(),
            ..SettingsLayers::default()
        };
        let refused = |error: crate::config::SettingsError| error.to_string();
        Settings::from_layers(&layers).map_err(refused)
    }

    #[test]
    fn stores_are_all_local_or_all_shared() {
        assert!(settings(&[]).unwrap().shared_stores().is_none());
        let shared = settings(&[DATABASE, QDRANT, BLOBS]).unwrap().shared_stores().unwrap();
        let bucket = BlobLocation::Bucket {
            name: "bucket".into(),
            prefix: "some/prefix".into(),
        };
        assert_eq!((shared.blobs, shared.redis_url.is_set()), (bucket, false));
        let shared = settings(&[DATABASE, QDRANT, BLOBS, REDIS])
            .unwrap()
            .shared_stores()
            .unwrap();
        assert!(shared.redis_url.is_set());
        let check = |given: &[(&str, &str)], missing: &[&str]| {
            let refused = settings(given).unwrap_err();
            assert_eq!(refused.lines().count(), missing.len(), "{refused}");
            for name in missing {
                assert!(refused.contains(&format!("must be set ({name})")), "{refused}");
            }
            assert!(!refused.contains("hidden"), "{refused}");
        };
        check(&[DATABASE], &["QDRANT_URL", "RAGSTONE_BLOBS_URL"]);
        check(&[QDRANT], &["DATABASE_URL", "RAGSTONE_BLOBS_URL"]);
        check(&[BLOBS], &["DATABASE_URL", "QDRANT_URL"]);
        check(&[DATABASE, BLOBS, REDIS], &["QDRANT_URL"]);
        let alone = settings(&[REDIS]).unwrap_err();
        assert!(
            alone.contains("all local or all shared") && !alone.contains("hidden"),
            "{alone}"
        );
    }

    #[test]
    fn addresses_are_checked_and_not_shown() {
        let check = |wrong: (&str, &str), expected: &str| {
            let set = [DATABASE, QDRANT, BLOBS, REDIS].map(|part| if part.0 == wrong.0 { wrong } else { part });
            let refused = settings(&set).unwrap_err();
            assert!(refused.contains(expected) && !refused.contains("hidden"), "{refused}");
        };
        check(
            ("DATABASE_URL", "mysql://me:hidden@db/x"),
            "other databases are not supported",
        );
        check(("REDIS_URL", "http://:hidden@redis"), "must be redis://");
        check(("QDRANT_URL", "qdrant:6333"), "must be an http:// or https:// address");
        check(("RAGSTONE_BLOBS_URL", "s3://key:hidden@bucket"), "s3://bucket");
        check(("RAGSTONE_BLOBS_URL", "blobs"), "absolute path");
        check(("RAGSTONE_BLOBS_URL", "gs://bucket"), "absolute path");
    }

    #[test]
    fn a_folder_has_a_path_or_a_url() {
        for url in ["/mnt/blobs", "file:///mnt/blobs"] {
            assert_eq!(
                BlobLocation::parse_url(url).unwrap(),
                BlobLocation::Folder("/mnt/blobs".into())
            );
        }
    }

    #[test]
    fn credentials_come_in_pairs() {
        let halves = [("AWS_ACCESS_KEY_ID", "hidden"), ("AWS_ROLE_ARN", "arn")];
        for half in halves {
            assert!(settings(&[half]).is_ok(), "nothing is asked of S3");
            let refused = settings(&[half, DATABASE, QDRANT, BLOBS]).unwrap_err();
            assert!(refused.contains("together") && !refused.contains("hidden"), "{refused}");
        }
    }
}
