//! Who may change what: a caller may change a document if it may grant all of its readers, or brought it itself.
//!
//! Invariant: nobody changes a document that they may not read, and nobody adds or removes a reader that they do not
//! hold.

use super::{Acl, HeldReaders, Reader, ReaderSet, Scope};

/// Subject of anonymous callers; a document that one of them brought does not belong to another one.
const NOBODY: &str = "nobody";

impl Scope {
    /// The subject to record as the one who brought a new document; `None` for readers, for anonymous writers, and for
    /// administrators, who need no such record.
    pub fn creator_subject(&self) -> Option<&str> {
        let writer = self.writer.as_deref()?;
        let is_somebody = matches!(self.held, HeldReaders::Some(_)) && writer != NOBODY;
        is_somebody.then_some(writer)
    }

    /// Whether this caller may replace, change or delete a document that `brought_by` brought: it must be a writer who
    /// may read the document, and must hold every reader of each of its sets or have brought it. An administrator may
    /// do so with everything in its tenant.
    pub fn may_write(&self, acl: &Acl, brought_by: Option<&str>) -> bool {
        let grants_whole = || acl.sets.iter().flatten().all(|reader| self.may_grant(reader));
        let brought = || brought_by.is_some() && brought_by == self.creator_subject();
        self.writer.is_some() && self.admits(acl) && (grants_whole() || brought())
    }

    /// The first reader that this caller may not grant and that a set of only one of the two ACLs contains.
    pub fn first_ungrantable_reader<'a>(&self, before: &'a Acl, after: &'a Acl) -> Option<&'a Reader> {
        let none = ReaderSet::new();
        let set = |acl: &'a Acl, n: usize| acl.sets.get(n);
        let most = before.sets.len().max(after.sets.len());
        (0..most).find_map(|n| {
            let (before, after) = (set(before, n), set(after, n));
            let lost = before
                .into_iter()
                .flatten()
                .filter(|reader| !after.unwrap_or(&none).contains(*reader));
            let won = after
                .into_iter()
                .flatten()
                .filter(|reader| !before.unwrap_or(&none).contains(*reader));
            lost.chain(won).find(|reader| !self.may_grant(reader))
        })
    }

    fn may_grant(&self, reader: &Reader) -> bool {
        match &self.held {
            HeldReaders::All => true,
            HeldReaders::Some(held) => held.contains(reader),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Principal, Role};

    fn scope(subject: &str, held: &[&str], role: Role) -> Scope {
        let held = held.iter().map(|reader| reader.parse().unwrap()).collect();
        Principal::verified("a".parse().unwrap(), subject.into(), held, role).scope()
    }

    fn acl(sets: &[&[&str]]) -> Acl {
        let set = |set: &&[&str]| set.iter().map(|reader| reader.parse().unwrap()).collect();
        Acl {
            tenant: "a".parse().unwrap(),
            sets: sets.iter().map(set).collect(),
        }
    }

    #[test]
    fn a_writer_writes_what_it_may_grant_whole_or_brought() {
        let check = |sets: &[&[&str]], brought_by: Option<&str>, expected: bool| {
            let ada = scope("ada", &["dept:x", "group:g"], Role::Writer);
            assert_eq!(
                ada.may_write(&acl(sets), brought_by),
                expected,
                "{sets:?} {brought_by:?}"
            );
        };
        check(&[&["dept:x"]], None, true);
        check(&[&["dept:x", "everyone"], &["group:g"]], None, true);
        check(&[&["dept:x", "dept:y"]], None, false);
        check(&[&["dept:x", "dept:y"]], Some("ada"), true);
        check(&[&["dept:x", "dept:y"]], Some("Ada"), false);
        check(&[&["dept:x"], &["group:g", "group:h"]], None, false);
        check(&[&["dept:x"], &["group:g", "group:h"]], Some("ada"), true);
        // What it may not read it does not write, whoever brought it.
        check(&[&["dept:y"]], Some("ada"), false);
        check(&[&["dept:x"], &["group:h"]], Some("ada"), false);
        check(&[], Some("ada"), false);
        check(&[&["dept:x"], &[]], Some("ada"), false);
        let other = Acl {
            tenant: "b".parse().unwrap(),
            ..acl(&[&["everyone"]])
        };
        assert!(!scope("ada", &[], Role::Writer).may_write(&other, Some("ada")));
        assert!(!scope("root", &[], Role::Admin).may_write(&other, None));
    }

    #[test]
    fn an_administrator_writes_everything_and_a_reader_nothing() {
        let foreign = acl(&[&["user:bob"], &["group:h"]]);
        assert!(scope("root", &[], Role::Admin).may_write(&foreign, None));
        assert!(
            Principal::local_operator_of("a".parse().unwrap())
                .scope()
                .may_write(&foreign, None)
        );
        let own = acl(&[&["dept:x"]]);
        assert!(!scope("ada", &["dept:x"], Role::Reader).may_write(&own, Some("ada")));
    }

    #[test]
    fn who_stands_for_nobody_brings_nothing() {
        let check = |subject: &str, role: Role, expected: Option<&str>| {
            assert_eq!(scope(subject, &[], role).creator_subject(), expected);
        };
        check("ada", Role::Writer, Some("ada"));
        check("nobody", Role::Writer, None);
        check("ada", Role::Reader, None);
        check("ada", Role::Admin, None);
        assert_eq!(Principal::local_operator().scope().creator_subject(), None);
        assert!(!scope("nobody", &["dept:x"], Role::Writer).may_write(&acl(&[&["dept:x", "dept:y"]]), Some("nobody")));
    }

    #[test]
    fn readers_that_are_not_held_neither_come_nor_go() {
        let check = |before: &[&[&str]], after: &[&[&str]], expected: Option<&str>| {
            let ada = scope("ada", &["dept:x", "group:g"], Role::Writer);
            let (before, after) = (acl(before), acl(after));
            let found = ada.first_ungrantable_reader(&before, &after);
            assert_eq!(found.map(Reader::as_str), expected, "{before:?} {after:?}");
        };
        check(&[&["dept:x"]], &[&["group:g"]], None);
        check(&[&["dept:x", "dept:y"]], &[&["group:g", "dept:y"]], None);
        check(&[&["dept:x", "dept:y"]], &[&["dept:x"]], Some("dept:y"));
        check(&[&["dept:x"]], &[&["dept:x", "dept:y"]], Some("dept:y"));
        check(&[&["dept:x"], &["group:h"]], &[&["dept:x"]], Some("group:h"));
        check(&[&["dept:x"], &["group:g"]], &[&["dept:x"]], None);
        check(&[&["dept:x"]], &[&["dept:x"], &["group:h"]], Some("group:h"));
        let root = scope("root", &[], Role::Admin);
        assert_eq!(
            root.first_ungrantable_reader(&acl(&[&["dept:y"]]), &acl(&[&["dept:z"]])),
            None
        );
    }
}
