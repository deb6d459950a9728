//! Decides whether a sync may delete: not if so much is missing that a disk which is not mounted, or a site under
//! maintenance, is more likely than a person who tidied up.
//!
//! Invariant: without a person's permission a sync deletes a bounded share of a source, and never all of it.

/// Number of documents that a sync may always delete, unless they are all that there is.
const ALWAYS_DELETED: u64 = 10;
/// From this many documents on, a list that names none of them counts as a mistake, even if it names others.
const MIN_REPLACED: u64 = 3;

/// Whether a person has permitted the deletion of everything that is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// An unusual number of deletions is held back.
    #[default]
    Guarded,
    /// Everything that is missing is deleted.
    Allowed,
}

/// How many documents a complete list no longer names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MissingCounts {
    /// Documents that no longer belong to a listed item.
    pub missing: u64,
    /// Documents that existed before this sync, the missing ones included.
    pub before: u64,
    /// Whether the list was empty.
    pub is_empty: bool,
}

impl MissingCounts {
    /// Whether the missing documents are kept until a person decides. `max_deleted_share` is 0 to 1.
    pub fn is_held(self, max_deleted_share: f64) -> bool {
        let Self {
            missing,
            before,
            is_empty,
        } = self;
        if missing == 0 {
            return false;
        }
        let is_replaced = missing == before && before >= MIN_REPLACED;
        let is_too_much = missing > ALWAYS_DELETED && missing as f64 > max_deleted_share * before as f64;
        is_empty || is_replaced || is_too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unusual_number_is_held() {
        let check = |missing, before, is_empty, expected| {
            let leftover = MissingCounts {
                missing,
                before,
                is_empty,
            };
            assert_eq!(leftover.is_held(0.2), expected, "{leftover:?}");
        };
        check(0, 0, true, false);
        check(0, 100, false, false);
        // An empty root, however few there were.
        check(1, 1, true, true);
        check(12, 12, true, true);
        // The one file of a folder was replaced by another; three of three is no tidying up.
        check(1, 1, false, false);
        check(2, 2, false, false);
        check(3, 3, false, true);
        // Few may always go, and a fifth of many.
        check(9, 12, false, false);
        check(10, 11, false, false);
        check(11, 12, false, true);
        check(11, 54, false, true);
        check(11, 55, false, false);
        check(200, 1_000, false, false);
        check(201, 1_000, false, true);
    }

    #[test]
    fn a_share_of_one_holds_an_empty_root_only() {
        let all_but_one = MissingCounts {
            missing: 99,
            before: 100,
            is_empty: false,
        };
        assert!(!all_but_one.is_held(1.0));
        let all = MissingCounts {
            missing: 100,
            is_empty: true,
            ..all_but_one
        };
        assert!(all.is_held(1.0));
    }
}
