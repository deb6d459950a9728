//! Sitemaps: addresses of pages, or of further sitemaps.

/// Bytes of a sitemap (sitemaps.org: 50 MiB).
pub(super) const MAX_BYTES: usize = 50 << 20;
/// Addresses of a sitemap (sitemaps.org).
const MAX_ADDRESSES: usize = 50_000;

/// What a sitemap names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sitemap {
    Pages(Vec<String>),
    /// Other sitemaps.
    Index(Vec<String>),
}

/// Reads a sitemap: XML, or a line for each address. None if it is neither.
pub(super) fn parse(text: &str) -> Option<Sitemap> {
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("http://") || text.starts_with("https://") {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        return Some(Sitemap::Pages(
            lines.take(MAX_ADDRESSES).map(str::to_owned).collect(),
        ));
    }
    match (text.contains("<sitemapindex"), text.contains("<urlset")) {
        (true, _) => Some(Sitemap::Index(locations(text))),
        (_, true) => Some(Sitemap::Pages(locations(text))),
        _ => None,
    }
}

fn locations(text: &str) -> Vec<String> {
    let all = text
        .split("<loc>")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once("</loc>")?.0.trim()));
    let plain = all.map(|location| {
        let inner = location
            .strip_prefix("<![CDATA[")
            .and_then(|inner| inner.strip_suffix("]]>"));
        super::page::unescaped(inner.unwrap_or(location).trim())
    });
    plain.take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sitemap_names_pages_or_sitemaps() {
        let pages = |pages: &[&str]| Some(Sitemap::Pages(pages.iter().map(|&page| page.into()).collect()));
        let xml = "<?xml version=\"1.0\"?>\n<urlset xmlns=\"x\"><url><loc> https://x/a?b=1&amp;c=2 </loc>\
                   <lastmod>2026</lastmod></url><url><loc><![CDATA[https://x/d&e]]></loc></url><url><loc>cut";
        assert_eq!(parse(xml), pages(&["https://x/a?b=1&c=2", "https://x/d&e"]));
        assert_eq!(
            parse("\u{feff}https://x/a\n\nhttps://x/b\r\n"),
            pages(&["https://x/a", "https://x/b"])
        );
        let index = "<sitemapindex><sitemap><loc>https://x/s.xml</loc></sitemap></sitemapindex>";
        assert_eq!(parse(index), Some(Sitemap::Index(vec!["https://x/s.xml".into()])));
        assert_eq!(parse("<html>not found</html>"), None);
    }
}
