//! The shared set: stores that any number of processes work on together, in place of a data directory.
//!
//! Invariant: stores are all local or all shared; a mix is refused.

use std::path::PathBuf;

use serde::Deserialize;

use super::Settings;
use super::check::SettingsFindings;
use super::secret::SecretSetting;

/// What makes the shared set: keys and their names in the environment.
const SHARED_SETTINGS: [(&str, &str); 3] = [
    ("data.database_url", "DATABASE_URL"),
    ("index.qdrant_url", "QDRANT_URL"),
    ("data.blobs_url", "RAGSTONE_BLOBS_URL"),
];

/// The keys without which stores are local.
pub const SHARED_KEYS: [&str; 4] = [
    "data.database_url",
    "data.blobs_url",
    "index.qdrant_url",
    "jobs.redis_url",
];

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServerRole {
    /// It serves the API, and leaves background work to others.
    Api,
    /// It does background work, and tells how it is.
    Worker,
    /// Both.
    All,
}

impl ServerRole {
    /// Whether it serves the API.
    pub fn serves_api(self) -> bool {
        self != Self::Worker
    }

    /// Whether it does background work.
    pub fn runs_jobs(self) -> bool {
        self != Self::Api
    }
}

/// `[index]`; 0 leaves a number to the server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IndexSection {
    /// Where Qdrant is; empty for the embedded index.
    pub qdrant_url: String,
    /// Its key.
    pub qdrant_api_key: SecretSetting,
    /// The collection.
    pub qdrant_collection: String,
    /// Shards of a new collection.
    pub qdrant_shards: u32,
    /// Copies of each shard of a new collection.
    pub qdrant_replicas: u32,
    /// Copies that confirm a write.
    pub qdrant_write_consistency: u32,
    /// Whether vectors of a new collection stay on disk.
    pub qdrant_vectors_on_disk: bool,
    /// Whether the graph is walked over vectors of a byte a component.
    pub qdrant_quantized: bool,
    /// Points up to which each is compared.
    pub qdrant_exact_below: u64,
    /// Seconds for a request.
    pub qdrant_timeout_seconds: u64,
}

/// `[s3]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Section {
    /// The service, where it is not Amazon's.
    pub endpoint: String,
    /// The region.
    pub region: String,
    /// Who asks.
    pub access_key_id: SecretSetting,
    /// Their secret.
    pub secret_access_key: SecretSetting,
    /// For credentials that end.
    pub session_token: SecretSetting,
    /// A role to take, by the token in the file below.
    pub role_arn: String,
    /// The file.
    pub web_identity_token_file: PathBuf,
}

/// Where blobs are shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlobLocation {
    /// A folder that every process sees.
    Folder(PathBuf),
    /// A bucket, and what every key begins with.
    Bucket {
        /// Its name.
        name: String,
        /// Without slashes at its ends; may be empty.
        prefix: String,
    },
}

impl BlobLocation {
    /// What a URL names, or what is wrong with it.
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

/// Where shared stores are.
#[derive(Debug, Clone)]
pub struct SharedStores {
    /// The catalogue.
    pub database_url: SecretSetting,
    /// The blobs.
    pub blobs: BlobLocation,
    /// Who wakes workers, if not the catalogue's database.
    pub redis_url: SecretSetting,
}

impl Settings {
    /// Turns from whatever stores to those of a data directory.
    pub fn use_local_stores(&mut self, directory: PathBuf) {
        self.data.directory = directory;
        self.data.database_url = SecretSetting::default();
        self.data.blobs_url.clear();
        self.index.qdrant_url.clear();
        self.jobs.redis_url = SecretSetting::default();
    }

    /// Where shared stores are, if the stores are shared.
    pub fn shared_stores(&self) -> Option<SharedStores> {
        let blobs = BlobLocation::parse_url(&self.data.blobs_url).ok()?;
        self.data.database_url.is_set().then(|| SharedStores {
            database_url: self.data.database_url.clone(),
            blobs,
            redis_url: self.jobs.redis_url.clone(),
        })
    }
}

/// What is wrong with the shared set.
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
    // Other programs' credentials are nobody's business here.
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
