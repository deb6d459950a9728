//! The access rule, implemented a second time and as simply as possible, independent of the production code.

use std::collections::BTreeSet;

use ragstone_core::access::Role;

/// Each set must hold a reader of the caller.
pub type Sets = Vec<BTreeSet<String>>;

/// A caller as the test that issued its credential knows it.
#[derive(Debug, Clone)]
pub struct Caller {
    pub tenant: String,
    pub role: Role,
    /// Subject under which it uploads documents.
    pub subject: String,
    /// `dept:…`, `group:…`, `user:…`.
    pub readers: BTreeSet<String>,
    /// Its API key or token.
    pub proof: Proof,
}

/// An API key or a token; its `Debug` output leaves it out.
#[derive(Clone)]
pub struct Proof(pub String);

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_key = self.0.starts_with("rgs_");
        f.write_str(if is_key { "a key" } else { "a token" })
    }
}

/// A document as the test that uploaded it knows it.
#[derive(Debug, Clone)]
pub struct Sent {
    pub tenant: String,
    pub sets: Sets,
    /// Subject of the writer who uploaded it; `None` for an administrator.
    pub brought_by: Option<String>,
    /// The readers that the index has, if they differ.
    pub index_knows: Option<Sets>,
    pub state: State,
    pub id: String,
    pub job: String,
    pub uri: String,
    /// Stands in its URI, its title and its text, and nowhere else.
    pub secret: String,
    /// Stands in the text of a version that is not published.
    pub unpublished: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// A version is published.
    Published,
    /// The same, and a newer version waits.
    Renewed,
    /// The first version waits.
    Pending,
    /// Deleted, not purged yet.
    Deleted,
    /// Nothing is left of it.
    Purged,
}

/// A source as the test that created it knows it.
#[derive(Debug, Clone)]
pub struct Kept {
    pub tenant: String,
    /// Whom its documents are for; never empty.
    pub readers: BTreeSet<String>,
    pub id: String,
    /// Its name.
    pub secret: String,
}

impl Caller {
    /// Whether it may see and change a source.
    pub fn manages(&self, kept: &Kept) -> bool {
        let grants = |reader: &String| reader == "everyone" || self.readers.contains(reader);
        let all = self.role == Role::Admin || kept.readers.iter().all(grants);
        self.tenant == kept.tenant && self.role != Role::Reader && all
    }

    /// Whether the caller may read a document with these reader sets.
    fn holds(&self, tenant: &str, sets: &[BTreeSet<String>]) -> bool {
        let admitted = |set: &BTreeSet<String>| {
            let held = |reader: &String| reader == "everyone" || self.readers.contains(reader);
            self.role == Role::Admin || set.iter().any(held)
        };
        self.tenant == tenant && !sets.is_empty() && sets.iter().all(admitted)
    }

    /// Whether it may see that the document exists.
    pub fn may_read(&self, sent: &Sent) -> bool {
        let there = !matches!(sent.state, State::Deleted | State::Purged);
        there && self.holds(&sent.tenant, &sent.sets)
    }

    /// Whether it may replace, change and delete it: if it may grant all readers, or uploaded it.
    pub fn may_write(&self, sent: &Sent) -> bool {
        let grants = |reader: &String| reader == "everyone" || self.readers.contains(reader);
        let whole = self.role == Role::Admin || sent.sets.iter().flatten().all(grants);
        let brought = sent.brought_by.as_ref() == Some(&self.subject);
        self.may_read(sent) && self.role != Role::Reader && (whole || brought)
    }

    /// Whether it may read the text.
    pub fn may_read_text(&self, sent: &Sent) -> bool {
        sent.state != State::Pending && self.may_read(sent)
    }

    /// Whether it may watch its jobs, which are kept longest.
    pub fn may_watch(&self, sent: &Sent) -> bool {
        self.holds(&sent.tenant, &sent.sets)
    }

    /// Whether a search must find its text: a new reader finds it only once the index was updated.
    pub fn must_find(&self, sent: &Sent) -> bool {
        let told = sent.index_knows.as_ref().unwrap_or(&sent.sets);
        self.may_read_text(sent) && self.holds(&sent.tenant, told)
    }
}
