//! Everything in a Confluence that its source selects.

use std::collections::{BTreeMap, HashMap};

use ragstone_core::access::ReaderSet;
use ragstone_core::seam::source::{ItemAccess, SourceError};

use super::access::{PageTree, ReaderNames};
use super::wire::{AttachmentListV1, ContentV1, ContentVersion};
use super::{ConfluenceSite, fetch_each};

/// What is expanded along with content of v1: its restriction and its attachments.
pub(super) const ALONG: &str = "restrictions.read.restrictions.user,restrictions.read.restrictions.group,\
                                children.attachment.version";
/// Results per page of a list with expansions.
pub(super) const EXPANDED_AT_ONCE: &str = "100";

/// A page or a blog post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContentKind {
    Page,
    Blog,
}

impl ContentKind {
    pub const ALL: [Self; 2] = [Self::Page, Self::Blog];

    /// Prefix of the item keys of this kind.
    pub fn key_prefix(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Blog => "blog",
        }
    }

    /// Name of this kind in Confluence's API.
    pub fn api_name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Blog => "blogpost",
        }
    }

    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.key_prefix() == word || kind.api_name() == word)
    }
}

/// One page or blog post.
pub(super) struct ContentEntry {
    pub id: String,
    pub kind: ContentKind,
    /// Key of the space that it is in.
    pub space: String,
    pub title: String,
    pub version: u64,
    pub webui: Option<String>,
}

/// An attachment of a page or blog post.
pub(super) struct AttachmentEntry {
    pub id: String,
    pub title: String,
    pub version: u64,
    pub media_type: Option<String>,
    pub link: String,
    pub webui: Option<String>,
}

/// Listed content, with what decides who may read it.
#[derive(Default)]
pub(super) struct ContentListing {
    pub entries: Vec<ContentEntry>,
    /// Readers of each space, by the space's key.
    pub spaces: BTreeMap<String, Result<ReaderSet, SourceError>>,
    pub tree: PageTree,
    /// Attachments by page id, where the list is complete.
    pub files: HashMap<String, Vec<AttachmentEntry>>,
    /// Pages whose attachments could not be listed, and why.
    pub unlisted_files: Vec<(String, SourceError)>,
    /// Digest of each page's comments, by page id.
    pub comments: HashMap<String, String>,
}

impl ContentListing {
    /// Who may read an entry and its attachments.
    pub fn entry_access(&self, entry: &ContentEntry) -> ItemAccess {
        let unknown = || SourceError::Broken(format!("who may read the space {} is not known", entry.space));
        let space = self.spaces.get(&entry.space).cloned().ok_or_else(unknown).flatten();
        let sets = space.and_then(|space| {
            let mut sets = vec![space];
            sets.extend(self.tree.restricting_reader_sets(&entry.id)?);
            Ok(sets)
        });
        match sets {
            Ok(sets) => ItemAccess::Sets(sets),
            Err(error) => ItemAccess::Unknown(error),
        }
    }

    /// Records what v1 returns along with a page: its restriction, and its attachments if all of them were returned.
    pub fn record_content(&mut self, content: ContentV1, names: &ReaderNames) {
        let read = content
            .restrictions
            .as_ref()
            .and_then(|operations| operations.read.as_ref());
        self.tree.record_restriction(&content.id, read, names);
        if let Some(files) = all_attachments(content.children.and_then(|children| children.attachment)) {
            self.files.insert(content.id, files);
        }
    }

    /// Fetches the attachments that are not known yet, if they are enabled. A page whose attachments cannot be listed
    /// loses only these; refused credentials fail the whole listing.
    pub async fn complete_files<F>(
        &mut self,
        site: &ConfluenceSite,
        ask: impl Fn(ContentKind, String) -> F,
    ) -> Result<(), SourceError>
    where
        F: Future<Output = Result<Vec<AttachmentEntry>, SourceError>>,
    {
        if !site.settings.attachments {
            self.files.clear();
            return Ok(());
        }
        let missing = self.entries.iter().filter(|entry| !self.files.contains_key(&entry.id));
        let missing: HashMap<String, ContentKind> = missing.map(|entry| (entry.id.clone(), entry.kind)).collect();
        let named = |id: String| {
            let asked = ask(missing[&id], id.clone());
            async move { (id, asked.await) }
        };
        for (id, files) in fetch_each(site.at_once(), missing.keys().cloned().collect(), named).await {
            match files {
                Ok(files) => drop(self.files.insert(id, files)),
                // The page itself was deleted in the meantime.
                Err(SourceError::Gone(_)) => {}
                Err(error) if site.client.is_signed_out() => return Err(error),
                Err(error) => self.unlisted_files.push((id, error)),
            }
        }
        self.unlisted_files.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(())
    }
}

/// Attachments that came along with their page, if all of them did.
fn all_attachments(attached: Option<AttachmentListV1>) -> Option<Vec<AttachmentEntry>> {
    let attached = attached?;
    let is_full = attached.limit.is_some_and(|limit| attached.results.len() >= limit);
    if is_full || attached.links.next.is_some() {
        return None;
    }
    Some(attached.results.into_iter().filter_map(current_attachment).collect())
}

/// Converts an attachment of v1; `None` if it is not current or has no download link.
pub(super) fn current_attachment(content: ContentV1) -> Option<AttachmentEntry> {
    let is_current = content.status.as_deref().is_none_or(|status| status == "current");
    let media = [content.metadata, content.extensions];
    Some(AttachmentEntry {
        link: content.links.download.filter(|_| is_current)?,
        title: content.title.unwrap_or_else(|| content.id.clone()),
        version: version_number(content.version),
        media_type: media.into_iter().flatten().find_map(|media| media.media_type),
        webui: content.links.webui,
        id: content.id,
    })
}

pub(super) fn version_number(version: Option<ContentVersion>) -> u64 {
    version.map_or(0, |version| version.number)
}
