//! Sitemaps over a real socket: what they name is taken in, and one that cannot be read costs what it names.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::site::{Page, Site};
use super::small_site;
use super::world::World;

fn index(sitemaps: &[&str]) -> Page {
    let all = sitemaps
        .iter()
        .map(|map| format!("<sitemap><loc>@{map}</loc></sitemap>"));
    Page::text(&format!("<sitemapindex>{}</sitemapindex>", all.collect::<String>()))
}

fn pages(pages: &[&str]) -> Page {
    let all = pages.iter().map(|page| format!("<url><loc>@{page}</loc></url>"));
    Page::text(&format!("<urlset>{}</urlset>", all.collect::<String>()))
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(text.as_bytes()).unwrap();
    packed.finish().unwrap()
}

#[tokio::test]
async fn a_sitemap_names_pages_or_sitemaps() {
    let mut site = small_site();
    site.put("/index.xml", index(&["/one.xml", "/index.xml"]));
    let mut one = pages(&["/a", "/private/c"]);
    one.body = one
        .body
        .replace("</urlset>", "<url><loc>http://other.example/</loc></url></urlset>");
    site.put("/one.xml", one);
    let world = World::new(site, json!({ "sitemaps": ["/index.xml"] })).await;
    world.sync([1, 0, 0, 0, 0]).await;
    assert_eq!(world.paths().await, ["/a"]);
}

#[tokio::test]
async fn one_sitemap_of_several_costs_what_it_names() {
    let mut site = small_site();
    site.put("/index.xml", index(&["/one.xml", "/two.xml"]));
    site.put("/one.xml", pages(&["/a"]));
    site.put("/two.xml", pages(&["/b", "/deep"]));
    let world = World::new(site, json!({ "sitemaps": ["/index.xml"] })).await;
    world.sync([3, 0, 0, 0, 0]).await;
    for (bad, why) in [
        (Page::status(404), "no such sitemap"),
        (Page::status(500), "answered 500"),
        (Page::html("maintenance"), "is no sitemap"),
        (Page::text("<urlset><url><loc>@/b</loc></url><url"), "well-formed"),
    ] {
        world.site().put("/two.xml", bad);
        let report = world.sync([0, 0, 3, 0, 1]).await;
        assert!(report.failures[0].uri.ends_with("/two.xml"), "{report:?}");
        assert!(report.failures[0].error.detail.contains(why), "{report:?}");
        assert_eq!(world.paths().await, ["/a", "/b", "/deep"]);
    }
    world.site().put("/two.xml", pages(&["/b"]));
    world.sync([0, 0, 2, 1, 0]).await;
}

#[tokio::test]
async fn packed_sitemaps_are_read() {
    let mut site = small_site();
    let text = |path: &str| format!("<urlset><url><loc>http://site.test:PORT{path}</loc></url></urlset>");
    site.put("/index.xml", index(&["/one.xml.gz", "/two.xml"]));
    let settings = json!({ "sitemaps": ["http://site.test:PORT/index.xml"] });
    let world = World::new(site, settings).await;
    let packed = |path: &str| Page::bytes(gzip(&text(path).replace("PORT", world.port())));
    world.site().put(
        "/index.xml",
        Page::text(&format!(
            "<sitemapindex><sitemap><loc>http://site.test:{0}/one.xml.gz</loc></sitemap>\
         <sitemap><loc>http://site.test:{0}/two.xml</loc></sitemap></sitemapindex>",
            world.port()
        )),
    );
    world.site().put("/one.xml.gz", packed("/a"));
    // Some servers say of the file that it is packed for the way.
    world
        .site()
        .put("/two.xml", packed("/b").header("content-encoding", "gzip"));
    world.sync([2, 0, 0, 0, 0]).await;
    // What unpacks to too much is read as far as it may be, and told.
    let bomb = text("/a").replace("PORT", world.port()) + &" ".repeat(60 << 20);
    world.site().put("/one.xml.gz", Page::bytes(gzip(&bomb)));
    let report = world.sync([0, 0, 2, 0, 1]).await;
    assert!(
        report.failures[0].error.detail.contains("unpacks to more"),
        "{report:?}"
    );
}

#[tokio::test]
async fn sitemaps_that_lead_on_and_on_have_an_end() {
    let mut site = small_site();
    for n in 0..50 {
        site.put(&format!("/{n}.xml"), index(&[&format!("/{}.xml", n + 1), "/good.xml"]));
    }
    site.put("/good.xml", pages(&["/a"]));
    let world = World::new(site, json!({ "sitemaps": ["/0.xml"] })).await;
    let report = world.sync([1, 0, 0, 0, 1]).await;
    assert!(report.failures[0].error.detail.contains("levels"), "{report:?}");
    assert!(world.site().asked.len() < 12, "{:?}", world.site().asked);
    let mut wide = Site::default();
    let names: Vec<String> = (0..1_200).map(|n| format!("/{n}.xml")).collect();
    wide.put(
        "/index.xml",
        index(&names.iter().map(String::as_str).collect::<Vec<_>>()),
    );
    wide.put("/0.xml", pages(&["/a"]));
    wide.put("/a", Page::html("alpha"));
    for name in &names[1..] {
        wide.put(name, pages(&["/a"]));
    }
    let world = World::new(wide, json!({ "sitemaps": ["/index.xml"] })).await;
    let report = world.sync([1, 0, 0, 0, 1]).await;
    assert!(
        report.failures[0].error.detail.contains("more than 1000 sitemaps"),
        "{report:?}"
    );
}
