//! What Confluence answers, as far as it is read: the v2 API of the Cloud, and v1 of both.

use serde::{Deserialize, Deserializer};

/// One page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    pub results: Vec<T>,
    #[serde(rename = "_links", default)]
    pub links: Links,
}

/// Where to go from an answer.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub(super) struct Links {
    pub next: Option<String>,
    pub webui: Option<String>,
    pub download: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Version {
    pub number: u64,
}

#[derive(Deserialize)]
pub(super) struct Space {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub key: String,
    pub status: Option<String>,
}

impl Space {
    pub fn is_archived(&self) -> bool {
        self.status
            .as_deref()
            .is_some_and(|status| status.eq_ignore_ascii_case("archived"))
    }
}

/// A page or blog post as v2 lists them, or a folder or the like that pages are below.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub status: Option<String>,
    pub title: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub space_id: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub parent_id: Option<String>,
    pub parent_type: Option<String>,
    pub version: Option<Version>,
    #[serde(rename = "_links", default)]
    pub links: Links,
    pub body: Option<Body>,
}

#[derive(Deserialize)]
pub(super) struct Body {
    pub storage: Option<Storage>,
}

#[derive(Deserialize)]
pub(super) struct Storage {
    pub value: String,
}

/// An attachment as v2 lists them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileV2 {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub title: String,
    pub status: Option<String>,
    pub media_type: Option<String>,
    pub version: Option<Version>,
    pub download_link: Option<String>,
    pub webui_link: Option<String>,
}

/// A grant on a space, as v2 lists them.
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

/// A grant on a space, as the Data Center lists them.
#[derive(Deserialize)]
pub(super) struct GrantV1 {
    pub operation: OperationV1,
    pub subject: Option<Subject>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OperationV1 {
    pub operation_key: String,
    pub target_type: String,
}

/// A user, a group or nobody in particular.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subject {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub account_id: Option<String>,
    pub username: Option<String>,
    pub user_key: Option<String>,
    pub name: Option<String>,
    #[serde(default, deserialize_with = "maybe_id")]
    pub id: Option<String>,
}

/// Content as v1 gives it: a page, a blog post, an attachment, a comment.
#[derive(Deserialize)]
pub(super) struct ContentV1 {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub status: Option<String>,
    pub title: Option<String>,
    pub version: Option<Version>,
    pub space: Option<Space>,
    pub ancestors: Option<Vec<Ancestor>>,
    pub container: Option<Ancestor>,
    pub restrictions: Option<Operations>,
    pub children: Option<Children>,
    pub metadata: Option<Metadata>,
    pub extensions: Option<Metadata>,
    #[serde(rename = "_links", default)]
    pub links: Links,
    pub body: Option<Body>,
}

#[derive(Deserialize)]
pub(super) struct Ancestor {
    #[serde(default, deserialize_with = "maybe_id")]
    pub id: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Operations {
    pub read: Option<Operation>,
}

/// Who may do an operation; nobody is named where everybody may.
#[derive(Deserialize)]
pub(super) struct Operation {
    pub restrictions: Option<Named>,
}

#[derive(Deserialize)]
pub(super) struct Named {
    pub user: Option<Subjects>,
    pub group: Option<Subjects>,
}

#[derive(Deserialize)]
pub(super) struct Subjects {
    pub results: Vec<Subject>,
    pub limit: Option<usize>,
    pub size: Option<usize>,
    #[serde(rename = "_links", default)]
    pub links: Links,
}

#[derive(Deserialize)]
pub(super) struct Children {
    pub attachment: Option<Attached>,
}

#[derive(Deserialize)]
pub(super) struct Attached {
    pub results: Vec<ContentV1>,
    pub limit: Option<usize>,
    #[serde(rename = "_links", default)]
    pub links: Links,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub media_type: Option<String>,
}

/// Ids are texts in one version and numbers in the other.
#[derive(Deserialize)]
#[serde(untagged)]
enum Id {
    Text(String),
    Number(u64),
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        match id {
            Id::Text(text) => text,
            Id::Number(number) => number.to_string(),
        }
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Id::deserialize(deserializer).map(Into::into)
}

fn maybe_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<Id>::deserialize(deserializer)?.map(Into::into))
}
