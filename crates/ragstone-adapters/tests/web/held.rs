//! Sites that do not give what they gave: nothing is forgotten, and it is told why.

use ragstone_core::seam::source::SyncState;
use ragstone_core::sync::DeletionPolicy;
use serde_json::{Value, json};

use super::site::{Page, Site};
use super::world::World;

/// A home page that leads to so many others, and a sitemap that names all.
fn site(pages: usize) -> Site {
    let mut site = Site::default();
    let link = |n: usize| format!("<a href=/{n}>{n}</a> ");
    site.put(
        "/",
        Page::html(&format!("home {}", (0..pages).map(link).collect::<String>())),
    );
    let mut named = "<url><loc>@/</loc></url>".to_owned();
    for n in 0..pages {
        site.put(&format!("/{n}"), Page::html(&format!("page {n} tells of pump {n}")));
        named += &format!("<url><loc>@/{n}</loc></url>");
    }
    site.put("/s.xml", Page::text(&format!("<urlset>{named}</urlset>")));
    site
}

fn roots() -> [Value; 2] {
    [json!({ "urls": ["/"], "depth": 1 }), json!({ "sitemaps": ["/s.xml"] })]
}

#[tokio::test]
async fn a_site_that_answers_everything_alike_loses_nothing() {
    let away = || Page::redirect("http://other.example/login");
    let maintenance = || Page::html("We are improving our site and will be back soon.");
    for (pages, settings) in [3, 11]
        .into_iter()
        .flat_map(|pages| roots().map(|settings| (pages, settings)))
    {
        for (name, answer) in [
            ("404", Page::status(404)),
            ("410", Page::status(410)),
            ("503", Page::status(503)),
            ("500", Page::status(500)),
            ("redirects elsewhere", away()),
            ("redirects to a login", Page::redirect("/login")),
            ("maintenance", maintenance()),
        ] {
            let world = World::new(site(pages), settings.clone()).await;
            let all = pages as u64 + 1;
            world.sync([all, 0, 0, 0, 0]).await;
            let before = world.paths().await;
            match name {
                "redirects to a login" => {
                    let paths: Vec<String> = world.site().pages.keys().cloned().collect();
                    for path in paths {
                        world.site().put(&path, answer.clone());
                    }
                    world.site().put("/login", Page::html("sign in"));
                }
                _ => world.site().always = Some(answer),
            }
            let report = world.sync_once().await;
            let what = format!("{name}, {pages} pages, {settings}: {report:?}");
            assert_eq!(report.counts.deleted, 0, "{what}");
            assert!(before.iter().all(|path| !path.ends_with("never")), "{what}");
            for path in &before {
                assert!(world.paths().await.contains(path), "{path} of {what}");
            }
            assert!(report.error.is_some() || report.counts.failed > 0, "{what}");
            assert!(world.text("/0").await.contains("pump 0"), "{what}");
            // It is back, and everything is as it was.
            world.site().always = None;
            for (path, page) in site(pages).pages {
                world.site().put(&path, page);
            }
            let report = world.sync_once().await;
            assert_eq!(
                (report.state(), report.counts.failed),
                (SyncState::Succeeded, 0),
                "{what}: {report:?}"
            );
            assert!(world.text("/0").await.contains("pump 0"), "{what}");
        }
    }
}

#[tokio::test]
async fn what_was_held_goes_if_it_is_allowed_and_the_site_says_so() {
    for settings in roots() {
        let world = World::new(site(11), settings).await;
        world.sync([12, 0, 0, 0, 0]).await;
        world.site().always = Some(Page::status(503));
        let report = world.sync_with(DeletionPolicy::Allowed).await;
        assert_eq!((report.state(), report.held), (SyncState::Held, 12), "{report:?}");
        world.site().always = Some(Page::status(404));
        let report = world.sync_once().await;
        assert_eq!((report.state(), report.held), (SyncState::Held, 12), "{report:?}");
        assert!(report.error.unwrap().hint.contains("--allow-deletions"));
        let report = world.sync_with(DeletionPolicy::Allowed).await;
        assert_eq!((report.held, report.counts.deleted), (0, 12), "{report:?}");
    }
}

#[tokio::test]
async fn an_empty_sitemap_is_held() {
    let world = World::new(site(4), json!({ "sitemaps": ["/s.xml"] })).await;
    world.sync([5, 0, 0, 0, 0]).await;
    world.site().put("/s.xml", Page::text("<urlset/>"));
    let report = world.sync_once().await;
    assert_eq!((report.state(), report.held), (SyncState::Held, 5), "{report:?}");
    assert!(report.error.unwrap().detail.contains("names no page"));
    assert_eq!(world.paths().await.len(), 5);
}

#[tokio::test]
async fn a_source_that_yields_no_page_says_why() {
    let check = async |site: Site, settings: Value, why: &str| {
        let report = World::new(site, settings).await.sync_once().await;
        let told = format!("{:?} {:?}", report.error, report.failures);
        assert!(told.contains(why), "{why}: {told}");
    };
    let start = || json!({ "urls": ["/"], "depth": 1 });
    check(Site::default(), start(), "answered 404").await;
    let mut elsewhere = Site::default();
    elsewhere.put("/", Page::redirect("http://other.example/"));
    check(elsewhere, start(), "sends on to other.example").await;
    let mut closed = site(1);
    closed.put("/robots.txt", Page::text("user-agent: *\ndisallow: /\n"));
    check(closed, start(), "robots.txt forbids").await;
    let mut noindex = Site::default();
    noindex.put("/", Page::html("<meta name=robots content=noindex>home"));
    check(noindex, start(), "noindex").await;
    let mut foreign = Site::default();
    foreign.put(
        "/s.xml",
        Page::text("<urlset><url><loc>http://other.example/a</loc></url></urlset>"),
    );
    check(foreign, json!({ "sitemaps": ["/s.xml"] }), "none of the 1 pages").await;
    let mut same = Site::default();
    same.always = Some(Page::html("Please turn on JavaScript."));
    check(same, json!({ "urls": ["/", "/a", "/b", "/c"] }), "the very same page").await;
}
