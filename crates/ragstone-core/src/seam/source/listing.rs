//! Entries of a source's list: items, and gaps where something could not be listed.
//!
//! Invariant: a gap states which items it may hide, so that nothing that may still exist is deleted.

use std::collections::BTreeSet;

use super::{SourceError, SourceItem};

/// One entry of a source's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListEntry {
    /// An item that exists.
    Item(SourceItem),
    /// A part that could not be listed; the list continues after it.
    Gap(ListGap),
}

/// A part of a source that could not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListGap {
    /// Address or path of the part, percent-encoded where it is not valid text.
    pub uri: String,
    /// Why it could not be listed.
    pub error: SourceError,
    /// The items that the gap may hide.
    pub hides: HiddenItems,
}

/// Items that may be hidden by a [`ListGap`]; their documents are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HiddenItems {
    /// No item of an earlier sync.
    None,
    /// The item with this key and all items whose keys continue it after a slash.
    Below(String),
    /// The items with these keys.
    Keys(BTreeSet<String>),
    /// Any item of the source.
    Any,
}

impl HiddenItems {
    /// Whether the gap may hide the item with this key.
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
    /// The item, or `None` for a gap.
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
