//! Scans the tags of a page, one after the other, for its metadata and links.
//!
//! Invariant: no tree is built, so nesting costs nothing. The page's text is extracted elsewhere, by the parser.

/// Most links of one page that are followed.
const MAX_LINKS: usize = 5_000;
/// Most attributes of a tag that are read.
const MAX_ATTRIBUTES: usize = 64;
/// Elements whose content contains no tags.
const NO_TAGS: [&str; 4] = ["script", "style", "textarea", "xmp"];

/// Metadata and links of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ScannedPage {
    /// Targets of the links, as they are written.
    pub links: Vec<String>,
    /// Canonical address that the page declares.
    pub canonical: Option<String>,
    /// Address that the page's links are relative to.
    pub base: Option<String>,
    /// Whether the page asks not to be indexed.
    pub noindex: bool,
    /// Whether the page asks that its links are not followed.
    pub nofollow: bool,
    /// The words between the tags, separated by one space; used only to compare the texts of pages.
    pub text: String,
}

impl ScannedPage {
    /// Applies the content of a robots tag or header.
    pub fn apply_robots_content(&mut self, content: &str) {
        for word in content.to_ascii_lowercase().split([',', ' ', ':']) {
            self.noindex |= matches!(word, "noindex" | "none");
            self.nofollow |= matches!(word, "nofollow" | "none");
        }
    }

    fn push_words(&mut self, text: &str) {
        for word in text.split_whitespace() {
            if !self.text.is_empty() {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }

    fn apply_tag(&mut self, name: &str, attributes: &[(String, String)]) {
        let value = |name: &str| {
            attributes
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, value)| value.trim())
        };
        let is = |name: &str, word: &str| {
            value(name).is_some_and(|value| value.to_ascii_lowercase().split_whitespace().any(|one| one == word))
        };
        match (name, value("href")) {
            ("a" | "area", Some(href)) if !is("rel", "nofollow") && self.links.len() < MAX_LINKS => {
                self.links.push(href.to_owned());
            }
            ("link", Some(href)) if is("rel", "canonical") => {
                self.canonical.get_or_insert_with(|| href.to_owned());
            }
            ("base", Some(href)) => {
                self.base.get_or_insert_with(|| href.to_owned());
            }
            ("meta", _) if is("name", "robots") || is("name", "ragstone") => {
                self.apply_robots_content(value("content").unwrap_or_default());
            }
            _ => {}
        }
    }
}

/// Scans the tags of a page.
pub(super) fn scan_page(html: &str) -> ScannedPage {
    let (mut page, mut rest) = (ScannedPage::default(), html);
    while let Some(at) = rest.find('<') {
        page.push_words(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        if rest.starts_with(['/', '!', '?']) {
            rest = rest.find('>').map_or("", |end| &rest[end + 1..]);
            continue;
        }
        if !rest.starts_with(|first: char| first.is_ascii_alphabetic()) {
            continue;
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/');
        let (name, behind) = rest.split_at(end.unwrap_or(rest.len()));
        let name = name.to_ascii_lowercase();
        let (attributes, behind) = read_attributes(behind);
        page.apply_tag(&name, &attributes);
        rest = match NO_TAGS.contains(&name.as_str()) {
            true => skip_to_end_tag(behind, &name),
            false => behind,
        };
    }
    page.push_words(rest);
    page
}

/// Reads the attributes of a tag; also returns the text after it.
fn read_attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if let Some(behind) = rest.strip_prefix('>') {
            return (found, behind);
        }
        if rest.is_empty() {
            return (found, "");
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '>' | '/'));
        // A character that cannot start a name is skipped.
        let end = end
            .unwrap_or(rest.len())
            .max(rest.chars().next().map_or(0, char::len_utf8));
        let (name, behind) = rest.split_at(end);
        rest = behind.trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            (value, rest) = attribute_value(behind.trim_start());
        }
        if found.len() < MAX_ATTRIBUTES {
            found.push((name.to_ascii_lowercase(), unescape_attribute(value)));
        }
    }
}

fn attribute_value(rest: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = rest.strip_prefix(quote) {
            return inner.split_once(quote).unwrap_or((inner, ""));
        }
    }
    let end = rest
        .find(|c: char| c.is_ascii_whitespace() || c == '>')
        .unwrap_or(rest.len());
    rest.split_at(end)
}

fn skip_to_end_tag<'a>(rest: &'a str, name: &str) -> &'a str {
    let closes = |at: usize| {
        let close = rest.get(at + 2..at + 2 + name.len());
        close.is_some_and(|close| close.eq_ignore_ascii_case(name))
    };
    let mut ends = rest.match_indices("</").map(|(at, _)| at);
    ends.find(|at| closes(*at)).map_or("", |at| &rest[at..])
}

/// Decodes the character references in an attribute that occur in addresses.
pub(super) fn unescape_attribute(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let pairs = [
        ("&quot;", "\""),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&apos;", "'"),
        ("&lt;", "<"),
        ("&gt;", ">"),
    ];
    let text = pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
    ["&#38;", "&#x26;", "&amp;"]
        .iter()
        .fold(text, |text, from| text.replace(from, "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_where_a_page_leads() {
        let page = scan_page(
            "<!doctype html><head><BASE href='/docs/'><link rel=\"alternate canonical\" href=\"/a?b=1&amp;c=2\">\
             <link rel=stylesheet href=x.css><meta name='robots' content='max-snippet:5, NOINDEX'></head>\
             <!-- <a href=no1> --><script>document.write('<a href=\"no2\">')</script><a class=x href = one>1</a>\
             <a href=\"two\" rel=\"nofollow ugc\">2</a><A HREF='three'/><a =odd href=four><a>5</a><area href=six>\
             < a href=seven><a href=\"eight",
        );
        assert_eq!(page.links, ["one", "three", "four", "six", "eight"]);
        assert_eq!(
            (page.canonical.as_deref(), page.base.as_deref()),
            (Some("/a?b=1&c=2"), Some("/docs/"))
        );
        assert!(page.noindex && !page.nofollow);
        assert_eq!(page.text, "1 2 5 a href=seven>");
        assert_eq!(
            scan_page("<p class=a>One <b>two</b></p><!-- no -->\n three").text,
            "One two three"
        );
        assert!(scan_page("<meta name=robots content=none>").nofollow);
        assert_eq!(scan_page("<a é=ü ß href=ö><b").links, ["ö"]);
    }

    #[test]
    fn a_page_of_nothing_but_beginnings_ends() {
        for piece in ["<", "<a ", "<a href=", "<!--", "<script>", "<a href='", "</", "<a/=/"] {
            scan_page(&piece.repeat(50_000));
        }
    }
}
