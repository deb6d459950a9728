//! Syncs that nothing disturbs.

use ragstone_core::sync::DeletionPolicy;
use serde_json::json;

use super::site::{Site, Who, group, user};
use super::world::{World, spaces};

const CLOUD_AND_OWN: [bool; 2] = [true, false];

/// Two spaces with something of each kind.
fn site() -> Site {
    let mut site = Site::default();
    site.space("OPS", &[group("staff")]);
    site.space("LAW", &[user("ana")]);
    let home = site.page("OPS", "Home", None);
    for n in 0..9 {
        site.page("OPS", &format!("Page {n}"), Some(home));
    }
    site.add("blogpost", "OPS", "News", None);
    for name in ["a.txt", "b.txt", "c.txt", "plan.png"] {
        site.add("attachment", "OPS", name, Some(home));
    }
    site.add("comment", "OPS", "Re: Home", Some(home));
    for status in ["draft", "archived", "trashed"] {
        let page = site.page("OPS", status, Some(home));
        site.of(page).status = status;
    }
    site.page("LAW", "Contract", None);
    site
}

#[tokio::test]
async fn what_is_current_is_taken_in_and_asked_for_once() {
    for cloud in CLOUD_AND_OWN {
        let world = World::new(cloud, site(), spaces(&["OPS", "LAW"])).await;
        let report = world.sync([15, 0, 0, 0, 0]).await;
        assert!(report.job.is_some());
        let titles = world.titles().await;
        assert_eq!(titles[..4], ["Contract", "Home", "News", "Page 0"]);
        assert_eq!(titles[12..], ["a", "b", "c"]);
        let home = world.documents().await.remove(&world.uri(101)).unwrap();
        let context = world.server.context();
        assert_eq!(
            home.url,
            format!("{}{context}/spaces/OPS/pages/101/Home", world.server.address)
        );
        let readers: Vec<_> = home.acl.sets.iter().flatten().map(|reader| reader.as_str()).collect();
        assert_eq!(readers, [if cloud { "group:id-of-staff" } else { "group:staff" }]);
        assert!(world.documents().await.values().all(|seen| seen.published));
        let first = world.server.take_seen();
        world.sync([0, 0, 15, 0, 0]).await;
        let second = world.server.take_seen().requests;
        let bodies = |path: &&String| path.contains("body") || path.contains("/download/");
        assert_eq!(first.requests.iter().filter(bodies).count(), 15, "{first:?}");
        assert_eq!(second.iter().filter(bodies).count(), 0, "{second:?}");
        let (found, _) = world.found_by(&[user("ana")].into(), "lantern contract").await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [world.uri(120)]);
    }
}

#[tokio::test]
async fn edits_moves_and_deletions_are_seen_in_one_sync() {
    for cloud in CLOUD_AND_OWN {
        let world = World::new(cloud, site(), spaces(&["OPS", "LAW"])).await;
        world.sync([15, 0, 0, 0, 0]).await;
        {
            let mut site = world.server.site();
            site.edit(102, "<h2>Part</h2><p>edited</p>");
            // To another page and another space, without a new version.
            site.of(103).parent = Some(102);
            site.of(104).space = "LAW".into();
            site.of(104).parent = None;
            site.of(105).status = "trashed";
            site.of(106).status = "archived";
            site.contents.remove(&107);
            site.edit(113, "another text of b");
            site.add("attachment", "OPS", "d.txt", Some(101));
        }
        let report = world.sync([1, 3, 9, 3, 0]).await;
        assert!(report.job.is_some());
        let (found, _) = world.found_by(&[user("ana")].into(), "lantern").await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [world.uri(104), world.uri(120)]);
        let (found, _) = world.found_by(&[group("staff")].into(), "edited").await;
        assert!(found.contains(&world.uri(102)) && !found.contains(&world.uri(104)));
        world.sync([0, 0, 13, 0, 0]).await;
        // A whole space is archived.
        world.server.site().spaces.get_mut("OPS").unwrap().archived = true;
        let held = world.sync_once().await;
        assert_eq!((held.held, held.counts.unchanged, held.counts.deleted), (11, 2, 0));
        assert_eq!(world.documents().await.len(), 13);
        let allowed = world.sync_with(DeletionPolicy::Allowed).await;
        assert_eq!((allowed.held, allowed.counts.deleted, allowed.error), (0, 11, None));
    }
}

#[tokio::test]
async fn comments_belong_to_their_page_if_they_are_wanted() {
    for cloud in CLOUD_AND_OWN {
        let settings = json!({"spaces": ["OPS"], "comments": true, "attachments": false});
        let world = World::new(cloud, site(), settings).await;
        world.sync([11, 0, 0, 0, 0]).await;
        let staff = [group("staff")].into();
        let (found, _) = world.found_by(&staff, "word116").await;
        assert!(found.contains(&world.uri(101)), "{found:?}");
        world.server.site().edit(116, "<p>quokka</p>");
        world.sync([0, 1, 10, 0, 0]).await;
        world.server.site().contents.remove(&116);
        world.sync([0, 1, 10, 0, 0]).await;
    }
}

#[tokio::test]
async fn a_query_chooses_pages() {
    for cloud in CLOUD_AND_OWN {
        let mut site = site();
        for id in [103, 111, 120] {
            site.of(id).label = Some("public");
        }
        site.restrict(101, &[user("ana")]);
        let world = World::new(cloud, site, json!({"cql": "label = \"public\""})).await;
        world.sync([3, 0, 0, 0, 0]).await;
        assert_eq!(world.titles().await, ["Contract", "News", "Page 1"]);
        // What is above a page restricts it, found or not.
        let (found, _) = world.found_by(&[group("staff")].into(), "lantern").await;
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [world.uri(111)]);
        let (found, _) = world.found_by(&[group("staff"), user("ana")].into(), "lantern").await;
        assert_eq!(found.len(), 3);
        world.server.site().of(103).label = None;
        world.sync([0, 0, 2, 1, 0]).await;
    }
}

#[tokio::test]
async fn readers_may_be_called_otherwise() {
    let mut site = site();
    site.space("ALL", &[Who::Anonymous, group("staff")]);
    site.page("ALL", "Open", None);
    let settings = json!({"spaces": ["OPS", "ALL"], "readers_as": {"group:staff": "dept:operations"}});
    let world = World::new(false, site, settings).await;
    world.sync([15, 0, 0, 0, 0]).await;
    let (_, listed) = world.found_by(&[group("staff")].into(), "lantern").await;
    assert_eq!(listed.into_iter().collect::<Vec<_>>(), [world.uri(121)]);
    let acl = world.documents().await.remove(&world.uri(101)).unwrap().acl;
    assert_eq!(acl.sets, [["dept:operations".parse().unwrap()].into_iter().collect()]);
}
