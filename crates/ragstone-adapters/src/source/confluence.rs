//! Spaces of a Confluence, Cloud or Data Center: pages, blog posts, comments and attachments, with their readers.
//!
//! Each sync lists everything and reads every restriction again; the version number of a page decides whether its text
//! is fetched. A reader of a page must be admitted by its space, by each restricted page above it, and by its own
//! restriction.
//!
//! Invariant: a page whose readers could not be read is readable by nobody. Only current content is listed: no drafts,
//! nothing archived or in the trash.

mod access;
mod client;
mod cloud;
mod comments;
mod data_center;
mod listing;
mod storage;
mod wire;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ragstone_core::access::Reader;
use ragstone_core::seam::source::{
    DocumentSource, HiddenItems, ItemAccess, ItemContent, ListEntry, ListGap, SourceError, SourceItem,
};
use reqwest::Url;
use serde::Deserialize;

use crate::openai::ApiSecret;
use crate::source::guard::FetchGuard;
use access::ReaderNames;
use client::ConfluenceClient;
use listing::{AttachmentEntry, ContentEntry, ContentKind, ContentListing};

pub use client::{ConfluenceRetrySettings, MAX_AT_ONCE};

/// Default number of concurrent requests.
pub const AT_ONCE: usize = 4;
/// Most spaces of one source.
const MAX_SPACES: usize = 1_000;
/// Version of the rendering; raise it when pages come out differently, so that they are fetched again.
const FORM: u32 = 1;
/// Prefix of the keys of attachments.
const FILE_KEY: &str = "attachment:";
/// Prefixes of media types without text.
const NO_TEXT: [&str; 3] = ["image/", "video/", "audio/"];

/// The two products of Confluence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfluenceDeployment {
    /// Confluence Cloud, hosted by Atlassian.
    Cloud,
    /// Confluence Data Center, which is self-hosted.
    DataCenter,
}

/// Settings of a Confluence source.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfluenceSettings {
    /// Base URL, such as `https://example.atlassian.net` or `https://wiki.example.com/confluence`.
    pub url: String,
    /// The product; derived from the URL if unset.
    pub deployment: Option<ConfluenceDeployment>,
    /// Keys of the spaces to read.
    #[serde(default)]
    pub spaces: Vec<String>,
    /// CQL query that selects pages and blog posts, in place of whole spaces.
    pub cql: Option<String>,
    /// User of the token, for basic authentication; without it the token is sent as bearer.
    pub email: Option<String>,
    /// Reference to the token: `env:NAME` or `file:PATH`.
    pub token: Option<String>,
    /// Whether the comments of a page are part of its text.
    #[serde(default)]
    pub comments: bool,
    /// Whether attachments become documents.
    #[serde(default = "yes")]
    pub attachments: bool,
    /// Readers by their Confluence names: `{"group:staff": "everyone", "user:5b10ac8d": "user:ana"}`.
    #[serde(default)]
    pub readers_as: BTreeMap<String, Reader>,
    /// Readers of the spaces, for a Data Center that is too old to report them.
    pub space_readers: Option<Vec<Reader>>,
    /// Most concurrent requests, at most 16.
    #[serde(default = "at_once")]
    pub at_once: usize,
}

fn yes() -> bool {
    true
}

fn at_once() -> usize {
    AT_ONCE
}

/// How requests are authenticated.
#[derive(Debug, Clone)]
pub enum ConfluenceCredentials {
    /// Anonymous access, without credentials.
    None,
    /// Basic authentication: a name, and a token or password.
    Basic(String, ApiSecret),
    /// Bearer authentication: a personal access token or an OAuth token.
    Bearer(ApiSecret),
}

/// Lists and reads the content of one Confluence.
pub struct ConfluenceSource {
    site: ConfluenceSite,
    /// Download links of the attachments of the last list, by item key.
    links: Mutex<HashMap<String, String>>,
    /// Markers of the last sync, by item key.
    previous_markers: Mutex<BTreeMap<String, Option<String>>>,
}

/// What every request and every conversion needs.
struct ConfluenceSite {
    client: ConfluenceClient,
    settings: ConfluenceSettings,
    deployment: ConfluenceDeployment,
    names: ReaderNames,
}

impl ConfluenceSource {
    /// Creates a source; no request is sent yet. `guard` fetches files that Confluence keeps on other hosts.
    pub fn new(
        settings: ConfluenceSettings,
        token: Option<ApiSecret>,
        patience: ConfluenceRetrySettings,
        guard: FetchGuard,
    ) -> Result<Self, SourceError> {
        check_settings(&settings)?;
        let (base, deployment) = resolve_base_url(&settings)?;
        let credentials = match (token, &settings.email) {
            (None, None) => ConfluenceCredentials::None,
            (None, Some(_)) => return Err(SourceError::Refused("an e-mail needs a token".into())),
            (Some(token), Some(email)) => ConfluenceCredentials::Basic(email.clone(), token),
            (Some(token), None) => ConfluenceCredentials::Bearer(token),
        };
        let names = ReaderNames {
            by_id: deployment == ConfluenceDeployment::Cloud,
            readers_as: settings.readers_as.clone(),
        };
        let client = ConfluenceClient::new(base, credentials, settings.at_once, patience, guard)?;
        let site = ConfluenceSite {
            client,
            settings,
            deployment,
            names,
        };
        Ok(Self {
            site,
            links: Mutex::default(),
            previous_markers: Mutex::default(),
        })
    }

    async fn list_entries(&self) -> Result<Vec<ListEntry>, SourceError> {
        let listing = match self.site.deployment {
            ConfluenceDeployment::Cloud => cloud::list_content(&self.site).await?,
            ConfluenceDeployment::DataCenter => data_center::list_content(&self.site).await?,
        };
        let (mut items, mut links) = (Vec::new(), HashMap::new());
        for entry in &listing.entries {
            let access = listing.entry_access(entry);
            items.push(self.page_item(entry, &listing, access.clone()));
            for file in listing
                .files
                .get(&entry.id)
                .into_iter()
                .flatten()
                .filter(|file| has_text(file))
            {
                let item = self.attachment_item(entry, file, access.clone());
                links.insert(item.key.clone(), file.link.clone());
                items.push(item);
            }
        }
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = links;
        let unlisted = listing.unlisted_files.into_iter();
        let gaps = unlisted.map(|(page, error)| ListEntry::Gap(self.attachment_gap(&page, error)));
        Ok(items.into_iter().map(ListEntry::Item).chain(gaps).collect())
    }

    /// The gap for a page whose attachments could not be listed. It hides the attachments of the last sync that belong
    /// to the page, and those whose page is not known.
    fn attachment_gap(&self, page: &str, error: SourceError) -> ListGap {
        let hangs_on = |marker: &Option<String>| {
            let at = marker.as_deref().and_then(|marker| marker.split_once(':'));
            at.is_none_or(|(known, _)| known == page)
        };
        let recalled = self.previous_markers.lock().unwrap_or_else(PoisonError::into_inner);
        let files = recalled.iter().filter(|(key, _)| key.starts_with(FILE_KEY));
        let hidden = files.filter(|(_, marker)| hangs_on(marker)).map(|(key, _)| key.clone());
        ListGap {
            uri: format!("{}#attachments", self.site.page_uri(page)),
            error,
            hides: HiddenItems::Keys(hidden.collect()),
        }
    }

    fn page_item(&self, entry: &ContentEntry, listing: &ContentListing, access: ItemAccess) -> SourceItem {
        let talk = listing.comments.get(&entry.id).map_or("", String::as_str);
        SourceItem {
            key: format!("{}:{}", entry.kind.key_prefix(), entry.id),
            uri: self.site.page_uri(&entry.id),
            name: format!("{}.md", entry.id),
            title: Some(entry.title.clone()).filter(|title| !title.is_empty()),
            source_url: entry.webui.as_ref().map(|link| self.site.absolute_link(link)),
            marker: Some(format!("{FORM}:{}:{talk}", entry.version)),
            access,
        }
    }

    fn attachment_item(&self, entry: &ContentEntry, file: &AttachmentEntry, access: ItemAccess) -> SourceItem {
        SourceItem {
            key: format!("{FILE_KEY}{}", file.id),
            uri: format!("{}#attachment={}", self.site.page_uri(&entry.id), file.id),
            name: file.title.clone(),
            title: None,
            source_url: file.webui.as_ref().map(|link| self.site.absolute_link(link)),
            marker: Some(format!("{}:{}", entry.id, file.version)),
            access,
        }
    }

    /// Download link of an attachment of the last list.
    fn attachment_link(&self, key: &str) -> Option<String> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(key).cloned()
    }

    async fn fetch_text(&self, kind: ContentKind, id: &str) -> Result<String, SourceError> {
        let site = &self.site;
        let (storage, status) = match site.deployment {
            ConfluenceDeployment::Cloud => cloud::fetch_body(site, kind, id).await?,
            ConfluenceDeployment::DataCenter => data_center::fetch_body(site, id).await?,
        };
        if status.is_some_and(|status| status != "current") {
            return Err(SourceError::Gone(format!("page {id}")));
        }
        let broken = |error: storage::StorageFormatError| SourceError::Refused(format!("page {id}: {error}"));
        let mut text = storage::to_markdown(&storage).map_err(broken)?;
        if site.settings.comments {
            text.push_str(&comments::fetch_comment_text(site, id).await?);
        }
        Ok(text)
    }
}

#[async_trait]
impl DocumentSource for ConfluenceSource {
    fn set_known_markers(&self, markers: BTreeMap<String, Option<String>>) {
        *self.previous_markers.lock().unwrap_or_else(PoisonError::into_inner) = markers;
    }

    fn list_items(&self) -> BoxStream<'_, Result<ListEntry, SourceError>> {
        let listed = futures::stream::once(self.list_entries());
        let one_by_one = |listed: Result<Vec<ListEntry>, SourceError>| match listed {
            Ok(items) => futures::stream::iter(items).map(Ok).boxed(),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        };
        listed.flat_map(one_by_one).boxed()
    }

    async fn fetch_item(&self, item: &SourceItem) -> Result<ItemContent, SourceError> {
        let gone = || SourceError::Gone(item.key.clone());
        let (kind, id) = item.key.split_once(':').ok_or_else(gone)?;
        let Some(kind) = ContentKind::from_name(kind) else {
            let link = self.attachment_link(&item.key).ok_or_else(gone)?;
            return self.site.client.download_file(&link, &item.name).await;
        };
        let text = self.fetch_text(kind, id).await?;
        Ok(ItemContent {
            media_type: Some("text/markdown".into()),
            bytes: futures::stream::iter([Ok(Bytes::from(text))]).boxed(),
        })
    }

    fn max_concurrent_fetches(&self) -> usize {
        self.site.at_once()
    }
}

impl ConfluenceSite {
    fn at_once(&self) -> usize {
        self.settings.at_once.clamp(1, MAX_AT_ONCE)
    }

    /// URI of a page, which changes neither with its title nor with its place.
    fn page_uri(&self, id: &str) -> String {
        format!("{}/pages/viewpage.action?pageId={id}", self.client.base_url())
    }

    fn absolute_link(&self, link: &str) -> String {
        match link.starts_with('/') {
            true => format!("{}{link}", self.client.base_url()),
            false => link.to_owned(),
        }
    }
}

fn has_text(file: &AttachmentEntry) -> bool {
    let media = file.media_type.as_deref().unwrap_or_default();
    !NO_TEXT.iter().any(|kind| media.starts_with(kind))
}

fn check_settings(settings: &ConfluenceSettings) -> Result<(), SourceError> {
    let refused = |why: String| Err(SourceError::Refused(why));
    if settings.spaces.is_empty() == settings.cql.is_none() {
        return refused("either spaces or cql are named".into());
    }
    if settings.spaces.len() > MAX_SPACES {
        return refused(format!("at most {MAX_SPACES} spaces are named"));
    }
    let is_key = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || "~_-.:@".contains(c));
    if let Some(key) = settings.spaces.iter().find(|key| !is_key(key)) {
        return refused(format!("{key:?} is no key of a space"));
    }
    if !(1..=MAX_AT_ONCE).contains(&settings.at_once) {
        return refused(format!("at_once is 1 to {MAX_AT_ONCE}"));
    }
    Ok(())
}

/// Base URL of the API, and the product.
fn resolve_base_url(settings: &ConfluenceSettings) -> Result<(Url, ConfluenceDeployment), SourceError> {
    let refused = |why: &str| SourceError::Refused(format!("the url {why}"));
    let mut url = Url::parse(&settings.url).map_err(|error| refused(&format!("is none: {error}")))?;
    let host = url.host_str().unwrap_or_default().to_owned();
    if !matches!(url.scheme(), "http" | "https") || host.is_empty() {
        return Err(refused("begins with https:// or http://"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err(refused("carries no name, password or query"));
    }
    let theirs = host.ends_with(".atlassian.net") || host == "api.atlassian.com";
    let deployment = settings.deployment.unwrap_or(match theirs {
        true => ConfluenceDeployment::Cloud,
        false => ConfluenceDeployment::DataCenter,
    });
    let path = url.path().trim_end_matches('/').to_owned();
    let path = match deployment == ConfluenceDeployment::Cloud && !path.ends_with("/wiki") {
        true => format!("{path}/wiki"),
        false => path,
    };
    url.set_path(&path);
    url.set_fragment(None);
    Ok((url, deployment))
}

/// Runs `ask` for each id, at most `at_once` at a time; the results come in no particular order.
async fn fetch_each<T, F: Future<Output = T>>(at_once: usize, ids: Vec<String>, ask: impl Fn(String) -> F) -> Vec<T> {
    futures::stream::iter(ids)
        .map(ask)
        .buffer_unordered(at_once)
        .collect()
        .await
}
