//! Confluence Data Center: API v1, with numeric offsets in lists (`start`, `limit`).

use ragstone_core::seam::source::SourceError;

use super::access::{PageNode, ParentRef};
use super::listing::{
    ALONG, AttachmentEntry, ContentEntry, ContentKind, ContentListing, EXPANDED_AT_ONCE, current_attachment,
};
use super::wire::{ConfluenceSpace, ContentRefV1, ContentV1, GrantV1};
use super::{ConfluenceSite, comments};

/// Lists everything that the settings select.
pub(super) async fn list_content(site: &ConfluenceSite) -> Result<ContentListing, SourceError> {
    let mut listing = ContentListing::default();
    let spaces = match &site.settings.cql {
        Some(cql) => list_search_results(site, &mut listing, cql).await?,
        None => list_spaces(site, &mut listing).await?,
    };
    for key in &spaces {
        let readers = match &site.settings.space_readers {
            Some(readers) => Ok(readers.iter().cloned().collect()),
            None => fetch_grants(site, key)
                .await
                .map(|grants| site.names.readers_from_grants_v1(&grants)),
        };
        listing.spaces.insert(key.clone(), readers);
        comments::record_comments(site, &mut listing, key).await?;
    }
    listing.complete_files(site, |_, id| list_attachments(site, id)).await?;
    // Ancestors come with each page, so nothing above the listed pages is missing.
    listing.tree.fetch_missing(site, |_| async { Ok(None) }).await;
    Ok(listing)
}

/// Fetches the body of a page or blog post in storage format, and its status.
pub(super) async fn fetch_body(site: &ConfluenceSite, id: &str) -> Result<(String, Option<String>), SourceError> {
    let (path, what) = (format!("/rest/api/content/{id}"), format!("page {id}"));
    let content: ContentV1 = site
        .client
        .get_json(&path, &[("expand", "body.storage")], &what)
        .await?;
    let body = content.body.and_then(|body| body.storage).map(|storage| storage.value);
    let untold = || SourceError::Broken(format!("the body of {what} was not told"));
    Ok((body.ok_or_else(untold)?, content.status))
}

/// Lists the content of whole spaces; returns their keys.
async fn list_spaces(site: &ConfluenceSite, listing: &mut ContentListing) -> Result<Vec<String>, SourceError> {
    let mut keys = Vec::new();
    for key in &site.settings.spaces {
        let what = format!("the space {key}");
        let space = site
            .client
            .get_json::<ConfluenceSpace>(&format!("/rest/api/space/{key}"), &[], &what)
            .await;
        let space = space.map_err(|error| match error {
            SourceError::Gone(_) => {
                SourceError::Refused(format!("there is no space {key}, or the account may not see it"))
            }
            other => other,
        })?;
        if space.is_archived() {
            continue;
        }
        let expand = format!("version,ancestors,{ALONG}");
        for kind in ContentKind::ALL {
            let query = [
                ("spaceKey", key.as_str()),
                ("type", kind.api_name()),
                ("status", "current"),
                ("expand", &expand),
                ("start", "0"),
                ("limit", EXPANDED_AT_ONCE),
            ];
            for content in site
                .client
                .list_results::<ContentV1>("/rest/api/content", &query, &what)
                .await?
            {
                add_page(site, listing, content, key)?;
            }
        }
        keys.push(key.clone());
    }
    Ok(keys)
}

/// Lists what a search finds; returns the keys of the spaces.
async fn list_search_results(
    site: &ConfluenceSite,
    listing: &mut ContentListing,
    cql: &str,
) -> Result<Vec<String>, SourceError> {
    let (cql, expand) = (
        format!("({cql}) and type in (page, blogpost)"),
        format!("space,version,ancestors,{ALONG}"),
    );
    let query = [
        ("cql", cql.as_str()),
        ("expand", &expand),
        ("start", "0"),
        ("limit", EXPANDED_AT_ONCE),
    ];
    let contents = site
        .client
        .list_results::<ContentV1>("/rest/api/content/search", &query, "what the CQL finds")
        .await?;
    let mut keys = Vec::new();
    for content in contents {
        let Some(space) = content.space.as_ref().filter(|space| !space.is_archived()) else {
            continue;
        };
        let key = space.key.clone();
        add_page(site, listing, content, &key)?;
        keys.push(key);
    }
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

async fn fetch_grants(site: &ConfluenceSite, key: &str) -> Result<Vec<GrantV1>, SourceError> {
    let what = format!("the permissions of the space {key}");
    let granted = site
        .client
        .get_json(&format!("/rest/api/space/{key}/permissions"), &[], &what)
        .await;
    granted.map_err(|error| match error {
        SourceError::Gone(_) => SourceError::Refused(format!(
            "{what} are not told: versions before 9 have no such call, so name space_readers in the settings"
        )),
        other => other,
    })
}

/// Adds a page, with the pages above it, if it is current.
fn add_page(
    site: &ConfluenceSite,
    listing: &mut ContentListing,
    content: ContentV1,
    space: &str,
) -> Result<(), SourceError> {
    let Some(kind) = ContentKind::from_name(&content.kind) else {
        return Ok(());
    };
    if content.status.as_deref().is_some_and(|status| status != "current") {
        return Ok(());
    }
    // The last ancestor is the one directly above the page; a blog post has none.
    let ancestors = match (kind, &content.ancestors) {
        (ContentKind::Page, None) => Err(SourceError::Broken(format!(
            "what page {} is below was not told",
            content.id
        ))),
        (_, ancestors) => Ok(ancestors.as_deref().unwrap_or_default()),
    };
    let parent = ancestors.and_then(|ancestors| add_ancestors(listing, ancestors));
    let own = None;
    listing.tree.add_node(
        &content.id,
        PageNode {
            parent,
            restriction: own,
        },
    );
    listing.entries.push(ContentEntry {
        id: content.id.clone(),
        kind,
        space: space.to_owned(),
        title: content.title.clone().unwrap_or_default(),
        version: content.version.as_ref().map_or(0, |version| version.number),
        webui: content.links.webui.clone(),
    });
    listing.record_content(content, &site.names);
    Ok(())
}

/// Adds ancestors to the tree that are not in it yet; returns the last of them.
fn add_ancestors(listing: &mut ContentListing, ancestors: &[ContentRefV1]) -> Result<Option<ParentRef>, SourceError> {
    let mut above = None;
    for ancestor in ancestors {
        let nameless = || SourceError::Broken("an ancestor has no id".into());
        let id = ancestor.id.clone().ok_or_else(nameless)?;
        if !listing.tree.contains(&id) {
            let (parent, own) = (Ok(above), None);
            listing.tree.add_node(
                &id,
                PageNode {
                    parent,
                    restriction: own,
                },
            );
        }
        above = Some(ParentRef {
            id,
            kind: "page".into(),
        });
    }
    Ok(above)
}

/// Fetches the attachments of one page.
async fn list_attachments(site: &ConfluenceSite, id: String) -> Result<Vec<AttachmentEntry>, SourceError> {
    let path = format!("/rest/api/content/{id}/child/attachment");
    let query = [("expand", "version"), ("start", "0"), ("limit", EXPANDED_AT_ONCE)];
    let what = format!("the attachments of page {id}");
    let files = site.client.list_results::<ContentV1>(&path, &query, &what).await?;
    Ok(files.into_iter().filter_map(current_attachment).collect())
}
