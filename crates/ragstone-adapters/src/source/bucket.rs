//! Objects below a prefix of a bucket (S3), or in any other object store.
//!
//! Invariant: an object that was not read to its end is an error. An object whose ETag is unchanged is not read.

use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use ragstone_core::seam::source::{DocumentSource, ItemAccess, ItemContent, ListEntry, SourceError, SourceItem};
use serde::Deserialize;

/// Most objects of one source; more is a mistake in its settings.
const MAX_OBJECTS: usize = 1_000_000;
/// Most objects that are read at once.
const AT_ONCE: usize = 4;

/// Settings of a bucket source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BucketSettings {
    /// Name of the bucket.
    pub bucket: String,
    /// Prefix of the object keys, up to a slash; empty for the whole bucket.
    #[serde(default)]
    pub prefix: String,
    /// Address of the service; empty for Amazon S3.
    #[serde(default)]
    pub endpoint: String,
    /// Region of the bucket; `us-east-1` by default.
    #[serde(default = "region")]
    pub region: String,
    /// Reference to the access key's id, `env:NAME` or `file:PATH`; if unset, the machine's role is used.
    pub access_key_id: Option<String>,
    /// Reference to the access key's secret; set if and only if the id is.
    pub secret_access_key: Option<String>,
}

fn region() -> String {
    "us-east-1".into()
}

impl BucketSettings {
    /// Checks the settings; fails with `Refused` and the reason.
    pub fn check(&self) -> Result<(), SourceError> {
        let refused = |why: &str| Err(SourceError::Refused(why.into()));
        let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.bucket.is_empty() || !self.bucket.chars().all(is_name) {
            return refused("the name of a bucket has letters, digits, dots, hyphens and underscores");
        }
        if !self.endpoint.is_empty() && !self.endpoint.starts_with("http://") && !self.endpoint.starts_with("https://")
        {
            return refused("the endpoint begins with https:// or http://");
        }
        match self.access_key_id.is_some() == self.secret_access_key.is_some() {
            true => Ok(()),
            false => refused("a key has an id and a secret"),
        }
    }

    /// Prefix of the URIs of the bucket's objects.
    pub fn uri_prefix(&self) -> String {
        match self.prefix.trim_matches('/') {
            "" => format!("s3://{}/", self.bucket),
            prefix => format!("s3://{}/{prefix}/", self.bucket),
        }
    }
}

/// Lists and reads the objects of a bucket.
pub struct BucketSource {
    store: Arc<dyn ObjectStore>,
    address: String,
}

impl BucketSource {
    /// Creates a source over `store`; `address` is the prefix of the URIs of its objects.
    pub fn new(store: Arc<dyn ObjectStore>, address: String) -> Self {
        Self { store, address }
    }

    fn item_from_object(&self, object: ObjectMeta) -> SourceItem {
        let key = object.location.to_string();
        let state = object.e_tag.filter(|etag| !etag.is_empty());
        let state = state.unwrap_or_else(|| object.last_modified.timestamp_micros().to_string());
        SourceItem {
            uri: format!("{}{key}", self.address),
            name: object.location.filename().unwrap_or(&key).to_owned(),
            title: None,
            source_url: None,
            marker: Some(format!("{}:{state}", object.size)),
            access: ItemAccess::Unspecified,
            key,
        }
    }
}

#[async_trait]
impl DocumentSource for BucketSource {
    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>> {
        let objects = self.store.list(None).enumerate();
        let items = objects.map(|(n, object)| match object {
            Ok(_) if n >= MAX_OBJECTS => Err(SourceError::Refused(format!("it has more than {MAX_OBJECTS} objects"))),
            Ok(object) => Ok(self.item_from_object(object).into()),
            Err(error) => Err(to_source_error(error)),
        });
        // The list ends with its first error.
        let items = items.scan(false, |failed, item| {
            let ended = std::mem::replace(failed, item.is_err());
            futures::future::ready((!ended).then_some(item))
        });
        items.boxed()
    }

    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError> {
        let path = Path::parse(&item.key).map_err(|error| SourceError::Refused(error.to_string()))?;
        let object = self.store.get(&path).await.map_err(|error| match error {
            object_store::Error::NotFound { .. } => SourceError::Gone(item.key.clone()),
            other => to_source_error(other),
        })?;
        Ok(ItemContent {
            media_type: None,
            bytes: object
                .into_stream()
                .map(|piece| piece.map_err(std::io::Error::other))
                .boxed(),
        })
    }

    fn max_concurrent_fetches(&self) -> usize {
        AT_ONCE
    }
}

fn to_source_error(error: object_store::Error) -> SourceError {
    use object_store::Error;
    match error {
        Error::NotFound { .. } => SourceError::Refused("there is no such bucket".into()),
        Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => {
            SourceError::Refused("the bucket may not be read with these credentials".into())
        }
        other => SourceError::Broken(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use object_store::memory::InMemory;
    use object_store::prefix::PrefixStore;

    use super::*;

    async fn listed(bucket: &BucketSource) -> Vec<SourceItem> {
        let entries: Vec<ListEntry> = bucket.list_items().try_collect().await.unwrap();
        entries.into_iter().filter_map(ListEntry::into_item).collect()
    }

    #[tokio::test]
    async fn objects_below_the_prefix_are_told_with_their_state() {
        let all = Arc::new(InMemory::new());
        let put = async |key: &str, text: &str| {
            all.put(&Path::from(key), text.to_owned().into()).await.unwrap();
        };
        put("docs/a.md", "alpha").await;
        put("docs/sub/b c.md", "beta").await;
        put("other/c.md", "gamma").await;
        let store = PrefixStore::new(all.clone(), "docs");
        let bucket = BucketSource::new(Arc::new(store), "s3://x/docs/".into());
        let first = listed(&bucket).await;
        let seen: Vec<_> = first
            .iter()
            .map(|item| (item.uri.as_str(), item.name.as_str()))
            .collect();
        assert_eq!(
            seen,
            [("s3://x/docs/a.md", "a.md"), ("s3://x/docs/sub/b c.md", "b c.md")]
        );
        assert_eq!(listed(&bucket).await, first);
        put("docs/a.md", "ALPHA").await;
        let second = listed(&bucket).await;
        assert_ne!(second[0].marker, first[0].marker);
        assert_eq!(second[1], first[1]);
        let content = bucket.fetch_item(&second[0]).await.unwrap();
        let bytes: Vec<bytes::Bytes> = content.bytes.try_collect().await.unwrap();
        assert_eq!(bytes.concat(), b"ALPHA");
        all.delete(&Path::from("docs/a.md")).await.unwrap();
        assert!(matches!(bucket.fetch_item(&second[0]).await, Err(SourceError::Gone(_))));
    }

    #[test]
    fn settings_that_cannot_be_right_are_refused() {
        let check = |value: serde_json::Value, expected: bool| {
            let settings: Result<BucketSettings, _> = serde_json::from_value(value.clone());
            assert_eq!(
                settings.is_ok_and(|settings| settings.check().is_ok()),
                expected,
                "{value}"
            );
        };
        use serde_json::json;
        check(json!({ "bucket": "docs" }), true);
        check(json!({ "bucket": "docs/../x" }), false);
        check(json!({ "bucket": "" }), false);
        check(json!({ "bucket": "docs", "endpoint": "http://127.0.0.1:9000" }), true);
        check(json!({ "bucket": "docs", "endpoint": "127.0.0.1:9000" }), false);
        check(json!({ "bucket": "docs", "access_key_id": "env:A" }), false);
        check(
            json!({ "bucket": "docs", "access_key_id": "env:A", "secret_access_key": "env:B" }),
            true,
        );
        check(json!({ "bucket": "docs", "secret": "x" }), false);
    }
}
