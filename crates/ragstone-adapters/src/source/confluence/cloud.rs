//! Confluence Cloud: pages, spaces and grants by API v2; searches and restrictions by v1, which alone has them.

use std::collections::BTreeMap;

use ragstone_core::seam::source::SourceError;

use super::access::{PageNode, ParentRef};
use super::listing::{
    ALONG, AttachmentEntry, ContentEntry, ContentKind, ContentListing, EXPANDED_AT_ONCE, version_number,
};
use super::wire::{AttachmentV2, ConfluenceSpace, ContentV1, GrantV2, ListResponse, PageV2};
use super::{ConfluenceSite, comments};

/// Results per page of a plain list, the most that the API returns.
const AT_ONCE: &str = "250";
/// Most ids in one request.
const IDS_AT_ONCE: usize = 100;

/// Lists everything that the settings select.
pub(super) async fn list_content(site: &ConfluenceSite) -> Result<ContentListing, SourceError> {
    let mut listing = ContentListing::default();
    let spaces = match &site.settings.cql {
        Some(cql) => list_search_results(site, &mut listing, cql).await?,
        None => list_spaces(site, &mut listing).await?,
    };
    for (key, id) in &spaces {
        let path = format!("/api/v2/spaces/{id}/permissions");
        let what = format!("the permissions of the space {key}");
        let grants = site
            .client
            .list_results::<GrantV2>(&path, &[("limit", AT_ONCE)], &what)
            .await;
        let readers = grants.map(|grants| site.names.readers_from_grants_v2(&grants));
        listing.spaces.insert(key.clone(), readers);
        comments::record_comments(site, &mut listing, key).await?;
    }
    listing
        .complete_files(site, |kind, id| list_attachments(site, kind, id))
        .await?;
    listing
        .tree
        .fetch_missing(site, |thing| fetch_parent(site, thing))
        .await;
    Ok(listing)
}

/// Fetches the body of a page in storage format, and its status.
pub(super) async fn fetch_body(
    site: &ConfluenceSite,
    kind: ContentKind,
    id: &str,
) -> Result<(String, Option<String>), SourceError> {
    let path = format!("/api/v2/{}s/{id}", kind.api_name());
    let what = format!("{} {id}", kind.api_name());
    let page: PageV2 = site
        .client
        .get_json(&path, &[("body-format", "storage")], &what)
        .await?;
    let body = page.body.and_then(|body| body.storage).map(|storage| storage.value);
    let untold = || SourceError::Broken(format!("the body of {what} was not told"));
    Ok((body.ok_or_else(untold)?, page.status))
}

/// Lists the content of whole spaces; returns the ids of the spaces by their keys.
async fn list_spaces(
    site: &ConfluenceSite,
    listing: &mut ContentListing,
) -> Result<BTreeMap<String, String>, SourceError> {
    let mut spaces = BTreeMap::new();
    for key in &site.settings.spaces {
        let what = format!("the space {key}");
        let found: ListResponse<ConfluenceSpace> =
            site.client.get_json("/api/v2/spaces", &[("keys", key)], &what).await?;
        let space = found.results.into_iter().find(|space| space.key == *key);
        let missing = || SourceError::Refused(format!("there is no space {key}, or the account may not see it"));
        let space = space.ok_or_else(missing)?;
        if space.is_archived() {
            continue;
        }
        for kind in ContentKind::ALL {
            let path = format!("/api/v2/spaces/{}/{}s", space.id, kind.api_name());
            let query = [("status", "current"), ("limit", AT_ONCE)];
            for page in site.client.list_results::<PageV2>(&path, &query, &what).await? {
                add_page(listing, page, kind, key);
            }
        }
        let cql = format!("space = \"{key}\" and type in (page, blogpost)");
        for content in search_content(site, &cql, ALONG, &what).await? {
            listing.record_content(content, &site.names);
        }
        spaces.insert(key.clone(), space.id);
    }
    Ok(spaces)
}

/// Lists what a search finds; returns the ids of the spaces by their keys.
async fn list_search_results(
    site: &ConfluenceSite,
    listing: &mut ContentListing,
    cql: &str,
) -> Result<BTreeMap<String, String>, SourceError> {
    let (cql, expand) = (
        format!("({cql}) and type in (page, blogpost)"),
        format!("space,{ALONG}"),
    );
    let contents = search_content(site, &cql, &expand, "what the CQL finds").await?;
    let spaces = contents.iter().filter_map(|content| content.space.as_ref());
    let spaces: BTreeMap<String, String> = spaces
        .filter(|space| !space.is_archived())
        .map(|space| (space.id.clone(), space.key.clone()))
        .collect();
    for kind in ContentKind::ALL {
        let ids: Vec<&str> = contents
            .iter()
            .filter(|content| content.kind == kind.api_name())
            .map(|content| content.id.as_str())
            .collect();
        for ids in ids.chunks(IDS_AT_ONCE) {
            let path = format!("/api/v2/{}s", kind.api_name());
            let mut query = vec![("status", "current"), ("limit", AT_ONCE)];
            query.extend(ids.iter().map(|id| ("id", *id)));
            for page in site
                .client
                .list_results::<PageV2>(&path, &query, "what the CQL finds")
                .await?
            {
                let space = page.space_id.as_ref().and_then(|id| spaces.get(id)).cloned();
                if let Some(space) = space {
                    add_page(listing, page, kind, &space);
                }
            }
        }
    }
    for content in contents {
        listing.record_content(content, &site.names);
    }
    Ok(spaces.into_iter().map(|(id, key)| (key, id)).collect())
}

async fn search_content(
    site: &ConfluenceSite,
    cql: &str,
    expand: &str,
    what: &str,
) -> Result<Vec<ContentV1>, SourceError> {
    let query = [("cql", cql), ("expand", expand), ("limit", EXPANDED_AT_ONCE)];
    site.client.list_results("/rest/api/content/search", &query, what).await
}

/// Adds a page to the list, if it is current.
fn add_page(listing: &mut ContentListing, page: PageV2, kind: ContentKind, space: &str) {
    if page.status.as_deref().is_some_and(|status| status != "current") {
        return;
    }
    let node = PageNode {
        parent: Ok(page_parent(&page)),
        restriction: None,
    };
    listing.tree.add_node(&page.id, node);
    listing.entries.push(ContentEntry {
        kind,
        space: space.to_owned(),
        title: page.title.unwrap_or_default(),
        version: version_number(page.version),
        webui: page.links.webui,
        id: page.id,
    });
}

fn page_parent(page: &PageV2) -> Option<ParentRef> {
    let kind = page.parent_type.as_deref().unwrap_or("page");
    let id = page.parent_id.clone().filter(|_| kind != "space")?;
    Some(ParentRef {
        id,
        kind: kind.to_lowercase(),
    })
}

/// Fetches the parent of content that is not listed.
async fn fetch_parent(site: &ConfluenceSite, thing: ParentRef) -> Result<Option<ParentRef>, SourceError> {
    let plural = match thing.kind.as_str() {
        kind @ ("page" | "folder" | "whiteboard" | "database" | "embed") => format!("{kind}s"),
        other => {
            let why = format!("who may read what is below a {other} is not known");
            return Err(SourceError::Broken(why));
        }
    };
    let (path, what) = (
        format!("/api/v2/{plural}/{}", thing.id),
        format!("the {} {}", thing.kind, thing.id),
    );
    let page: PageV2 = site.client.get_json(&path, &[], &what).await?;
    Ok(page_parent(&page))
}

/// Fetches the attachments of one page.
async fn list_attachments(
    site: &ConfluenceSite,
    kind: ContentKind,
    id: String,
) -> Result<Vec<AttachmentEntry>, SourceError> {
    let path = format!("/api/v2/{}s/{id}/attachments", kind.api_name());
    let what = format!("the attachments of {} {id}", kind.api_name());
    let query = [("status", "current"), ("limit", AT_ONCE)];
    let files = site.client.list_results::<AttachmentV2>(&path, &query, &what).await?;
    let current = files
        .into_iter()
        .filter(|file| file.status.as_deref().is_none_or(|status| status == "current"));
    let file = |file: AttachmentV2| {
        Some(AttachmentEntry {
            link: file.download_link?,
            id: file.id,
            title: file.title,
            version: version_number(file.version),
            media_type: file.media_type,
            webui: file.webui_link,
        })
    };
    Ok(current.filter_map(file).collect())
}
