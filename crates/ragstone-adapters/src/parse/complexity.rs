//! Refuses markup that no document needs, before a tree builder spends time on it.
//!
//! Readers of HTML and XML compare each attribute of an element with those before it, walk trees by recursion, or copy
//! a text once per level. One pass over the bytes, without a tree, finds input that would cost them time quadratic in
//! the file's size.
//!
//! Invariant: linear in the bytes; a refusal states the number that is out of bounds.

use memchr::{memchr, memmem};

use super::error::ParseProblem;

/// Most attributes of one element; the longest lists in real files are inline drawings with several dozen.
const MAX_ATTRIBUTES: usize = 1_024;
/// Deepest nesting of XML elements; nested tables in office files reach a few hundred levels.
const MAX_XML_DEPTH: usize = 1_000;
/// HTML elements whose content is not markup.
const RAW_TEXT: [&[u8]; 4] = [b"script", b"style", b"textarea", b"title"];

/// Markup language of the bytes to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkupLanguage {
    /// HTML: end tags may be missing, so only attributes are counted, not depth.
    Html,
    /// XML of a package member: attributes and depth are checked.
    Xml,
}

/// Refuses elements with too many attributes and, in XML, elements nested too deep.
pub(super) fn check_markup(text: &[u8], language: MarkupLanguage) -> Result<(), ParseProblem> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(found) = memchr(b'<', &text[at..]) {
        let tag = at + found + 1;
        let Some(&first) = text.get(tag) else {
            return Ok(());
        };
        at = match first {
            b'!' => end_of_declaration(text, tag, language),
            b'?' => find_end_after(text, tag, b">"),
            b'/' => {
                depth = depth.saturating_sub(1);
                find_end_after(text, tag, b">")
            }
            _ if first.is_ascii_alphabetic() || language == MarkupLanguage::Xml => {
                let start = read_start_tag(text, tag)?;
                if language == MarkupLanguage::Xml && !start.closed {
                    depth += 1;
                    check_depth(depth, MAX_XML_DEPTH)?;
                }
                match RAW_TEXT.iter().find(|name| start.name.eq_ignore_ascii_case(name)) {
                    Some(name) if language == MarkupLanguage::Html => end_of_raw_text(text, start.end, name),
                    _ => start.end,
                }
            }
            _ => tag,
        };
    }
    Ok(())
}

/// Fails with `TooComplex` if `depth` exceeds `limit`.
pub(super) fn check_depth(depth: usize, limit: usize) -> Result<(), ParseProblem> {
    match depth > limit {
        true => Err(too_complex(format!(
            "more than {limit} elements lie within one another"
        ))),
        false => Ok(()),
    }
}

/// The error for a file whose structure, not its size, is out of bounds.
pub(super) fn too_complex(detail: String) -> ParseProblem {
    ParseProblem::TooComplex { detail }
}

struct StartTag<'a> {
    name: &'a [u8],
    /// Offset just after the tag.
    end: usize,
    /// Whether the tag closes itself, as XML allows (`<a/>`).
    closed: bool,
}

fn read_start_tag(text: &[u8], tag: usize) -> Result<StartTag<'_>, ParseProblem> {
    let ends_name = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
    let length =
        |from: usize, ends: &dyn Fn(&u8) -> bool| text[from..].iter().position(ends).unwrap_or(text.len() - from);
    let name = &text[tag..tag + length(tag, &ends_name)];
    let (mut at, mut attributes, mut closed) = (tag + name.len(), 0, false);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'>' => {
                return Ok(StartTag {
                    name,
                    end: at + 1,
                    closed,
                });
            }
            b'/' => (at, closed) = (at + 1, true),
            _ if byte.is_ascii_whitespace() => at += 1,
            b'=' => {
                at += 1;
                at += text[at..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                at = match text.get(at) {
                    Some(&quote @ (b'"' | b'\'')) => find_end_after(text, at + 1, &[quote]),
                    _ => at + length(at, &|byte| byte.is_ascii_whitespace() || *byte == b'>'),
                };
                closed = false;
            }
            _ => {
                attributes += 1;
                closed = false;
                if attributes > MAX_ATTRIBUTES {
                    let detail = format!("an element has more than {MAX_ATTRIBUTES} attributes");
                    return Err(too_complex(detail));
                }
                at += 1 + length(at + 1, &|byte| ends_name(byte) || *byte == b'=');
            }
        }
    }
    Ok(StartTag {
        name,
        end: text.len(),
        closed,
    })
}

/// Offset just after the next `mark`; the end of the text if there is none.
fn find_end_after(text: &[u8], from: usize, mark: &[u8]) -> usize {
    let from = from.min(text.len());
    memmem::find(&text[from..], mark).map_or(text.len(), |found| from + found + mark.len())
}

fn end_of_declaration(text: &[u8], tag: usize, language: MarkupLanguage) -> usize {
    let rest = &text[tag..];
    if rest.starts_with(b"!--") {
        // `<!-->` and `<!--->` are complete comments in HTML.
        return find_end_after(text, tag + 1, b"-->");
    }
    if language == MarkupLanguage::Xml && rest.starts_with(b"![CDATA[") {
        return find_end_after(text, tag, b"]]>");
    }
    find_end_after(text, tag, b">")
}

/// Offset of the end tag that ends the content of a raw text element.
fn end_of_raw_text(text: &[u8], from: usize, name: &[u8]) -> usize {
    let mut at = from;
    while let Some(found) = memmem::find(&text[at..], b"</") {
        at += found;
        let named = text.get(at + 2..at + 2 + name.len());
        if named.is_some_and(|named| named.eq_ignore_ascii_case(name)) {
            return at;
        }
        at += 2;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, language: MarkupLanguage, refused: Option<&str>) {
        let found = check_markup(text.as_bytes(), language);
        let detail = found.as_ref().err().map(ToString::to_string);
        match refused {
            None => assert_eq!(found, Ok(()), "{}", &text[..text.len().min(60)]),
            Some(word) => assert!(
                detail.as_ref().is_some_and(|detail| detail.contains(word)),
                "{detail:?} of {}",
                &text[..text.len().min(60)]
            ),
        }
    }

    fn with_attributes(count: usize) -> String {
        let all: String = (0..count).map(|n| format!(" a{n}='x > y'")).collect();
        format!("<p{all}>text</p>")
    }

    #[test]
    fn attributes_are_counted_for_each_element() {
        for language in [MarkupLanguage::Html, MarkupLanguage::Xml] {
            check(&with_attributes(MAX_ATTRIBUTES), language, None);
            check(&with_attributes(MAX_ATTRIBUTES).repeat(3), language, None);
            check(&with_attributes(MAX_ATTRIBUTES + 1), language, Some("attributes"));
            check(
                &format!("<p{}", " a".repeat(MAX_ATTRIBUTES + 1)),
                language,
                Some("attributes"),
            );
            check(
                &format!("<p{}>", "/a".repeat(MAX_ATTRIBUTES + 1)),
                language,
                Some("attributes"),
            );
            check(&format!("<!-- {} -->", with_attributes(2_000)), language, None);
        }
        let script = format!("<script>if (a <b {}) {{}}</script>", "&& c ".repeat(2_000));
        check(&script, MarkupLanguage::Html, None);
        check(
            &format!("<![CDATA[{}]]>", with_attributes(2_000)),
            MarkupLanguage::Xml,
            None,
        );
        check(
            &format!("a < b {} > c", "&& c ".repeat(2_000)),
            MarkupLanguage::Html,
            None,
        );
    }

    #[test]
    fn depth_is_that_of_xml() {
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        check(&nested(MAX_XML_DEPTH).repeat(2), MarkupLanguage::Xml, None);
        check(
            &nested(MAX_XML_DEPTH + 1),
            MarkupLanguage::Xml,
            Some("within one another"),
        );
        check(&"<a/><b x='1'/>".repeat(5_000), MarkupLanguage::Xml, None);
        check(&nested(5_000), MarkupLanguage::Html, None);
        check("<", MarkupLanguage::Xml, None);
        check("<a b=", MarkupLanguage::Xml, None);
    }
}
