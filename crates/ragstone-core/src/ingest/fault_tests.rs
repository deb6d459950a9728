//! The stories with a fault at every call to a store: whatever fails, a reader sees all of the old or all of the new,
//! and once the stores work again the job ends and nothing is left over.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use time::OffsetDateTime;
use uuid::Uuid;

use super::fsck::{FsckReport, RepairOptions};
use super::*;
use crate::access::Principal;
use crate::document::Job;
use crate::id::DocumentId;
use crate::library::SearchRequest;
use crate::seam::Catalogue;
use crate::seam::catalogue::BeginOutcome;
use crate::seam::fake::faults::{Event, Fault, Faults};
use crate::seam::fake::{House, WORKER, upload, writer};

const URI: &str = "x.txt";
const OLD: &str = "The lamp stands on the table.\x0cThe lamp burns all night.\x0cAt dawn the lamp goes out.";
const NEW: &str = "A ship leaves.\x0cThe ship is late.\x0cNo ship comes back.\x0cThe ship is lost.";
/// More calls than any story makes.
const MOST_CALLS: usize = 400;
const ALL: [Fault; 3] = [Fault::Refused, Fault::Lost, Fault::Dead];

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wish {
    /// That this text is found.
    Has(&'static str),
    /// That nothing is.
    Gone,
}

/// What a reader finds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    Nothing,
    Old,
    New,
}

struct Scene {
    house: House,
    faults: Arc<Faults>,
    caller: Principal,
    id: DocumentId,
}

impl Scene {
    /// A library with the old text, or an empty one.
    async fn new(with_old: bool) -> Self {
        let faults = Arc::new(Faults::default());
        let (house, caller) = (House::failing(&faults), writer("a", &[]));
        let id = match with_old {
            true => house.ingest(&caller, URI, &["everyone"], OLD).await,
            false => DocumentId(Uuid::nil()),
        };
        Self {
            house,
            faults,
            caller,
            id,
        }
    }

    /// Asks for it; whether the answer was yes.
    async fn ask_for(&mut self, wish: Wish) -> bool {
        let ingestor = &self.house.ingestor;
        match wish {
            Wish::Gone => ingestor.uploads().delete_document(&self.caller, self.id).await.is_ok(),
            Wish::Has(text) => match accept(ingestor, &self.caller, text).await {
                Ok(
                    BeginOutcome::Started(document, _)
                    | BeginOutcome::Updated(document)
                    | BeginOutcome::Unchanged(document),
                ) => {
                    self.id = document.id;
                    true
                }
                Err(_) => false,
            },
        }
    }

    /// Works until nothing waits, or the stores refuse.
    async fn work(&self) {
        for _ in 0..20 {
            if !matches!(self.house.ingestor.runner().run_next(WORKER).await, Ok(Some(_))) {
                break;
            }
        }
    }

    /// Works until everything that may pass has passed.
    async fn work_off(&self) {
        for _ in 0..10 {
            self.work().await;
            self.house.wait(1_000);
        }
    }

    /// What is found: one text whole and no other, or the test fails.
    async fn seen(&self, when: &str) -> Seen {
        let request = SearchRequest::new("lamp ship", 20);
        let found = self.house.library.search(&self.caller.scope(), &request).await.unwrap();
        let mut texts: Vec<_> = found.passages.iter().map(|p| p.chunk.text.clone()).collect();
        texts.sort_unstable();
        let pages = |text: &str| {
            let mut pages: Vec<_> = text.split('\x0c').map(str::to_owned).collect();
            pages.sort_unstable();
            pages
        };
        match texts {
            texts if texts.is_empty() => Seen::Nothing,
            texts if texts == pages(OLD) => Seen::Old,
            texts if texts == pages(NEW) => Seen::New,
            texts => panic!("{when}: neither the old nor the new: {texts:?}"),
        }
    }

    async fn report(&self) -> FsckReport {
        self.house
            .ingestor
            .consistency()
            .run_fsck(RepairOptions::default(), UploadSharing::Exclusive)
            .await
            .unwrap()
    }

    /// Nothing is left over, nothing is pending, and what is found is counted.
    async fn is_clean(&self, when: &str) {
        let report = self.report().await;
        assert!(
            report.orphans.is_empty() && report.pending.is_empty(),
            "{when}: {report:#?}"
        );
        let tenant = self.caller.tenant();
        let counted = self.house.catalogue.term_statistics(tenant, &[]).await.unwrap();
        assert_eq!(counted.documents, report.chunks, "{when}");
    }
}

async fn accept(ingestor: &Ingestor, caller: &Principal, text: &'static str) -> Result<BeginOutcome, AcceptError> {
    let upload = upload(caller, URI, &["everyone"]);
    let bytes = futures::stream::iter([Ok::<_, String>(bytes::Bytes::from_static(text.as_bytes()))]);
    ingestor.uploads().accept_upload(caller, upload, bytes).await
}

/// Carries out `wish` with `fault` at the `n`-th call; false if there was no such call.
async fn with_fault(with_old: bool, wish: Wish, fault: Fault, n: usize) -> bool {
    let mut scene = Scene::new(with_old).await;
    let (before, after) = (
        if with_old { Seen::Old } else { Seen::Nothing },
        match wish {
            Wish::Has(_) => Seen::New,
            Wish::Gone => Seen::Nothing,
        },
    );
    scene.faults.at(n, Event::Fails(fault));
    let answered = scene.ask_for(wish).await;
    let what = format!("{wish:?} with {fault:?} at call {n}");
    if answered && wish == Wish::Gone {
        assert_eq!(scene.seen(&what).await, Seen::Nothing, "{what}: gone at the answer");
    }
    scene.work().await;
    let seen = scene.seen(&what).await;
    assert!(seen == before || seen == after, "{what}: {seen:?}");
    let came = scene.faults.heal();
    let what = format!("{what}, {came:?}");
    // A claim whose answer was lost is nobody's until it is taken back.
    if fault == Fault::Dead || came == Some("claim_job") {
        scene.house.restart().await;
    }
    assert!(answered || scene.ask_for(wish).await, "{what}: asked again");
    scene.work_off().await;
    assert_eq!(scene.seen(&what).await, after, "{what}");
    let swept = scene.house.sweep().await;
    assert!(
        swept.jobs.is_empty(),
        "{what}: the job itself came to its end: {swept:?}"
    );
    scene.is_clean(&what).await;
    came.is_some()
}

async fn at_every_call(with_old: bool, wish: Wish) {
    for fault in ALL {
        let mut n = 1;
        while with_fault(with_old, wish, fault, n).await {
            n += 1;
            assert!(n < MOST_CALLS, "the story ends");
        }
        assert!(n > 5, "{wish:?}: {n} calls");
    }
}

#[tokio::test]
async fn a_document_is_taken_in_whatever_fails_once() {
    at_every_call(false, Wish::Has(NEW)).await;
}

#[tokio::test]
async fn a_changed_document_is_seen_whole_whatever_fails_once() {
    at_every_call(true, Wish::Has(NEW)).await;
}

#[tokio::test]
async fn a_deleted_document_is_gone_whatever_fails_once() {
    at_every_call(true, Wish::Gone).await;
}

/// What comes between while a new version is ingested.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Between {
    Cancel,
    Delete,
    /// The old text again.
    Newer,
}

impl Between {
    fn happens(self, scene: &Scene, job: &Job) -> BoxFuture<'static, ()> {
        let (ingestor, caller) = (scene.house.another(), scene.caller.clone());
        let (catalogue, document, job) = (scene.house.catalogue.clone(), scene.id, job.id);
        async move {
            match self {
                Self::Cancel => {
                    let now = OffsetDateTime::UNIX_EPOCH;
                    drop(catalogue.cancel_job(&caller.scope(), job, now).await.unwrap());
                }
                Self::Delete => drop(ingestor.uploads().delete_document(&caller, document).await.unwrap()),
                Self::Newer => drop(accept(&ingestor, &caller, OLD).await.unwrap()),
            }
        }
        .boxed()
    }
}

/// Lets something come between at the `n`-th call of the work on a new version; false if there was no such call. What
/// the workers leave then is clean without a sweep.
async fn with_between(with_old: bool, between: Between, n: usize) -> bool {
    let mut scene = Scene::new(with_old).await;
    let begun = scene.house.accept(&scene.caller, URI, &["everyone"], NEW).await;
    let BeginOutcome::Started(document, job) = begun else {
        panic!("a new version starts")
    };
    scene.id = document.id;
    scene.faults.at(n, Event::After(between.happens(&scene, &job)));
    scene.work().await;
    let what = format!("{between:?} at call {n} (old: {with_old})");
    let came = scene.faults.heal();
    scene.work_off().await;
    let seen = scene.seen(&what).await;
    match between {
        Between::Cancel if with_old => assert_ne!(seen, Seen::Nothing, "{what}"),
        Between::Cancel => assert_ne!(seen, Seen::Old, "{what}"),
        Between::Delete if came.is_some() => assert_eq!(seen, Seen::Nothing, "{what}"),
        Between::Delete => assert_eq!(seen, Seen::New, "{what}"),
        Between::Newer if came.is_some() => assert_eq!(seen, Seen::Old, "{what}"),
        Between::Newer => assert_eq!(seen, Seen::New, "{what}"),
    }
    scene.is_clean(&format!("{what}, {came:?}")).await;
    came.is_some()
}

#[tokio::test]
async fn what_comes_between_leaves_nothing() {
    for between in [Between::Cancel, Between::Delete, Between::Newer] {
        for with_old in [false, true] {
            let mut n = 1;
            while with_between(with_old, between, n).await {
                n += 1;
                assert!(n < MOST_CALLS, "the story ends");
            }
            assert!(n > 10, "{between:?}: {n} calls");
        }
    }
}

#[tokio::test]
async fn a_newer_version_before_the_first_is_loaded_leaves_nothing() {
    let mut scene = Scene::new(false).await;
    assert!(scene.ask_for(Wish::Has(NEW)).await && scene.ask_for(Wish::Has(OLD)).await);
    assert_eq!(scene.house.blob_count().await, 1, "the first bytes are nobody's");
    scene.work_off().await;
    assert_eq!(scene.seen("two versions").await, Seen::Old);
    scene.is_clean("two versions").await;
}

#[tokio::test]
async fn an_end_that_cannot_be_noted_is_noted_later() {
    let mut scene = Scene::new(false).await;
    assert!(scene.ask_for(Wish::Has(NEW)).await);
    // The claim is made, and from then on nothing can be written.
    scene.faults.at(2, Event::Fails(Fault::Dead));
    scene.work().await;
    assert_eq!(scene.house.ingestor.runner().pending_outcomes().len(), 1);
    scene.faults.heal();
    scene.work_off().await;
    let late = scene.house.ingestor.runner().take_flushed();
    assert_eq!(late.len(), 1, "whoever follows the job is told");
    assert!(scene.house.ingestor.runner().take_flushed().is_empty(), "once");
    assert_eq!(scene.seen("noted later").await, Seen::New);
    scene.is_clean("noted later").await;
}

const MAIL: &str = "A mail about a lamp.\x1eship.txt\nThe ship is late.\x1elamp.txt\nThe lamp is lit.";
const ANSWER: &str = "A mail about a ship.\x1eship.txt\nThe ship is lost.";

/// The texts that are found, in order.
async fn texts(scene: &Scene) -> Vec<String> {
    let request = SearchRequest::new("lamp ship", 20);
    let scope = scene.caller.scope();
    let found = scene.house.library.search(&scope, &request).await.unwrap();
    let mut texts: Vec<_> = found.passages.iter().map(|p| p.chunk.text.clone()).collect();
    texts.sort_unstable();
    texts
}

/// Carries out `wish` on a mail with files, with `fault` at the `n`-th call; false if there was no such call.
async fn mail_with_fault(wish: Wish, fault: Fault, n: usize) -> bool {
    let mut scene = Scene::new(false).await;
    assert!(scene.ask_for(Wish::Has(MAIL)).await);
    scene.work_off().await;
    let what = format!("{wish:?} with {fault:?} at call {n}");
    assert_eq!(texts(&scene).await.len(), 3, "{what}");
    scene.faults.at(n, Event::Fails(fault));
    let answered = scene.ask_for(wish).await;
    scene.work().await;
    let came = scene.faults.heal();
    if fault == Fault::Dead || came == Some("claim_job") {
        scene.house.restart().await;
    }
    // Of a deletion that was carried out and not answered, nothing is left to ask for.
    let asked_again = answered || scene.ask_for(wish).await;
    assert!(asked_again, "{what}: asked again");
    scene.work_off().await;
    scene.house.sweep().await;
    scene.work_off().await;
    match wish {
        Wish::Gone => assert!(texts(&scene).await.is_empty(), "{what}, {came:?}"),
        Wish::Has(_) => assert_eq!(
            texts(&scene).await,
            ["A mail about a ship.", "The ship is lost."],
            "{what}, {came:?}"
        ),
    }
    scene.is_clean(&format!("{what}, {came:?}")).await;
    came.is_some()
}

#[tokio::test]
async fn the_files_of_a_mail_follow_it_whatever_fails_once() {
    for wish in [Wish::Has(ANSWER), Wish::Gone] {
        for fault in ALL {
            let mut n = 1;
            while mail_with_fault(wish, fault, n).await {
                n += 1;
                assert!(n < MOST_CALLS, "the story ends");
            }
            assert!(n > 10, "{wish:?}: {n} calls");
        }
    }
}
