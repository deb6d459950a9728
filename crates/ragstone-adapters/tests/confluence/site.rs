//! What a Confluence of the tests holds.

use std::collections::{BTreeMap, BTreeSet};

/// A user or a group, as the site names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    User(String),
    Group(String),
    Anonymous,
}

pub fn user(name: &str) -> Who {
    Who::User(name.into())
}

pub fn group(name: &str) -> Who {
    Who::Group(name.into())
}

#[derive(Debug, Clone)]
pub struct Space {
    pub id: u64,
    pub archived: bool,
    /// Who may read it.
    pub readers: BTreeSet<Who>,
    /// Whether asking who may read it fails.
    pub untold: bool,
}

#[derive(Debug, Clone)]
pub struct Content {
    pub kind: &'static str,
    pub space: String,
    pub title: String,
    pub body: String,
    pub version: u64,
    pub status: &'static str,
    /// A page above it; what a comment or an attachment hangs on.
    pub parent: Option<u64>,
    /// Who may read it, if not everybody who reads what is above it.
    pub restricted: Option<BTreeSet<Who>>,
    /// Whether asking for its restriction fails.
    pub untold: bool,
    /// Whether a search finds it.
    pub indexed: bool,
    pub label: Option<&'static str>,
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Site {
    pub spaces: BTreeMap<String, Space>,
    pub contents: BTreeMap<u64, Content>,
    last: u64,
}

impl Site {
    pub fn space(&mut self, key: &str, readers: &[Who]) {
        let space = Space {
            id: 9_000 + self.spaces.len() as u64,
            archived: false,
            readers: readers.iter().cloned().collect(),
            untold: false,
        };
        self.spaces.insert(key.into(), space);
    }

    /// Adds something; its id.
    pub fn add(&mut self, kind: &'static str, space: &str, title: &str, parent: Option<u64>) -> u64 {
        self.last += 1;
        let id = 100 + self.last;
        let content = Content {
            kind,
            space: space.into(),
            title: title.into(),
            body: format!("<p>lantern {title} &amp; word{id}</p>"),
            version: 1,
            status: "current",
            parent,
            restricted: None,
            untold: false,
            indexed: true,
            label: None,
        };
        self.contents.insert(id, content);
        id
    }

    pub fn page(&mut self, space: &str, title: &str, parent: Option<u64>) -> u64 {
        self.add("page", space, title, parent)
    }

    pub fn of(&mut self, id: u64) -> &mut Content {
        self.contents.get_mut(&id).expect("it was added")
    }

    pub fn restrict(&mut self, id: u64, who: &[Who]) {
        self.of(id).restricted = Some(who.iter().cloned().collect());
    }

    pub fn edit(&mut self, id: u64, body: &str) {
        let content = self.of(id);
        content.body = body.into();
        content.version += 1;
    }

    /// What lies above something, the next one first.
    pub fn above(&self, id: u64) -> Vec<u64> {
        let mut above = Vec::new();
        let mut at = self.contents.get(&id).and_then(|content| content.parent);
        while let Some(id) = at {
            above.push(id);
            at = self.contents.get(&id).and_then(|content| content.parent);
        }
        above
    }

    /// The rule, told a second time: whoever passes the space, and each restriction from the page up.
    pub fn may_read(&self, names: &BTreeSet<Who>, id: u64) -> bool {
        let passes = |who: &BTreeSet<Who>| who.contains(&Who::Anonymous) || !who.is_disjoint(names);
        let content = &self.contents[&id];
        let mut chain = self.above(id);
        chain.push(id);
        let restricted = chain.iter().filter_map(|id| self.contents[id].restricted.as_ref());
        content.status == "current"
            && passes(&self.spaces[&content.space].readers)
            && restricted.into_iter().all(passes)
    }
}
