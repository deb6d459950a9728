//! Comments of pages, if enabled: part of a page's text and of the marker that shows whether it changed.

use std::collections::{BTreeSet, HashMap};

use ragstone_core::seam::source::SourceError;

use super::listing::{ContentListing, EXPANDED_AT_ONCE, version_number};
use super::wire::ContentV1;
use super::{ConfluenceSite, storage};

/// Hex digits of the digest of the state of a page's comments.
const DIGEST: usize = 16;

/// Records the current state of the comments in a space.
pub(super) async fn record_comments(
    site: &ConfluenceSite,
    listing: &mut ContentListing,
    space: &str,
) -> Result<(), SourceError> {
    if !site.settings.comments {
        return Ok(());
    }
    let cql = format!("space = \"{space}\" and type = comment");
    let mut seen: HashMap<String, BTreeSet<(String, u64)>> = HashMap::new();
    for comment in search_content(
        site,
        &cql,
        "version,container",
        &format!("the comments of the space {space}"),
    )
    .await?
    {
        let Some(page) = comment.container.and_then(|container| container.id) else {
            continue;
        };
        seen.entry(page)
            .or_default()
            .insert((comment.id, version_number(comment.version)));
    }
    for (page, comments) in seen {
        let state = format!("{comments:?}");
        let digest = blake3::hash(state.as_bytes()).to_hex()[..DIGEST].to_owned();
        listing.comments.insert(page, digest);
    }
    Ok(())
}

/// Fetches the comments of a page, to be appended to its text; empty if there are none.
pub(super) async fn fetch_comment_text(site: &ConfluenceSite, page: &str) -> Result<String, SourceError> {
    let cql = format!("container = {page} and type = comment order by created");
    let what = format!("the comments of page {page}");
    let mut text = String::new();
    for comment in search_content(site, &cql, "body.storage", &what).await? {
        let body = comment.body.and_then(|body| body.storage);
        let Some(body) = body else { continue };
        // A comment that cannot be read is skipped, so that its page is not lost.
        let words = storage::to_markdown(&body.value).unwrap_or_default();
        if words.is_empty() {
            continue;
        }
        text.push_str(if text.is_empty() { "\n\n## Comments\n\n" } else { "\n\n" });
        text.push_str(&words);
    }
    Ok(text)
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
