//! Who may read what: a tree restricted at random beside the rule told a second time, and what is closed when the
//! readers are not known.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::site::{Site, Who, group, user};
use super::world::{World, spaces};

const PAGES: usize = 45;
const ROUNDS: usize = 4;

/// The callers: each a user with some groups.
fn callers() -> Vec<BTreeSet<Who>> {
    let caller = |name: &str, groups: &[&str]| {
        let groups = groups.iter().map(|name| group(name));
        groups.chain([user(name)]).collect()
    };
    vec![
        caller("ana", &["staff", "law"]),
        caller("ben", &["staff"]),
        caller("cleo", &["law", "board"]),
        caller("dan", &["staff", "board"]),
        caller("eve", &[]),
        BTreeSet::new(),
    ]
}

fn some(random: &mut Rng) -> BTreeSet<Who> {
    let all = [
        user("ana"),
        user("ben"),
        user("eve"),
        group("staff"),
        group("law"),
        group("board"),
    ];
    // Now and then more than are told at once, mostly of nobody here.
    let many = (0..4)
        .map(|n| user(&format!("x{n}")))
        .filter(|_| random.u8(..) < 60)
        .collect::<Vec<_>>();
    let few = all.into_iter().filter(|_| random.u8(..) < 90);
    few.chain(many).collect()
}

fn random_site(random: &mut Rng, cloud: bool) -> Site {
    let mut site = Site::default();
    site.space("A", &[group("staff"), user("cleo")]);
    site.space("B", &[group("law"), group("board"), user("eve")]);
    let mut ids: Vec<(u64, &str)> = Vec::new();
    for n in 0..PAGES {
        let space = if random.bool() { "A" } else { "B" };
        let above: Vec<u64> = ids.iter().filter(|(_, of)| *of == space).map(|(id, _)| *id).collect();
        let parent = (random.u8(..) < 220).then(|| random.choice(&above).copied()).flatten();
        let kind = if cloud && random.u8(..) < 30 { "folder" } else { "page" };
        ids.push((site.add(kind, space, &format!("P{n}"), parent), space));
    }
    shake(random, &mut site);
    site
}

/// Restricts, opens and moves some pages, without a new version of any.
fn shake(random: &mut Rng, site: &mut Site) {
    let ids: Vec<u64> = site.contents.keys().copied().collect();
    for id in &ids {
        match random.u8(..) {
            0..40 => {
                let who = some(random);
                site.of(*id).restricted = Some(who).filter(|who| !who.is_empty());
            }
            40..80 => site.of(*id).restricted = None,
            80..95 => {
                let to = *random.choice(&ids).unwrap();
                let same_space = site.contents[&to].space == site.contents[id].space;
                if same_space && to != *id && !site.above(to).contains(id) {
                    site.of(*id).parent = Some(to);
                }
            }
            _ => {}
        }
        site.of(*id).indexed = random.u8(..) < 230;
    }
    let space = if random.bool() { "A" } else { "B" };
    let readers = some(random).into_iter().chain([user("dan")]).collect();
    site.spaces.get_mut(space).unwrap().readers = readers;
}

#[tokio::test]
async fn a_tree_restricted_at_random_leaks_nothing_and_refuses_nothing() {
    for (cloud, seed) in [(true, 1), (false, 2), (true, 3)] {
        let mut random = Rng::with_seed(seed);
        let site = random_site(&mut random, cloud);
        let world = World::new(cloud, site, spaces(&["A", "B"])).await;
        let (mut allowed, mut refused) = (0, 0);
        for round in 0..ROUNDS {
            let report = world.sync_once().await;
            assert_eq!((report.error.clone(), report.counts.failed), (None, 0), "{report:?}");
            assert_eq!(report.job.is_some(), round == 0, "nothing is embedded again");
            let site = world.server.site().clone();
            for names in callers() {
                let (found, listed) = world.found_by(&names, "lantern").await;
                let pages = site.contents.iter().filter(|(_, content)| content.kind == "page");
                let (may, may_not): (Vec<u64>, Vec<u64>) =
                    pages.map(|(id, _)| *id).partition(|id| site.may_read(&names, *id));
                allowed += may.len();
                refused += may_not.len();
                let may: BTreeSet<String> = may.into_iter().map(|id| world.uri(id)).collect();
                assert_eq!(found, may, "seed {seed}, round {round}, {names:?}");
                assert_eq!(listed, may, "seed {seed}, round {round}, {names:?}");
            }
            shake(&mut random, &mut world.server.site());
        }
        assert!(allowed > 100 && refused > 100, "{allowed} {refused}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_closed_and_told() {
    for cloud in [true, false] {
        let mut site = Site::default();
        site.space("A", &[group("staff")]);
        let top = site.page("A", "Top", None);
        let below = site.page("A", "Below", Some(top));
        let beside = site.page("A", "Beside", None);
        let world = World::new(cloud, site, spaces(&["A"])).await;
        let staff = BTreeSet::from([group("staff")]);
        let seen = async || world.found_by(&staff, "lantern").await.1;
        world.sync([3, 0, 0, 0, 0]).await;
        assert_eq!(seen().await.len(), 3);
        world.server.site().of(top).untold = true;
        let report = world.sync([0, 0, 1, 0, 2]).await;
        assert!(
            report.failures[0].error.detail.contains("restrictions of page"),
            "{report:?}"
        );
        assert_eq!(seen().await, [world.uri(beside)].into());
        assert_eq!(world.documents().await.len(), 3);
        world.server.site().of(top).untold = false;
        world.server.site().spaces.get_mut("A").unwrap().untold = true;
        let report = world.sync([0, 0, 0, 0, 3]).await;
        assert!(
            report.failures[0].error.detail.contains("permissions of the space A"),
            "{report:?}"
        );
        assert_eq!(seen().await, BTreeSet::new());
        world.server.site().spaces.get_mut("A").unwrap().untold = false;
        let report = world.sync([0, 3, 0, 0, 0]).await;
        assert_eq!(report.job, None);
        assert_eq!(seen().await.len(), 3);
        // Restricted to somebody whom the site has forgotten: to nobody.
        world.server.site().restrict(below, &[user("")]);
        world.sync([0, 1, 2, 0, 0]).await;
        assert_eq!(seen().await.len(), 2);
    }
}

#[tokio::test]
async fn a_page_that_is_above_itself_is_closed() {
    let mut site = Site::default();
    site.space("A", &[group("staff")]);
    let (one, two) = (site.page("A", "One", None), site.page("A", "Two", None));
    site.of(one).parent = Some(two);
    site.of(two).parent = Some(one);
    let world = World::new(true, site, spaces(&["A"])).await;
    let report = world.sync([0, 0, 0, 0, 2]).await;
    assert!(report.failures[0].error.detail.contains("above itself"), "{report:?}");
}
