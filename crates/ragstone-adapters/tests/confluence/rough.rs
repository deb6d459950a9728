//! Limits, faults, and syncs that do not come to their end.

use fastrand::Rng;
use ragstone_core::seam::source::{SyncReport, SyncState};
use ragstone_core::sync::DeletionPolicy;

use super::server::{Faults, Server};
use super::site::{Site, group, user};
use super::world::{World, spaces};

fn site(random: &mut Rng) -> Site {
    let mut site = Site::default();
    site.space("A", &[group("staff")]);
    let mut pages: Vec<u64> = Vec::new();
    for n in 0..12 {
        let page = site.page("A", &format!("P{n}"), random.choice(&pages).copied());
        if random.bool() {
            site.restrict(page, &[user("ana"), group("law")]);
        }
        pages.push(page);
    }
    for n in 0..4 {
        site.add("attachment", "A", &format!("f{n}.txt"), random.choice(&pages).copied());
    }
    site
}

/// Edits, moves, restricts, deletes and adds.
fn change(random: &mut Rng, site: &mut Site) {
    let ids: Vec<u64> = site
        .contents
        .iter()
        .filter(|(_, c)| c.kind == "page")
        .map(|(id, _)| *id)
        .collect();
    for id in ids {
        match random.u8(..6) {
            0 => site.edit(id, &format!("<p>lantern again {}</p>", random.u32(..))),
            1 => site.restrict(id, &[user("ben")]),
            2 => site.of(id).status = "archived",
            3 => drop(site.page("A", &format!("new {id}"), Some(id))),
            _ => {}
        }
    }
}

async fn fresh(server: &std::sync::Arc<Server>) -> World {
    *server.faults() = Faults::default();
    let world = World::beside(server.clone(), spaces(&["A"])).await;
    world.sync_once().await;
    world
}

#[tokio::test]
async fn a_sync_that_is_cut_off_anywhere_ends_like_a_clean_one() {
    for seed in 0..4 {
        let mut random = Rng::with_seed(seed);
        let cloud = seed % 2 == 0;
        let server = Server::start(cloud, site(&mut random)).await;
        let mut world = World::beside(server.clone(), spaces(&["A"])).await;
        for round in 0..3 {
            for _ in 0..3 {
                server.take_seen();
                let after = random.usize(1..30);
                if random.bool() {
                    world.die_after(after).await;
                    world.restart().await;
                } else {
                    server.faults().dies_after = Some(after);
                    world.sync_once().await;
                    server.faults().dies_after = None;
                }
            }
            let report = world.sync_once().await;
            assert_eq!(report.error, None, "{report:?}");
            let clean = fresh(&server).await;
            assert_eq!(
                world.documents().await,
                clean.documents().await,
                "seed {seed}, round {round}"
            );
            change(&mut random, &mut server.site());
        }
    }
}

#[tokio::test]
async fn limits_and_faults_cost_time_only() {
    for cloud in [true, false] {
        let mut random = Rng::with_seed(5);
        let world = World::new(cloud, site(&mut random), spaces(&["A"])).await;
        *world.server.faults() = Faults {
            broken_every: Some(5),
            busy_every: Some(7),
            ..Faults::default()
        };
        world.sync([16, 0, 0, 0, 0]).await;
        let seen = world.server.take_seen();
        assert!((2..=4).contains(&seen.most), "{} requests in flight", seen.most);
        assert_eq!(world.documents().await, fresh(&world.server).await.documents().await);
    }
}

#[tokio::test]
async fn requests_in_flight_have_a_bound_of_ones_own() {
    let mut random = Rng::with_seed(6);
    let settings = serde_json::json!({"spaces": ["A"], "at_once": 1});
    let world = World::new(true, site(&mut random), settings).await;
    world.sync([16, 0, 0, 0, 0]).await;
    assert_eq!(world.server.take_seen().most, 1);
}

fn detail(report: &SyncReport) -> &str {
    &report.error.as_ref().expect("it was refused").detail
}

#[tokio::test]
async fn credentials_that_are_wrong_or_expire_are_named_and_cost_nothing() {
    for cloud in [true, false] {
        let mut random = Rng::with_seed(7);
        let world = World::new(cloud, site(&mut random), spaces(&["A"])).await;
        world.sync([16, 0, 0, 0, 0]).await;
        let before = world.documents().await;
        for after in [0, 2] {
            world.server.take_seen();
            world.server.faults().expires_after = Some(after);
            let report = world.sync_once().await;
            assert_eq!(report.error.as_ref().unwrap().code, "source_refused");
            assert!(
                detail(&report).contains("does not accept the credentials (401)"),
                "{report:?}"
            );
            assert!(!format!("{report:?}").contains("secret-token"));
            assert_eq!(
                world.server.take_seen().requests.len(),
                after + 1,
                "it is not asked again"
            );
            assert_eq!(world.documents().await, before);
        }
        *world.server.faults() = Faults::default();
        *world.server.token.lock().unwrap() = "a-newer-token".into();
        assert!(detail(&world.sync_once().await).contains("401"));
        *world.server.sent.lock().unwrap() = "a-newer-token".into();
        world.sync([0, 0, 16, 0, 0]).await;
    }
}

#[tokio::test]
async fn attachments_that_are_not_told_cost_themselves_only() {
    for cloud in [true, false] {
        for status in [403, 500] {
            let mut site = Site::default();
            site.space("A", &[group("staff")]);
            let (home, other) = (site.page("A", "Home", None), site.page("A", "Other", None));
            for n in 0..3 {
                site.add("attachment", "A", &format!("h{n}.txt"), Some(home));
            }
            // Few attachments are told along with their page, which does not fail.
            let gone = site.add("attachment", "A", "o.txt", Some(other));
            let world = World::new(cloud, site, spaces(&["A"])).await;
            world.sync([6, 0, 0, 0, 0]).await;
            let path = if cloud { "/attachments" } else { "/child/attachment" };
            world.server.faults().at = Some((path, status));
            world.server.site().contents.remove(&gone);
            world.server.site().edit(other, "<p>another text</p>");
            let report = world.sync([0, 1, 1, 1, 1]).await;
            let failure = &report.failures[0];
            assert_eq!(failure.uri, format!("{}#attachments", world.uri(home)));
            assert!(failure.error.detail.contains(&status.to_string()), "{failure:?}");
            assert_eq!(world.titles().await, ["Home", "Other", "h0", "h1", "h2"]);
            // A page that goes takes its attachments with it.
            world.server.faults().at = None;
            world.server.site().of(home).status = "trashed";
            world.sync([0, 0, 1, 4, 0]).await;
        }
    }
}

#[tokio::test]
async fn credentials_that_end_while_attachments_are_listed_cost_nothing() {
    let mut site = Site::default();
    site.space("A", &[group("staff")]);
    let home = site.page("A", "Home", None);
    for n in 0..3 {
        site.add("attachment", "A", &format!("h{n}.txt"), Some(home));
    }
    let world = World::new(true, site, spaces(&["A"])).await;
    world.sync([4, 0, 0, 0, 0]).await;
    world.server.faults().at = Some(("/attachments", 401));
    let report = world.sync_once().await;
    assert!(detail(&report).contains("does not accept the credentials (401)"));
    assert_eq!((report.state(), world.titles().await.len()), (SyncState::Failed, 4));
}

#[tokio::test]
async fn a_space_that_lists_nothing_is_held() {
    for cloud in [true, false] {
        let mut random = Rng::with_seed(9);
        let world = World::new(cloud, site(&mut random), spaces(&["A"])).await;
        world.sync([16, 0, 0, 0, 0]).await;
        let contents = std::mem::take(&mut world.server.site().contents);
        let report = world.sync_once().await;
        assert_eq!((report.state(), report.held), (SyncState::Held, 16));
        assert_eq!(world.documents().await.len(), 16);
        world.server.site().contents = contents;
        world.sync([0, 0, 16, 0, 0]).await;
        // A server that does not answer holds everything, too, and is no reason to delete anything.
        world.server.faults().dies_after = Some(0);
        let report = world.sync_with(DeletionPolicy::Allowed).await;
        assert_eq!((report.state(), report.held), (SyncState::Held, 16));
        assert_eq!(world.documents().await.len(), 16);
    }
}

#[tokio::test]
async fn a_list_that_does_not_end_and_a_space_that_is_not_there_are_errors() {
    for cloud in [true, false] {
        let mut random = Rng::with_seed(8);
        let world = World::new(cloud, site(&mut random), spaces(&["A"])).await;
        world.sync([16, 0, 0, 0, 0]).await;
        world.server.faults().endless = true;
        assert!(detail(&world.sync_once().await).contains("does not end"));
        *world.server.faults() = Faults::default();
        world.server.site().spaces.clear();
        assert!(detail(&world.sync_once().await).contains("no space A"));
        assert_eq!(world.documents().await.len(), 16);
    }
}

/// `cargo test -p ragstone-adapters --test confluence -- --ignored --nocapture`
#[tokio::test]
#[ignore = "a measurement, which takes a minute"]
async fn ten_thousand_pages_are_listed_much_faster_than_they_are_read() {
    for cloud in [true, false] {
        let mut site = Site::default();
        site.space("A", &[group("staff")]);
        let mut above = Vec::new();
        for n in 0..10_000_usize {
            let page = site.page("A", &format!("P{n}"), above.get(n / 10).copied());
            above.push(page);
        }
        let server = Server::start_with(cloud, site, 250).await;
        let world = World::beside(server, spaces(&["A"])).await;
        let mut took = Vec::new();
        for expected in [[10_000, 0, 0, 0, 0], [0, 0, 10_000, 0, 0]] {
            let begun = std::time::Instant::now();
            let turn = world.syncer.acquire_permit(world.record.id).await.unwrap();
            let counts = turn.run_sync(&world.record.tenant).await.unwrap().counts;
            took.push(begun.elapsed());
            assert_eq!(
                [
                    counts.new,
                    counts.changed,
                    counts.unchanged,
                    counts.deleted,
                    counts.failed
                ],
                expected
            );
            eprintln!(
                "{:?}, {} requests",
                took.last().unwrap(),
                world.server.take_seen().requests.len()
            );
        }
        eprintln!(
            "unchanged {:.1} times as fast",
            took[0].as_secs_f64() / took[1].as_secs_f64()
        );
    }
}
