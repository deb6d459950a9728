//! Answers of Confluence, as far as they are read: API v2 of the Cloud, and v1 of both products.

use serde::{Deserialize, Deserializer};

/// One page of a list's results.
#[derive(Deserialize)]
pub(super) struct ListResponse<T> {
    pub results: Vec<T>,
    #[serde(rename = "_links", default)]
    pub links: ResponseLinks,
}

/// Links to follow from an answer.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct ResponseLinks {
    pub next: Option<String>,
    pub webui: Option<String>,
    pub download: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ContentVersion {
    pub number: u64,
}

#[derive(Deserialize)]
pub(super) struct ConfluenceSpace {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub key: String,
    pub status: Option<String>,
}

impl ConfluenceSpace {
    pub fn is_archived(&self) -> bool {
        self.status
            .as_deref()
            .is_some_and(|status| status.eq_ignore_ascii_case("archived"))
    }
}

/// A page or blog post in a list of v2, or a folder or the like that pages are below.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PageV2 {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub status: Option<String>,
    pub title: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub space_id: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub parent_id: Option<String>,
    pub parent_type: Option<String>,
    pub version: Option<ContentVersion>,
    #[serde(rename = "_links", default)]
    pub links: ResponseLinks,
    pub body: Option<ContentBody>,
}

#[derive(Deserialize)]
pub(super) struct ContentBody {
    pub storage: Option<StorageBody>,
}

#[derive(Deserialize)]
pub(super) struct StorageBody {
    pub value: String,
}

/// An attachment in a list of v2.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AttachmentV2 {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub title: String,
    pub status: Option<String>,
    pub media_type: Option<String>,
    pub version: Option<ContentVersion>,
    pub download_link: Option<String>,
    pub webui_link: Option<String>,
}

/// A grant on a space in a list of v2.
#[derive(Deserialize)]
pub(super) struct GrantV2 {
    pub principal: Option<PrincipalV2>,
    pub operation: OperationV2,
}

#[derive(Deserialize)]
pub(super) struct PrincipalV2 {
    #[serde(rename = "type")]
    pub kind: String,
    pub id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationV2 {
    pub key: String,
    pub target_type: String,
}

/// A grant on a space, as Data Center returns it.
#[derive(Deserialize)]
pub(super) struct GrantV1 {
    pub operation: OperationV1,
    pub subject: Option<SubjectV1>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationV1 {
    pub operation_key: String,
    pub target_type: String,
}

/// A user, a group or an anonymous subject.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SubjectV1 {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub account_id: Option<String>,
    pub username: Option<String>,
    pub user_key: Option<String>,
    pub name: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub id: Option<String>,
}

/// Content of v1: a page, a blog post, an attachment or a comment.
#[derive(Deserialize)]
pub(super) struct ContentV1 {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: Option<String>,
    pub title: Option<String>,
    pub version: Option<ContentVersion>,
    pub space: Option<ConfluenceSpace>,
    pub ancestors: Option<Vec<ContentRefV1>>,
    pub container: Option<ContentRefV1>,
    pub restrictions: Option<RestrictionsByOperation>,
    pub children: Option<ContentChildren>,
    pub metadata: Option<MediaMetadata>,
    pub extensions: Option<MediaMetadata>,
    #[serde(rename = "_links", default)]
    pub links: ResponseLinks,
    pub body: Option<ContentBody>,
}

#[derive(Deserialize)]
pub(super) struct ContentRefV1 {
    #[serde(default, deserialize_with = "maybe_id")]
    pub id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RestrictionsByOperation {
    pub read: Option<OperationRestriction>,
}

/// Who may perform an operation; names nobody if everybody may.
#[derive(Deserialize)]
pub(super) struct OperationRestriction {
    pub restrictions: Option<RestrictedSubjects>,
}

#[derive(Deserialize)]
pub(super) struct RestrictedSubjects {
    pub user: Option<SubjectListV1>,
    pub group: Option<SubjectListV1>,
}

#[derive(Deserialize)]
pub(super) struct SubjectListV1 {
    pub results: Vec<SubjectV1>,
    pub limit: Option<usize>,
    pub size: Option<usize>,
    #[serde(rename = "_links", default)]
    pub links: ResponseLinks,
}

#[derive(Deserialize)]
pub(super) struct ContentChildren {
    pub attachment: Option<AttachmentListV1>,
}

#[derive(Deserialize)]
pub(super) struct AttachmentListV1 {
    pub results: Vec<ContentV1>,
    pub limit: Option<usize>,
    #[serde(rename = "_links", default)]
    pub links: ResponseLinks,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MediaMetadata {
    pub media_type: Option<String>,
}

/// An id, which is a string in one API version and a number in the other.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawId {
    Text(String),
    Number(u64),
}

impl From<RawId> for String {
    fn from(id: RawId) -> String {
        match id {
            RawId::Text(text) => text,
            RawId::Number(number) => number.to_string(),
        }
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    RawId::deserialize(deserializer).map(Into::into)
}

fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<RawId>::deserialize(deserializer)?.map(Into::into))
}
