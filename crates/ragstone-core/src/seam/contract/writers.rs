//! Contract of every catalogue: which writes are refused and which are allowed.

use std::future::Future;

use super::catalogue::{Shared, at, job_id, open, reader, start, version};
use super::sample::{acl, caller};
use crate::access::{Principal, Role, Scope};
use crate::document::Document;
use crate::id::DocumentId;
use crate::seam::catalogue::{BeginOutcome, CatalogueError, DocumentPatch, NewVersion};

/// The part of the catalogue's suite about writers.
pub(super) async fn writers_contract<F: Future<Output = Shared>>(make: &impl Fn() -> F) {
    a_name_is_taken_by_other_bytes(make().await).await;
    a_writer_writes_what_it_grants_whole_or_brought(make().await).await;
    readers_that_are_not_held_neither_come_nor_go(make().await).await;
}

/// A writer of this name.
fn named(subject: &str, readers: &[&str]) -> Scope {
    let readers = readers.iter().map(|reader| reader.parse().expect("a reader"));
    let tenant = "a".parse().expect("a tenant");
    Principal::verified(tenant, subject.into(), readers.collect(), Role::Writer).scope()
}

async fn document(catalogue: &Shared, scope: &Scope, id: DocumentId) -> Document {
    let found = catalogue.get_document(scope, id).await.expect("an answer");
    found.expect("the document is there")
}

async fn a_name_is_taken_by_other_bytes(catalogue: Shared) {
    let add = |content: &str| NewVersion {
        may_replace: false,
        ..version(&open(), "x", content)
    };
    let begin = async |version: NewVersion, n: u128| {
        let now = at(n as i64);
        catalogue.begin_version(&reader(), version, job_id(n), now).await
    };
    let (held, _) = start(&catalogue, &reader(), add("one"), 1, 0).await;
    for n in [2, 3] {
        let refused = begin(add("two"), n).await;
        assert!(matches!(refused, Err(CatalogueError::NameTaken)), "{refused:?}");
        let found = catalogue.get_document(&reader(), held.id).await.expect("an answer");
        assert_eq!(found.as_ref(), Some(&held), "nothing changed");
        let queued = catalogue.get_job(&reader(), job_id(n)).await.expect("an answer");
        assert_eq!(queued, None);
    }
    let same = begin(add("one"), 9).await.expect("the same bytes");
    assert!(matches!(same, BeginOutcome::Unchanged(_)), "{same:?}");
    let stranger = caller("a", &["group:h"]);
    let hidden = version(&acl("a", &[&["group:g"]]), "y", "one");
    start(&catalogue, &caller("a", &["group:g"]), hidden, 4, 4).await;
    let other = NewVersion {
        may_replace: false,
        ..version(&open(), "y", "two")
    };
    let refused = catalogue.begin_version(&stranger, other, job_id(5), at(5)).await;
    assert!(
        matches!(refused, Err(CatalogueError::UriTaken)),
        "what is hidden stays so"
    );
    let (renewed, _) = start(&catalogue, &reader(), version(&open(), "x", "two"), 6, 6).await;
    assert_eq!((renewed.id, renewed.version), (held.id, 2));
    catalogue
        .tombstone_document(&reader(), held.id, job_id(7), at(7))
        .await
        .expect("deleted");
    start(&catalogue, &reader(), add("three"), 8, 8).await;
}

async fn a_writer_writes_what_it_grants_whole_or_brought(catalogue: Shared) {
    let mixed = acl("a", &[&["group:g", "group:h"]]);
    let brought = NewVersion {
        brought_by: Some("ada".into()),
        ..version(&mixed, "x", "one")
    };
    let (ada, eve) = (named("ada", &["group:g"]), named("eve", &["group:g"]));
    let both = named("bob", &["group:g", "group:h"]);
    let (held, _) = start(&catalogue, &both, brought, 1, 0).await;
    assert_eq!(held.brought_by.as_deref(), Some("ada"));
    let title = || DocumentPatch {
        title: Some("T".into()),
        ..DocumentPatch::default()
    };
    let second = NewVersion {
        brought_by: Some("eve".into()),
        ..version(&mixed, "x", "two")
    };
    let refused = catalogue.begin_version(&eve, second.clone(), job_id(2), at(2)).await;
    assert!(matches!(refused, Err(CatalogueError::UriTaken)), "{refused:?}");
    let refused = catalogue.patch_document(&eve, held.id, title(), at(2)).await;
    assert!(matches!(refused, Err(CatalogueError::WriteRefused)), "{refused:?}");
    let refused = catalogue.tombstone_document(&eve, held.id, job_id(2), at(2)).await;
    assert!(matches!(refused, Err(CatalogueError::WriteRefused)), "{refused:?}");
    assert_eq!(document(&catalogue, &eve, held.id).await, held, "nothing changed");
    for (n, scope) in (3..).zip([&ada, &both]) {
        let patched = catalogue.patch_document(scope, held.id, title(), at(3)).await;
        assert!(patched.expect("an answer").is_some());
        let again = version(&mixed, "x", &format!("by {n}"));
        let (renewed, _) = start(&catalogue, scope, again, n, 4).await;
        assert_eq!(renewed.brought_by.as_deref(), Some("ada"), "who brought it stays");
    }
    // Who brought it and may not read it any more writes nothing.
    let moved = DocumentPatch {
        acl: Some(acl("a", &[&["group:h"]])),
        ..DocumentPatch::default()
    };
    catalogue
        .patch_document(&both, held.id, moved, at(6))
        .await
        .expect("patched");
    assert_eq!(
        catalogue
            .patch_document(&ada, held.id, title(), at(7))
            .await
            .expect("an answer"),
        None
    );
    let gone = catalogue.tombstone_document(&ada, held.id, job_id(8), at(7)).await;
    assert_eq!(gone.expect("an answer"), None);
    let gone = catalogue.tombstone_document(&both, held.id, job_id(8), at(7)).await;
    assert!(gone.expect("an answer").is_some());
    let (anew, _) = start(&catalogue, &eve, version(&acl("a", &[&["group:g"]]), "x", "new"), 9, 8).await;
    assert_eq!(anew.brought_by, None, "another life is brought anew");
}

async fn readers_that_are_not_held_neither_come_nor_go(catalogue: Shared) {
    let mixed = acl("a", &[&["group:g", "group:h"]]);
    let brought = NewVersion {
        brought_by: Some("ada".into()),
        ..version(&mixed, "x", "one")
    };
    let (ada, both) = (named("ada", &["group:g"]), named("bob", &["group:g", "group:h"]));
    let (held, _) = start(&catalogue, &both, brought, 1, 0).await;
    let to = |sets: &[&[&str]]| DocumentPatch {
        acl: Some(acl("a", sets)),
        ..DocumentPatch::default()
    };
    let out_of_reach: [&[&[&str]]; 3] = [
        &[&["group:g"]],
        &[&["group:g", "group:h", "group:i"]],
        &[&["group:g", "group:h"], &["group:i"]],
    ];
    for sets in out_of_reach {
        let refused = catalogue.patch_document(&ada, held.id, to(sets), at(2)).await;
        assert!(
            matches!(refused, Err(CatalogueError::ReaderRefused(_))),
            "{sets:?}: {refused:?}"
        );
    }
    let closed = version(&acl("a", &[&["group:g"]]), "x", "two");
    let refused = catalogue.begin_version(&ada, closed.clone(), job_id(2), at(2)).await;
    assert!(matches!(refused, Err(CatalogueError::ReaderRefused(_))), "{refused:?}");
    assert_eq!(document(&catalogue, &ada, held.id).await, held, "nothing changed");
    let patched = catalogue
        .patch_document(&ada, held.id, to(&[&["everyone", "group:g", "group:h"]]), at(3))
        .await;
    assert_eq!(patched.expect("an answer").expect("the document").acl_revision, 2);
    start(&catalogue, &both, closed, 3, 4).await;
}
