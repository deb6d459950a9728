//! Who may read a page: the readers of its space, and those of each restricted page above it and of itself.
//!
//! Invariant: what is not known admits nobody. A restriction that names nobody we know admits nobody.

use std::collections::{BTreeMap, HashMap};

use ragstone_core::access::{Reader, ReaderSet};
use ragstone_core::seam::source::SourceError;

use super::wire::{GrantV1, GrantV2, Named, Operation, Subject, Subjects};
use super::{Site, each};

/// Pages above each other; more is a ring.
const MAX_HEIGHT: usize = 1_000;
/// Users or groups of a restriction that are asked for at once.
const NAMES_AT_ONCE: usize = 100;
/// Users or groups of one restriction; what is beyond is not admitted.
const MAX_NAMES: usize = 100_000;

/// What Confluence's users and groups are called as readers.
pub(super) struct Names {
    /// Whether groups go by their ids, as in the Cloud, where their names are not told everywhere.
    pub by_id: bool,
    /// Other names, by those that they would have.
    pub readers_as: BTreeMap<String, Reader>,
}

impl Names {
    fn reader(&self, name: String) -> Option<Reader> {
        match self.readers_as.get(&name) {
            Some(reader) => Some(reader.clone()),
            None => name.parse().ok(),
        }
    }

    fn user(&self, user: &Subject) -> Option<Reader> {
        let id = user
            .account_id
            .as_ref()
            .or(user.username.as_ref())
            .or(user.user_key.as_ref())?;
        self.reader(format!("user:{id}"))
    }

    fn group(&self, group: &Subject) -> Option<Reader> {
        let id = match self.by_id {
            true => group.id.as_ref(),
            false => group.name.as_ref(),
        };
        self.reader(format!("group:{}", id?))
    }

    /// Who may read a space of the Cloud.
    pub fn of_grants_v2(&self, grants: &[GrantV2]) -> ReaderSet {
        let reads = |grant: &&GrantV2| grant.operation.key == "read" && grant.operation.target_type == "space";
        let readers = grants.iter().filter(reads).filter_map(|grant| {
            let principal = grant.principal.as_ref()?;
            match principal.kind.to_lowercase().as_str() {
                kind @ ("user" | "group") => self.reader(format!("{kind}:{}", principal.id)),
                _ => None,
            }
        });
        readers.collect()
    }

    /// Who may read a space of a Data Center.
    pub fn of_grants_v1(&self, grants: &[GrantV1]) -> ReaderSet {
        let reads =
            |grant: &&GrantV1| grant.operation.operation_key == "read" && grant.operation.target_type == "space";
        let readers = grants.iter().filter(reads).filter_map(|grant| {
            let subject = grant.subject.as_ref()?;
            match subject.kind.as_deref() {
                Some("group") => self.group(subject),
                Some("user" | "known") => self.user(subject),
                Some("anonymous") => Some(Reader::everyone()),
                _ => None,
            }
        });
        readers.collect()
    }
}

/// Who may read a page by its own restriction; none where it has none.
pub(super) type Own = Option<ReaderSet>;

/// A page, or what else pages are below.
pub(super) struct Node {
    pub parent: Result<Option<Parent>, SourceError>,
    /// Not asked for yet if none.
    pub own: Option<Result<Own, SourceError>>,
}

/// What a page is below.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Parent {
    pub id: String,
    /// `page`, `folder` and the like.
    pub kind: String,
}

/// All pages with what is above them.
#[derive(Default)]
pub(super) struct Tree {
    nodes: HashMap<String, Node>,
}

impl Tree {
    pub fn add(&mut self, id: &str, node: Node) {
        self.nodes.insert(id.to_owned(), node);
    }

    pub fn contains(&self, id: &str) -> bool {
        self.nodes.contains_key(id)
    }

    /// Notes a restriction that was told along with something else, if it was told whole.
    pub fn note(&mut self, id: &str, read: Option<&Operation>, names: &Names) {
        let own = read.and_then(|read| whole(read.restrictions.as_ref()?, names));
        if let (Some(node), Some(own)) = (self.nodes.get_mut(id), own) {
            node.own = Some(Ok(own));
        }
    }

    /// Asks for what is not known yet: restrictions one by one, and what is above what is listed. `parent` tells what
    /// a thing of a kind is below.
    pub async fn complete<F>(&mut self, site: &Site, parent: impl Fn(Parent) -> F)
    where
        F: Future<Output = Result<Option<Parent>, SourceError>>,
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
                let asked = parent(Parent { id: id.clone(), kind });
                async move { (id, asked.await) }
            };
            for (id, parent) in each(site.at_once(), missing.keys().cloned().collect(), ask).await {
                self.nodes.insert(id, Node { parent, own: None });
            }
        }
        let unasked = self.nodes.iter().filter(|(_, node)| node.own.is_none());
        let unasked = unasked.map(|(id, _)| id.clone()).collect();
        let ask = |id: String| async move {
            let own = own(site, &id).await;
            (id, own)
        };
        for (id, own) in each(site.at_once(), unasked, ask).await {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.own = Some(own);
            }
        }
    }

    /// A reader set for each restricted page from here up.
    pub fn restrictions(&self, id: &str) -> Result<Vec<ReaderSet>, SourceError> {
        let (mut sets, mut at) = (Vec::new(), Some(id.to_owned()));
        for _ in 0..MAX_HEIGHT {
            let Some(id) = at else {
                sets.reverse();
                return Ok(sets);
            };
            let unknown = || SourceError::Broken(format!("who may read page {id} is not known"));
            let node = self.nodes.get(&id).ok_or_else(unknown)?;
            sets.extend(node.own.clone().ok_or_else(unknown)??);
            at = node.parent.clone()?.map(|parent| parent.id);
        }
        Err(SourceError::Broken(format!("page {id} is above itself")))
    }
}

/// The restriction if both its lists are there to their ends.
fn whole(named: &Named, names: &Names) -> Option<Own> {
    let (users, groups) = (named.user.as_ref()?, named.group.as_ref()?);
    let is_whole = |subjects: &Subjects| {
        let more = subjects.limit.is_some_and(|limit| subjects.results.len() >= limit)
            || subjects.size.is_some_and(|size| subjects.results.len() < size);
        !more && subjects.links.next.is_none()
    };
    if !is_whole(users) || !is_whole(groups) {
        return None;
    }
    let is_open = users.results.is_empty() && groups.results.is_empty();
    Some((!is_open).then(|| readers(users, groups, names)))
}

fn readers(users: &Subjects, groups: &Subjects, names: &Names) -> ReaderSet {
    let users = users.results.iter().filter_map(|user| names.user(user));
    let groups = groups.results.iter().filter_map(|group| names.group(group));
    users.chain(groups).collect()
}

/// The restriction of one page, asked for by itself.
async fn own(site: &Site, id: &str) -> Result<Own, SourceError> {
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
        let read: Operation = site.client.get(&path, &query, &what).await?;
        let named = read.restrictions.and_then(|named| Some((named.user?, named.group?)));
        let untold = || SourceError::Broken(format!("{what} were not told"));
        let (users, groups) = named.ok_or_else(untold)?;
        is_open &= users.results.is_empty() && groups.results.is_empty();
        all.extend(readers(&users, &groups, &site.names));
        // It may give fewer at once than were asked for.
        let most = |subjects: &Subjects| subjects.limit.unwrap_or(NAMES_AT_ONCE).max(1);
        let is_full = |subjects: &Subjects| subjects.results.len() >= most(subjects) || subjects.links.next.is_some();
        if !is_full(&users) && !is_full(&groups) {
            break;
        }
        start += most(&users).min(most(&groups));
    }
    Ok((!is_open).then_some(all))
}
