//! Parses sitemaps: addresses of pages or of further sitemaps, as XML or as lines of text, either also gzip-compressed.
//!
//! Invariant: a sitemap that was not read to its end says so; bytes, addresses and the unpacked size are bounded.

use std::io::Read;

use encoding_rs::UTF_8;
use flate2::read::MultiGzDecoder;
use quick_xml::Reader;
use quick_xml::events::{BytesRef, Event};

/// Most bytes of a sitemap, unpacked (sitemaps.org: 50 MiB).
pub(super) const MAX_BYTES: usize = 50 << 20;
/// Most addresses of a sitemap (sitemaps.org).
const MAX_ADDRESSES: usize = 50_000;
/// Most bytes of one address; a longer one is ignored.
const MAX_ADDRESS_BYTES: usize = 8 << 10;
/// First bytes of a gzip file.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Addresses that a sitemap names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sitemap {
    pub pages: Vec<String>,
    /// Addresses of further sitemaps.
    pub sitemaps: Vec<String>,
    /// Why the sitemap is incomplete; `None` if all of it was read.
    pub incomplete_reason: Option<&'static str>,
}

/// Why a file is not a sitemap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum SitemapError {
    #[error("it is no sitemap")]
    NotASitemap,
    #[error("its gzip is damaged")]
    DamagedGzip,
}

/// Parses a sitemap, after unpacking it if it is gzip-compressed.
pub(super) fn parse_sitemap(bytes: &[u8]) -> Result<Sitemap, SitemapError> {
    let (unpacked, is_too_large) = match bytes.starts_with(&GZIP) {
        true => unpack_gzip(bytes)?,
        false => (Vec::new(), false),
    };
    let bytes = if bytes.starts_with(&GZIP) { &unpacked } else { bytes };
    // A byte order mark may show that the text is UTF-16.
    let (text, ..) = UTF_8.decode(bytes);
    let text = text.trim_start();
    let mut found = match text.starts_with("http://") || text.starts_with("https://") {
        true => parse_lines(text),
        false => parse_xml(text)?,
    };
    if is_too_large {
        found.incomplete_reason = Some("it unpacks to more than 50 MiB");
    }
    Ok(found)
}

/// Unpacks a gzip file; also returns whether it was longer than the limit.
fn unpack_gzip(bytes: &[u8]) -> Result<(Vec<u8>, bool), SitemapError> {
    let mut unpacked = Vec::new();
    let mut limited = MultiGzDecoder::new(bytes).take(MAX_BYTES as u64 + 1);
    // A truncated file still names what is before the cut; that its text ends early is reported.
    if limited.read_to_end(&mut unpacked).is_err() && unpacked.is_empty() {
        return Err(SitemapError::DamagedGzip);
    }
    let is_too_large = unpacked.len() > MAX_BYTES;
    unpacked.truncate(MAX_BYTES);
    Ok((unpacked, is_too_large))
}

fn parse_lines(text: &str) -> Sitemap {
    let mut found = Sitemap::default();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        found.add_page(line);
    }
    found
}

/// Addresses are in a `loc` directly below a `url` or `sitemap`; those of images and videos are deeper.
fn parse_xml(text: &str) -> Result<Sitemap, SitemapError> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().check_end_names = false;
    reader.config_mut().expand_empty_elements = true;
    let (mut found, mut open, mut address) = (Sitemap::default(), Vec::<SitemapElement>::new(), String::new());
    let mut is_sitemap = false;
    loop {
        match reader.read_event() {
            Ok(Event::Start(start)) => {
                let element = SitemapElement::from_name(start.local_name().as_ref());
                if !is_sitemap && element != SitemapElement::Root {
                    return Err(SitemapError::NotASitemap);
                }
                is_sitemap = true;
                open.push(element);
                address.clear();
            }
            Ok(Event::End(_)) => {
                if open.pop() == Some(SitemapElement::Location) {
                    found.add_address(open.last(), address.trim());
                }
            }
            Ok(Event::Text(text)) if in_address(&open, &address) => address.push_str(&text.xml10_content()),
            Ok(Event::CData(text)) if in_address(&open, &address) => address.push_str(&text.into_inner()),
            Ok(Event::GeneralRef(named)) if in_address(&open, &address) => {
                address.push_str(&resolve_reference(&named));
            }
            Ok(Event::Eof) if !is_sitemap => return Err(SitemapError::NotASitemap),
            Ok(Event::Eof) => {
                if !open.is_empty() {
                    found.incomplete_reason = Some("it ends before its last element does");
                }
                return Ok(found);
            }
            Err(_) if !is_sitemap => return Err(SitemapError::NotASitemap),
            Err(_) => {
                found.incomplete_reason = Some("it is not well-formed XML");
                return Ok(found);
            }
            Ok(_) => {}
        }
    }
}

fn in_address(open: &[SitemapElement], address: &str) -> bool {
    open.last() == Some(&SitemapElement::Location) && address.len() <= MAX_ADDRESS_BYTES
}

/// The character that a reference stands for; an unknown reference stays as written.
fn resolve_reference(named: &BytesRef) -> String {
    if let Ok(Some(character)) = named.resolve_char_ref() {
        return character.into();
    }
    match quick_xml::escape::resolve_predefined_entity(named) {
        Some(text) => text.to_owned(),
        None => format!("&{};", &**named),
    }
}

/// The kinds of elements that are distinguished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SitemapElement {
    Root,
    Page,
    Sitemap,
    Location,
    Other,
}

impl SitemapElement {
    fn from_name(name: &str) -> Self {
        match name {
            "urlset" | "sitemapindex" => Self::Root,
            "url" => Self::Page,
            "sitemap" => Self::Sitemap,
            "loc" => Self::Location,
            _ => Self::Other,
        }
    }
}

impl Sitemap {
    fn add_address(&mut self, below: Option<&SitemapElement>, address: &str) {
        if address.is_empty() || address.len() > MAX_ADDRESS_BYTES {
            return;
        }
        match below {
            Some(SitemapElement::Page) => self.add_page(address),
            Some(SitemapElement::Sitemap) if self.sitemaps.len() < MAX_ADDRESSES => {
                self.sitemaps.push(address.to_owned());
            }
            _ => {}
        }
    }

    fn add_page(&mut self, address: &str) {
        match self.pages.len() < MAX_ADDRESSES {
            true => self.pages.push(address.to_owned()),
            false => self.incomplete_reason = Some("it names more than 50,000 pages"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn pages(pages: &[&str]) -> Sitemap {
        Sitemap {
            pages: pages.iter().map(|&page| page.into()).collect(),
            ..Sitemap::default()
        }
    }

    const TWO: &str = "<?xml version=\"1.0\"?>\n<!-- made --><s:urlset xmlns:s=\"x\"><s:url><s:loc> https://x/a?b=1&amp;c=2&#38;d </s:loc>\
                       <lastmod>2026</lastmod><image:image><image:loc>https://x/p.png</image:loc></image:image></s:url>\
                       <s:url><s:loc><![CDATA[https://x/d&e]]></s:loc></s:url></s:urlset>";

    #[test]
    fn a_sitemap_names_pages_or_sitemaps() {
        let two = pages(&["https://x/a?b=1&c=2&d", "https://x/d&e"]);
        assert_eq!(parse_sitemap(TWO.as_bytes()), Ok(two.clone()));
        assert_eq!(parse_sitemap(&gzip(TWO.as_bytes())), Ok(two));
        assert_eq!(
            parse_sitemap("\u{feff}https://x/a\n\nhttps://x/b\r\n".as_bytes()),
            Ok(pages(&["https://x/a", "https://x/b"]))
        );
        let index = "<sitemapindex><sitemap><loc>https://x/s.xml</loc></sitemap></sitemapindex>";
        let sitemaps = vec!["https://x/s.xml".to_owned()];
        assert_eq!(
            parse_sitemap(index.as_bytes()),
            Ok(Sitemap {
                sitemaps,
                ..Sitemap::default()
            })
        );
        assert_eq!(parse_sitemap(b"<urlset/>"), Ok(Sitemap::default()));
        let utf16: Vec<u8> = "\u{feff}<urlset><url><loc>https://x/</loc></url></urlset>"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(parse_sitemap(&utf16), Ok(pages(&["https://x/"])));
    }

    #[test]
    fn what_is_no_sitemap_is_none() {
        for text in [
            "<html><body>not found</body></html>",
            "",
            "<",
            "maintenance",
            "<?xml version='1.0'?>",
        ] {
            assert_eq!(parse_sitemap(text.as_bytes()), Err(SitemapError::NotASitemap), "{text}");
        }
        assert_eq!(parse_sitemap(b"\x1f\x8bnonsense"), Err(SitemapError::DamagedGzip));
    }

    #[test]
    fn one_that_is_cut_off_says_so() {
        let cut = |bytes: &[u8]| {
            let found = parse_sitemap(bytes).unwrap();
            (found.pages.len(), found.incomplete_reason.is_some())
        };
        let text = TWO.as_bytes();
        assert_eq!(cut(&text[..text.len() - 20]), (1, true));
        assert_eq!(cut(b"<urlset><url><loc>https://x/</loc></url><url a=<<"), (1, true));
        let long = format!("<urlset>{}</urlset>", "<url><loc>https://x/</loc></url>".repeat(60_000));
        assert_eq!(cut(long.as_bytes()), (50_000, true));
        let packed = gzip(long.as_bytes());
        assert!(cut(&packed[..packed.len() / 2]).1);
    }

    #[test]
    fn a_small_file_that_unpacks_to_a_huge_one_is_read_in_part() {
        let mut bomb = b"<urlset><url><loc>https://x/</loc></url>".to_vec();
        bomb.resize(200 << 20, b' ');
        let packed = gzip(&bomb);
        assert!(packed.len() < 1 << 20);
        let found = parse_sitemap(&packed).unwrap();
        assert_eq!(
            (found.pages.len(), found.incomplete_reason),
            (1, Some("it unpacks to more than 50 MiB"))
        );
        // Entities of its own are not expanded, and depth costs memory for a byte each.
        let entities = "<!DOCTYPE u [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;\">]><urlset><url><loc>https://x/&b;</loc></url></urlset>";
        assert_eq!(parse_sitemap(entities.as_bytes()), Ok(pages(&["https://x/&b;"])));
        assert!(
            parse_sitemap("<urlset>".repeat(100_000).as_bytes())
                .unwrap()
                .incomplete_reason
                .is_some()
        );
    }
}
