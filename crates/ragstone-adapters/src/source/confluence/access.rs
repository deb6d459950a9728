//! Readers of a page: those of its space who are also admitted by each restricted page above it and by the page itself.
//!
//! Invariant: what is unknown admits nobody. A restriction that names only unknown users and groups admits nobody.

use std::collections::{BTreeMap, HashMap};

use ragstone_core::access::{Reader, ReaderSet};
use ragstone_core::seam::source::SourceError;

use super::wire::{GrantV1, GrantV2, OperationRestriction, RestrictedSubjects, SubjectListV1, SubjectV1};
use super::{ConfluenceSite, fetch_each};

/// Most pages above one another; more is a cycle.
const MAX_HEIGHT: usize = 1_000;
/// Users or groups of a restriction that are requested at once.
const NAMES_AT_ONCE: usize = 100;
/// Most users or groups of one restriction; those beyond are not admitted.
const MAX_NAMES: usize = 100_000;

/// Maps Confluence's users and groups to readers.
pub(super) struct ReaderNames {
    /// Whether groups are identified by id, as in the Cloud, where some answers do not contain their names.
    pub by_id: bool,
    /// Readers from the settings, by the names that they replace, such as `group:staff`.
    pub readers_as: BTreeMap<String, Reader>,
}

impl ReaderNames {
    fn resolve_reader(&self, name: String) -> Option<Reader> {
        match self.readers_as.get(&name) {
            Some(reader) => Some(reader.clone()),
            None => name.parse().ok(),
        }
    }

    fn user_reader(&self, user: &SubjectV1) -> Option<Reader> {
        let id = user
            .account_id
            .as_ref()
            .or(user.username.as_ref())
            .or(user.user_key.as_ref())?;
        self.resolve_reader(format!("user:{id}"))
    }

    fn group_reader(&self, group: &SubjectV1) -> Option<Reader> {
        let id = match self.by_id {
            true => group.id.as_ref(),
            false => group.name.as_ref(),
        };
        self.resolve_reader(format!("group:{}", id?))
    }

    /// Readers of a space of the Cloud, from its grants.
    pub fn readers_from_grants_v2(&self, grants: &[GrantV2]) -> ReaderSet {
        let reads = |grant: &&GrantV2| grant.operation.key == "read" && grant.operation.target_type == "space";
        let readers = grants.iter().filter(reads).filter_map(|grant| {
            let principal = grant.principal.as_ref()?;
            match principal.kind.to_lowercase().as_str() {
                kind @ ("user" | "group") => self.resolve_reader(format!("{kind}:{}", principal.id)),
                _ => None,
            }
        });
        readers.collect()
    }

    /// Readers of a space of a Data Center, from its grants.
    pub fn readers_from_grants_v1(&self, grants: &[GrantV1]) -> ReaderSet {
        let reads =
            |grant: &&GrantV1| grant.operation.operation_key == "read" && grant.operation.target_type == "space";
        let readers = grants.iter().filter(reads).filter_map(|grant| {
            let subject = grant.subject.as_ref()?;
            match subject.kind.as_deref() {
                Some("group") => self.group_reader(subject),
                Some("user" | "known") => self.user_reader(subject),
                Some("anonymous") => Some(Reader::everyone()),
                _ => None,
            }
        });
        readers.collect()
    }
}

/// Readers that a page's own restriction admits; `None` if it has no restriction.
pub(super) type PageRestriction = Option<ReaderSet>;

/// A page, or something else that pages can be below.
pub(super) struct PageNode {
    pub parent: Result<Option<ParentRef>, SourceError>,
    /// `None` if it was not requested yet.
    pub restriction: Option<Result<PageRestriction, SourceError>>,
}

/// What a page is directly below.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ParentRef {
    pub id: String,
    /// Content type, such as `page` or `folder`.
    pub kind: String,
}

/// All pages, with everything that they are below.
#[derive(Default)]
pub(super) struct PageTree {
    nodes: HashMap<String, PageNode>,
}

impl PageTree {
    pub fn add_node(&mut self, id: &str, node: PageNode) {
        self.nodes.insert(id.to_owned(), node);
    }

    pub fn contains(&self, id: &str) -> bool {
        self.nodes.contains_key(id)
    }

    /// Records a restriction that came with another answer, if it is complete.
    pub fn record_restriction(&mut self, id: &str, read: Option<&OperationRestriction>, names: &ReaderNames) {
        let own = read.and_then(|read| complete_restriction(read.restrictions.as_ref()?, names));
        if let (Some(node), Some(own)) = (self.nodes.get_mut(id), own) {
            node.restriction = Some(Ok(own));
        }
    }

    /// Fetches what is not known yet: first what listed content is below, then restrictions one by one. `parent`
    /// fetches the parent of a node.
    pub async fn fetch_missing<F>(&mut self, site: &ConfluenceSite, parent: impl Fn(ParentRef) -> F)
    where
        F: Future<Output = Result<Option<ParentRef>, SourceError>>,
    {
        for _ in 0..MAX_HEIGHT {
            let above = self
                .nodes
                .values()
                .filter_map(|node| node.parent.as_ref().ok()?.as_ref());
            let missing: BTreeMap<String, String> = above
                .filter(|above| !self.nodes.contains_key(&above.id))
                .map(|above| (above.id.clone(), above.kind.clone()))
                .collect();
            if missing.is_empty() {
                break;
            }
            let ask = |id: String| {
                let kind = missing[&id].clone();
                let asked = parent(ParentRef { id: id.clone(), kind });
                async move { (id, asked.await) }
            };
            for (id, parent) in fetch_each(site.at_once(), missing.keys().cloned().collect(), ask).await {
                self.nodes.insert(
                    id,
                    PageNode {
                        parent,
                        restriction: None,
                    },
                );
            }
        }
        let unasked = self.nodes.iter().filter(|(_, node)| node.restriction.is_none());
        let unasked = unasked.map(|(id, _)| id.clone()).collect();
        let ask = |id: String| async move {
            let own = fetch_restriction(site, &id).await;
            (id, own)
        };
        for (id, own) in fetch_each(site.at_once(), unasked, ask).await {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.restriction = Some(own);
            }
        }
    }

    /// One reader set for each restricted page from the top of the tree down to this page.
    pub fn restricting_reader_sets(&self, id: &str) -> Result<Vec<ReaderSet>, SourceError> {
        let (mut sets, mut at) = (Vec::new(), Some(id.to_owned()));
        for _ in 0..MAX_HEIGHT {
            let Some(id) = at else {
                sets.reverse();
                return Ok(sets);
            };
            let unknown = || SourceError::Broken(format!("who may read page {id} is not known"));
            let node = self.nodes.get(&id).ok_or_else(unknown)?;
            sets.extend(node.restriction.clone().ok_or_else(unknown)??);
            at = node.parent.clone()?.map(|parent| parent.id);
        }
        Err(SourceError::Broken(format!("page {id} is above itself")))
    }
}

/// The restriction, if both of its lists are complete.
fn complete_restriction(named: &RestrictedSubjects, names: &ReaderNames) -> Option<PageRestriction> {
    let (users, groups) = (named.user.as_ref()?, named.group.as_ref()?);
    let is_whole = |subjects: &SubjectListV1| {
        let more = subjects.limit.is_some_and(|limit| subjects.results.len() >= limit)
            || subjects.size.is_some_and(|size| subjects.results.len() < size);
        !more && subjects.links.next.is_none()
    };
    if !is_whole(users) || !is_whole(groups) {
        return None;
    }
    let is_open = users.results.is_empty() && groups.results.is_empty();
    Some((!is_open).then(|| collect_readers(users, groups, names)))
}

fn collect_readers(users: &SubjectListV1, groups: &SubjectListV1, names: &ReaderNames) -> ReaderSet {
    let users = users.results.iter().filter_map(|user| names.user_reader(user));
    let groups = groups.results.iter().filter_map(|group| names.group_reader(group));
    users.chain(groups).collect()
}

/// Fetches the restriction of one page.
async fn fetch_restriction(site: &ConfluenceSite, id: &str) -> Result<PageRestriction, SourceError> {
    let path = format!("/rest/api/content/{id}/restriction/byOperation/read");
    let what = format!("the restrictions of page {id}");
    let (mut all, mut is_open, mut start) = (ReaderSet::new(), true, 0);
    while start < MAX_NAMES {
        let (from, limit) = (start.to_string(), NAMES_AT_ONCE.to_string());
        let query = [
            ("expand", "restrictions.user,restrictions.group"),
            ("start", from.as_str()),
            ("limit", limit.as_str()),
        ];
        let read: OperationRestriction = site.client.get_json(&path, &query, &what).await?;
        let named = read.restrictions.and_then(|named| Some((named.user?, named.group?)));
        let untold = || SourceError::Broken(format!("{what} were not told"));
        let (users, groups) = named.ok_or_else(untold)?;
        is_open &= users.results.is_empty() && groups.results.is_empty();
        all.extend(collect_readers(&users, &groups, &site.names));
        // The server may return fewer at once than were requested.
        let most = |subjects: &SubjectListV1| subjects.limit.unwrap_or(NAMES_AT_ONCE).max(1);
        let is_full =
            |subjects: &SubjectListV1| subjects.results.len() >= most(subjects) || subjects.links.next.is_some();
        if !is_full(&users) && !is_full(&groups) {
            break;
        }
        start += most(&users).min(most(&groups));
    }
    Ok((!is_open).then_some(all))
}
