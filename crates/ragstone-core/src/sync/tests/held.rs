//! What a sync does not delete: too much at once, and what may be behind something that could not be listed.

use super::*;

fn fill(world: &World, names: impl Iterator<Item = usize>) {
    for n in names {
        world.shelf.put(&format!("{n:02}.txt"), &format!("text {n}"));
    }
}

impl World {
    /// How the last sync is kept.
    async fn kept(&self) -> SyncReport {
        let found = self
            .syncer
            .sources
            .get_source(&self.record.tenant, self.record.id)
            .await;
        found.unwrap().unwrap().last_sync.unwrap()
    }
}

#[tokio::test]
async fn an_empty_root_deletes_nothing_until_it_is_allowed() {
    for (documents, marks) in [(1, true), (12, true), (12, false)] {
        let world = World::new(marks).await;
        fill(&world, 0..documents);
        world.sync([documents as u64, 0, 0, 0, 0]).await;
        let before = world.documents().await;
        let texts = std::mem::take(&mut *world.shelf.texts.lock().unwrap());
        for _ in 0..2 {
            let report = world.sync([0, 0, 0, 0, 0]).await;
            assert_eq!((report.state(), report.held), (SyncState::Held, documents as u64));
            let error = report.error.unwrap();
            assert_eq!(error.code, "sync_held");
            let command = "`ragstone source sync shelf --allow-deletions`";
            assert!(error.hint.contains(command), "{}", error.hint);
            assert_eq!(world.documents().await, before);
            assert_eq!(world.kept().await.held, documents as u64);
        }
        // Everything comes back: nothing was lost, and nothing is done again.
        *world.shelf.texts.lock().unwrap() = texts;
        let report = world.sync([0, 0, documents as u64, 0, 0]).await;
        assert_eq!(
            (report.state(), report.held, report.job),
            (SyncState::Succeeded, 0, None)
        );
        assert_eq!(world.documents().await, before);
        world.shelf.texts.lock().unwrap().clear();
        let report = world
            .sync_with(DeletionPolicy::Allowed, [0, 0, 0, documents as u64, 0])
            .await;
        assert_eq!((report.state(), report.held), (SyncState::Succeeded, 0));
        assert!(world.documents().await.is_empty());
    }
}

#[tokio::test]
async fn a_held_sync_takes_in_what_is_new_changed_or_moved() {
    let world = World::new(true).await;
    fill(&world, 0..20);
    world.sync([20, 0, 0, 0, 0]).await;
    for n in 0..12 {
        world.shelf.take(&format!("{n:02}.txt"));
    }
    world.shelf.put("15.txt", "text 15, and more of it");
    world.shelf.put("new.txt", "something new");
    let text = world.shelf.take("19.txt");
    world.shelf.put("sub/19.txt", &text);
    let report = world.sync([1, 2, 6, 0, 0]).await;
    assert_eq!((report.state(), report.held), (SyncState::Held, 12), "{report:?}");
    let detail = report.error.unwrap().detail;
    assert!(detail.starts_with("12 of 20 documents are missing"), "{detail}");
    assert_eq!(world.documents().await.len(), 21);
    // One that was held moves to another place, and is known again.
    world.shelf.put("sub/00.txt", "text 0");
    let report = world.sync([0, 1, 9, 0, 0]).await;
    assert_eq!(report.held, 11);
    world.sync_with(DeletionPolicy::Allowed, [0, 0, 10, 11, 0]).await;
    assert_eq!(world.documents().await.len(), 10);
}

#[tokio::test]
async fn few_deletions_are_carried_out() {
    let world = World::new(true).await;
    fill(&world, 0..60);
    world.sync([60, 0, 0, 0, 0]).await;
    for n in 0..10 {
        world.shelf.take(&format!("{n:02}.txt"));
    }
    let report = world.sync([0, 0, 50, 10, 0]).await;
    assert_eq!((report.state(), report.held), (SyncState::Succeeded, 0));
}

#[tokio::test]
async fn what_a_gap_hides_is_kept_and_told() {
    let world = World::new(true).await;
    for key in ["a.txt", "b.txt", "sub/c.txt", "sub/d.txt"] {
        world.shelf.put(key, key);
    }
    world.sync([4, 0, 0, 0, 0]).await;
    let gap = |hides| ListGap {
        uri: "shelf:sub/".into(),
        error: SourceError::Broken("sub/ may not be entered".into()),
        hides,
    };
    for key in ["b.txt", "sub/c.txt", "sub/d.txt"] {
        world.shelf.take(key);
    }
    *world.shelf.gaps.lock().unwrap() = vec![gap(HiddenItems::Below("sub".into()))];
    let report = world.sync([0, 0, 1, 1, 1]).await;
    assert_eq!(report.failures[0].uri, "shelf:sub/");
    assert_eq!(report.failures[0].error.detail, "sub/ may not be entered");
    assert_eq!(
        world.places().await,
        [
            "https://shelf/a.txt",
            "https://shelf/sub/c.txt",
            "https://shelf/sub/d.txt"
        ]
    );
    // What may be behind a gap has not moved: the same bytes elsewhere are another document.
    world.shelf.put("copy.txt", "sub/c.txt");
    world.sync([1, 0, 1, 0, 1]).await;
    // Even if it is allowed, only what is certainly missing goes.
    world.shelf.texts.lock().unwrap().clear();
    world.sync_with(DeletionPolicy::Allowed, [0, 0, 0, 2, 1]).await;
    assert_eq!(
        world.places().await,
        ["https://shelf/sub/c.txt", "https://shelf/sub/d.txt"]
    );
    *world.shelf.gaps.lock().unwrap() = vec![gap(HiddenItems::Any)];
    world.sync_with(DeletionPolicy::Allowed, [0, 0, 0, 0, 1]).await;
    world.shelf.gaps.lock().unwrap().clear();
    world.shelf.put("sub/c.txt", "sub/c.txt");
    let report = world.sync([0, 0, 1, 1, 0]).await;
    assert_eq!(report.failures, []);
}

#[tokio::test]
async fn a_list_that_cannot_be_had_keeps_everything_even_if_deletions_are_allowed() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.shelf.put("b.txt", "beta");
    *world.shelf.broken.lock().unwrap() = true;
    let report = world.sync([0, 0, 0, 0, 0]).await;
    assert_eq!(
        (report.state(), report.held),
        (SyncState::Failed, 0),
        "there is nothing to hold"
    );
    *world.shelf.broken.lock().unwrap() = false;
    world.sync([2, 0, 0, 0, 0]).await;
    *world.shelf.broken.lock().unwrap() = true;
    let report = world.sync_with(DeletionPolicy::Allowed, [0, 0, 0, 0, 0]).await;
    assert_eq!((report.state(), report.held), (SyncState::Held, 2));
    let error = report.error.unwrap();
    assert_eq!(
        (error.code.as_str(), error.detail.as_str()),
        ("source_unavailable", "the list broke off")
    );
    assert!(error.hint.contains("--allow-deletions"), "{}", error.hint);
    assert_eq!(world.documents().await.len(), 2);
}

#[tokio::test]
async fn a_source_that_yields_nothing_says_so() {
    let world = World::new(true).await;
    let report = world.sync([0, 0, 0, 0, 0]).await;
    assert_eq!(report.state(), SyncState::Failed);
    assert_eq!(report.error.unwrap().code, "source_empty");
    // One that says itself why is not asked twice.
    let gap = ListGap {
        uri: "shelf:".into(),
        error: SourceError::Refused("the shelf is forbidden".into()),
        hides: HiddenItems::None,
    };
    *world.shelf.gaps.lock().unwrap() = vec![gap];
    let report = world.sync([0, 0, 0, 0, 1]).await;
    assert_eq!(
        (report.error, report.failures[0].error.detail.as_str()),
        (None, "the shelf is forbidden")
    );
}

#[tokio::test]
async fn failures_stay_until_a_sync_came_to_its_end_without_them() {
    let world = World::new(true).await;
    world.shelf.put("a.txt", "alpha");
    world.shelf.put("b.txt", "beta");
    world.shelf.locked.lock().unwrap().insert("a.txt".into());
    world.sync([1, 0, 0, 0, 1]).await;
    // A sync that cannot list anything has not looked at what failed.
    *world.shelf.broken.lock().unwrap() = true;
    let report = world.sync([0, 0, 0, 0, 1]).await;
    assert_eq!(report.failures[0].uri, "shelf:a.txt");
    // Nor has one that has only begun.
    *world.shelf.broken.lock().unwrap() = false;
    *world.shelf.hangs.lock().unwrap() = true;
    let turn = world.syncer.acquire_permit(world.record.id).await.unwrap();
    let tenant = world.record.tenant.clone();
    let sync = tokio::spawn(async move { turn.run_sync(&tenant).await });
    while world.shelf.fetched.load(Ordering::Relaxed) < 3 {
        tokio::task::yield_now().await;
    }
    let running = world.kept().await;
    assert_eq!(
        (running.state(), running.counts.failed, running.held),
        (SyncState::Running, 1, 1)
    );
    sync.abort();
    assert!(sync.await.is_err());
    *world.shelf.hangs.lock().unwrap() = false;
    world.shelf.locked.lock().unwrap().clear();
    let report = world.sync([1, 0, 1, 0, 0]).await;
    assert_eq!((report.failures.len(), report.held), (0, 0));
}

#[tokio::test]
async fn failures_are_bounded_in_number_and_bytes() {
    let world = World::new(true).await;
    let gaps = (0..250).map(|n| ListGap {
        uri: format!("shelf:{n}/{}", "ü".repeat(5_000)),
        error: SourceError::Broken("é".repeat(5_000)),
        hides: HiddenItems::None,
    });
    *world.shelf.gaps.lock().unwrap() = gaps.collect();
    world.shelf.put("a.txt", "alpha");
    let report = world.sync([1, 0, 0, 0, 250]).await;
    assert_eq!(report.failures.len(), 100);
    let longest = report
        .failures
        .iter()
        .map(|f| f.uri.len().max(f.error.detail.len()))
        .max();
    assert!(longest.unwrap() < 1_010, "{longest:?}");
}
