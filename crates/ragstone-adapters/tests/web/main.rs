//! The web source against a site of our own over a real socket: what is listed, what is asked for again, and what traps,
//! loops, slow and huge pages cost.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(feature = "web")]

mod held;
mod maps;
mod site;
mod world;

use serde_json::json;

use site::{Page, Site};
use world::World;

const ROBOTS: &str = "user-agent: *\ndisallow: /private\n";

fn small_site() -> Site {
    let mut site = Site::default();
    site.put("/robots.txt", Page::text(ROBOTS));
    site.put(
        "/",
        Page::html("<h1>Home</h1><a href=a>a</a> <a href='/b?utm_source=x#part'>b</a> <a href=/private/c>c</a>"),
    );
    site.put(
        "/a",
        Page::html("alpha <a href=/deep>deep</a> <a href=/plan.png>plan</a> <a href=/doc.pdf>doc</a>"),
    );
    site.put(
        "/b",
        Page::html("beta <a href=/>home</a> <a href='http://other.example/x'>away</a>"),
    );
    site.put("/deep", Page::html("gamma <a href=/deeper>deeper</a>"));
    site.put("/deeper", Page::html("delta"));
    site.put("/private/c", Page::html("secret"));
    site.put(
        "/plan.png",
        Page {
            media: "image/png",
            ..Page::text("png")
        },
    );
    site.put(
        "/doc.pdf",
        Page {
            media: "application/pdf",
            ..Page::text("a document")
        },
    );
    site
}

#[tokio::test]
async fn a_site_is_followed_as_far_as_it_is_said() {
    for (depth, expected) in [
        (0, vec!["/"]),
        (1, vec!["/", "/a", "/b"]),
        (2, vec!["/", "/a", "/b", "/deep", "/doc.pdf"]),
        (5, vec!["/", "/a", "/b", "/deep", "/deeper", "/doc.pdf"]),
    ] {
        let world = World::new(small_site(), json!({ "urls": ["/"], "depth": depth })).await;
        world.sync([expected.len() as u64, 0, 0, 0, 0]).await;
        assert_eq!(world.paths().await, expected, "depth {depth}");
        assert!(!world.site().asked.iter().any(|path| path.starts_with("/private")));
        world.sync([0, 0, expected.len() as u64, 0, 0]).await;
    }
    let settings = json!({ "urls": ["/", "/deep"], "depth": 5, "paths": ["/d"], "exclude": ["/deeper"] });
    let world = World::new(small_site(), settings).await;
    world.sync([1, 0, 0, 0, 0]).await;
    assert_eq!(world.paths().await, ["/deep"]);
}

#[tokio::test]
async fn pages_are_asked_for_only_if_they_changed() {
    for mark in ["etag", "modified", "none"] {
        let mut site = Site::default();
        for n in 0..6 {
            let page = Page::html(&format!("page {n}"));
            site.put(
                &format!("/{n}"),
                match mark {
                    "etag" => page.etag("W/\"one\""),
                    "modified" => page.modified("Tue, 15 Nov 1994 08:12:31 GMT"),
                    _ => page,
                },
            );
        }
        let urls: Vec<String> = (0..6).map(|n| format!("/{n}")).collect();
        let world = World::new(site, json!({ "urls": urls })).await;
        world.sync([6, 0, 0, 0, 0]).await;
        assert_eq!(world.site().bodies, 6);
        world.sync([0, 0, 6, 0, 0]).await;
        assert_eq!(world.site().bodies, if mark == "none" { 12 } else { 6 });
        world.site().put("/3", Page::html("page 3, again").etag("\"two\""));
        world.site().pages.remove("/4");
        world.sync([0, 1, 4, 1, 0]).await;
        assert_eq!(world.paths().await, ["/0", "/1", "/2", "/3", "/5"]);
    }
}

#[tokio::test]
async fn a_page_has_one_address_and_may_want_to_be_left_out() {
    let mut site = Site::default();
    let canonical = |body: &str| Page::html(&format!("<link rel=canonical href=/real>{body}"));
    site.put(
        "/",
        Page::html("<a href=/one>1</a><a href=/two>2</a><a href=/off>3</a><a href=/moved>4</a><a href=/way>5</a>"),
    );
    // Their canonical address has no page: the text stays under the first of them.
    site.put("/one", canonical("same"));
    site.put("/two", canonical("same"));
    site.put(
        "/off",
        Page::html("<link rel=canonical href='https://elsewhere.example/'>off"),
    );
    site.put("/moved", Page::redirect("/target"));
    site.put("/target", Page::html("target"));
    site.put(
        "/way",
        Page::html("<meta name=robots content=noindex><a href=/behind>b</a>way"),
    );
    site.put(
        "/behind",
        Page::html("<base href=/x/><meta name=robots content=nofollow><a href=never>n</a>behind"),
    );
    site.put("/x/never", Page::html("never"));
    let world = World::new(site, json!({ "urls": ["/"], "depth": 9 })).await;
    world.sync([5, 0, 0, 0, 0]).await;
    assert_eq!(world.paths().await, ["/", "/behind", "/off", "/one", "/target"]);
}

#[tokio::test]
async fn redirects_lead_nowhere_else() {
    let mut site = small_site();
    site.put(
        "/",
        Page::html(
            "<a href=/loop>1</a><a href=/within>2</a><a href=/away>3</a><a href=/file>4</a><a href=/to-private>5</a>",
        ),
    );
    site.put("/loop", Page::redirect("/loop"));
    // Another address of this machine, which is not allowed; another host that is not meant.
    let port = 80;
    site.put(
        "/within",
        Page::redirect(&format!("http://127.0.0.2:{port}/latest/meta-data")),
    );
    site.put("/away", Page::redirect("http://other.example/"));
    site.put("/file", Page::redirect("file:///etc/passwd"));
    site.put("/to-private", Page::redirect("/private/c"));
    let world = World::new(site, json!({ "urls": ["/"], "depth": 1 })).await;
    world.sync([1, 0, 0, 0, 0]).await;
    assert_eq!(world.paths().await, ["/"]);
    assert!(!world.site().asked.iter().any(|path| path.starts_with("/private")));
}

#[tokio::test]
async fn the_own_network_is_refused_unless_it_is_allowed() {
    let world = World::refused(small_site(), json!({ "urls": ["/"], "depth": 3 })).await;
    let report = world.sync_once().await;
    let error = report.error.unwrap();
    assert_eq!(error.code, "source_refused");
    assert!(
        error.detail.contains("is not public") || error.detail.contains("not among those allowed"),
        "{error:?}"
    );
    assert!(world.site().asked.is_empty());
}

#[tokio::test]
async fn a_trap_ends_at_the_limit_and_is_told() {
    let mut site = Site::default();
    site.put("/", Page::html("<a href=/calendar/0>next</a>"));
    site.trap = true;
    let settings = json!({ "urls": ["/"], "depth": 32, "max_pages": 20 });
    let world = World::new(site, settings).await;
    let report = world.sync([20, 0, 0, 0, 1]).await;
    assert!(report.failures[0].error.detail.contains("max_pages"), "{report:?}");
    let asked = world.site().asked.len();
    assert!(asked <= 30, "{asked}");
    world.sync([0, 0, 20, 0, 1]).await;
}

#[tokio::test]
async fn slow_and_huge_pages_cost_themselves_only() {
    let mut site = small_site();
    site.put(
        "/",
        Page::html("<a href=/a>a</a><a href=/slow>s</a><a href=/huge>h</a><a href=/b>b</a>"),
    );
    site.put(
        "/slow",
        Page {
            never_ends: true,
            ..Page::html("slow")
        },
    );
    site.put("/huge", Page::html(&"huge ".repeat(100_000)));
    let world = World::new(site, json!({ "urls": ["/"], "depth": 1, "at_once": 4 })).await;
    let report = world.sync([3, 0, 0, 0, 2]).await;
    let reasons: Vec<&str> = report
        .failures
        .iter()
        .map(|failure| failure.error.detail.as_str())
        .collect();
    assert!(
        reasons.iter().any(|why| why.contains("longer than allowed")),
        "{reasons:?}"
    );
    assert!(reasons.iter().any(|why| why.contains("more than")), "{reasons:?}");
    assert_eq!(world.paths().await, ["/", "/a", "/b"]);
}

#[tokio::test]
async fn what_cannot_be_read_now_is_not_forgotten() {
    let world = World::new(small_site(), json!({ "urls": ["/"], "depth": 5 })).await;
    world.sync([6, 0, 0, 0, 0]).await;
    let all = world.paths().await;
    // A page on the way fails: it and what is behind it stay.
    world.site().put(
        "/a",
        Page {
            status: 500,
            ..Page::html("oh")
        },
    );
    world.sync([0, 0, 5, 0, 1]).await;
    assert_eq!(world.paths().await, all);
    // Another one is gone meanwhile: that is known.
    world.site().pages.remove("/b");
    world.sync([0, 0, 4, 1, 1]).await;
    world.site().put("/a", Page::html("alpha, with no links"));
    world.sync([0, 1, 1, 3, 0]).await;
    assert_eq!(world.paths().await, ["/", "/a"]);
    // The rules cannot be read, or the first page: nothing is done at all.
    for path in ["/robots.txt", "/"] {
        let before = world.site().pages[path].clone();
        world.site().put(
            path,
            Page {
                status: 503,
                ..Page::text("down")
            },
        );
        let report = world.sync_once().await;
        assert_eq!(report.error.unwrap().code, "source_unavailable", "{path}");
        assert_eq!(world.paths().await, ["/", "/a"]);
        world.site().put(path, before);
    }
    // The rules forbid it.
    world.site().put(
        "/robots.txt",
        Page::text("user-agent: ragstone\ndisallow: /a\ndisallow: /private\n"),
    );
    world.sync([0, 0, 1, 1, 0]).await;
}

#[tokio::test]
async fn a_canonical_address_loses_no_text() {
    let page = |text: &str| Page::html(&format!("<link rel=canonical href=/>{text}"));
    let mut site = Site::default();
    site.put(
        "/",
        page("welcome <a href=/a>a</a> <a href=/b>b</a> <a href=/index.html>i</a>"),
    );
    site.put("/a", page("alpha"));
    site.put("/b", page("beta"));
    // The same text in other markup is another address of the home page.
    site.put(
        "/index.html",
        page("<p class=x>welcome</p> <a href='/a'>a</a> <a href='/b'>b</a> <a href=index.html>i</a>"),
    );
    for mark in ["", "\"one\""] {
        let mut site = site_copy(&site);
        if !mark.is_empty() {
            site.pages.values_mut().for_each(|page| page.etag = Some("\"one\""));
        }
        let world = World::new(site, json!({ "urls": ["/"], "depth": 1 })).await;
        world.sync([3, 0, 0, 0, 0]).await;
        assert_eq!(world.paths().await, ["/", "/a", "/b"]);
        for (path, word) in [("/", "welcome"), ("/a", "alpha"), ("/b", "beta")] {
            assert!(world.text(path).await.contains(word), "{path}");
        }
        // Pages that say that they are as they were are still known as copies.
        world.sync([0, 0, 3, 0, 0]).await;
    }
}

fn site_copy(site: &Site) -> Site {
    let mut copy = Site::default();
    copy.pages.clone_from(&site.pages);
    copy
}

#[tokio::test]
async fn a_redirected_page_stands_under_its_final_address_once() {
    let mut site = Site::default();
    site.put(
        "/",
        Page::html("home <a href=/old>o</a> <a href=/older>o</a> <a href=/new>n</a>"),
    );
    site.put("/old", Page::redirect("/new"));
    site.put("/older", Page::redirect("/old"));
    site.put("/new", Page::html("the text"));
    // The first request for one of them fails; the second one finds the redirect.
    site.at_first.insert("/older".into(), (1, Page::status(500)));
    let world = World::new(site, json!({ "urls": ["/"], "depth": 1 })).await;
    let report = world.sync([2, 0, 0, 0, 1]).await;
    assert!(report.failures[0].uri.ends_with("/older"), "{report:?}");
    assert_eq!(world.paths().await, ["/", "/new"]);
    world.sync([0, 0, 2, 0, 0]).await;
    // A page that moved, with the same mark at its new address.
    for (from, to) in [("/new", "/newest"), ("/newest", "/last")] {
        let page = world.site().pages[from].clone().etag("\"same\"");
        world.site().put(from, page.clone());
        world.sync_once().await;
        world.site().put(to, page);
        world.site().put(from, Page::redirect(to));
        world.sync([1, 0, 1, 1, 0]).await;
        assert!(world.paths().await.contains(&to.to_owned()) && world.paths().await.len() == 2);
    }
}

#[tokio::test]
async fn a_host_that_asks_to_wait_is_waited_for() {
    for status in [429, 503] {
        let mut site = small_site();
        let busy = Page::status(status).header("retry-after", "0.05");
        for path in ["/", "/a", "/robots.txt", "/b"] {
            site.at_first.insert(path.into(), (2, busy.clone()));
        }
        let world = World::new(site, json!({ "urls": ["/"], "depth": 1 })).await;
        world.sync([3, 0, 0, 0, 0]).await;
        // One that asks to wait again and again is not waited for without an end.
        world.site().at_first.insert("/b".into(), (usize::MAX, busy));
        world.sync([0, 0, 2, 0, 1]).await;
        assert_eq!(world.paths().await, ["/", "/a", "/b"]);
    }
}

#[tokio::test]
async fn rules_are_compared_decoded() {
    let mut site = Site::default();
    site.put(
        "/robots.txt",
        Page::text("user-agent: *\ndisallow: /pri%76ate%20notes/\ndisallow: /~joe\n"),
    );
    site.put(
        "/",
        Page::html("<a href='/private notes/a'>1</a><a href=/%7Ejoe/x>2</a><a href=/open%7E/x>3</a>"),
    );
    for path in ["/private%20notes/a", "/%7Ejoe/x", "/open%7E/x"] {
        site.put(path, Page::html(path));
    }
    let world = World::new(site, json!({ "urls": ["/"], "depth": 1 })).await;
    world.sync([2, 0, 0, 0, 0]).await;
    assert_eq!(world.paths().await, ["/", "/open%7E/x"]);
    assert_eq!(
        world
            .site()
            .asked
            .iter()
            .filter(|path| path.contains("joe") || path.contains("notes"))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_start_page_may_send_on_to_another_name_of_its_site() {
    let settings = json!({ "urls": ["http://site.test:PORT/"], "depth": 1 });
    let world = World::new(Site::default(), settings).await;
    let port = world.port().to_owned();
    world
        .site()
        .put("/", Page::redirect(&format!("http://www.site.test:{port}/home")));
    world
        .site()
        .put("/home", Page::html("home <a href=/a>a</a> <a href=/private/c>c</a>"));
    world.site().put("/a", Page::html("alpha"));
    world.site().put("/private/c", Page::html("secret"));
    world.site().put("/robots.txt", Page::text(ROBOTS));
    world.sync([2, 0, 0, 0, 0]).await;
    let address = |path: &str| format!("http://www.site.test:{port}{path}");
    assert_eq!(world.paths().await, [address("/a"), address("/home")]);
    world.sync([0, 0, 2, 0, 0]).await;
    // Another site is told and not gone to.
    let elsewhere = format!("http://other.test:{port}/home");
    world.site().put("/", Page::redirect(&elsewhere));
    let report = world.sync_once().await;
    assert!(
        report.failures[0].error.detail.contains("sends on to other.test"),
        "{report:?}"
    );
    assert_eq!((report.held, world.paths().await.len()), (2, 2));
}
