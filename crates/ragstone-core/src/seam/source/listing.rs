//! What a source's list is made of: items, and gaps where something could not be listed.
//!
//! Invariant: a gap names what it may hide, so that nothing which may still be there is deleted.

use std::collections::BTreeSet;

use super::{SourceError, SourceItem};

/// One element of a source's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// Something that is there.
    Item(SourceItem),
    /// Something that could not be listed; the rest of the list goes on.
    Gap(ListGap),
}

/// A part of a source that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGap {
    /// Its address or path, percent-encoded where it is no text.
    pub uri: String,
    /// Why it could not be listed.
    pub error: SourceError,
    /// The items that it may hide.
    pub hides: HiddenItems,
}

/// Items that may be behind a [`ListGap`]: those known from before are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiddenItems {
    /// No item that was known before.
    None,
    /// The item of this key, and those of keys that go on behind it with a slash.
    Below(String),
    /// Items of these keys.
    Keys(BTreeSet<String>),
    /// Any item of the source.
    Any,
}

impl HiddenItems {
    /// Whether an item of this key may be behind the gap.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::None => false,
            Self::Below(path) => key
                .strip_prefix(path.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
            Self::Keys(keys) => keys.contains(key),
            Self::Any => true,
        }
    }
}

impl From<SourceItem> for ListEntry {
    fn from(item: SourceItem) -> Self {
        Self::Item(item)
    }
}

impl ListEntry {
    /// The item, if it is one.
    pub fn into_item(self) -> Option<SourceItem> {
        match self {
            Self::Item(item) => Some(item),
            Self::Gap(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_hides_what_it_names_and_nothing_else() {
        let keys = HiddenItems::Keys(["a".to_owned()].into());
        for (hides, key, expected) in [
            (HiddenItems::None, "a", false),
            (HiddenItems::Any, "a", true),
            (HiddenItems::Below("sub".into()), "sub/a", true),
            (HiddenItems::Below("sub".into()), "sub", true),
            (HiddenItems::Below("sub".into()), "subway/a", false),
            (keys.clone(), "a", true),
            (keys, "ab", false),
        ] {
            assert_eq!(hides.contains(key), expected, "{hides:?} {key}");
        }
    }
}
