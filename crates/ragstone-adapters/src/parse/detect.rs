//! What a file is: its bytes decide, then its name, and only then what its sender declared.

use super::error::ParseProblem;

/// Bytes looked at to tell text from binary, and to find a header that junk precedes.
const HEAD: usize = 8 * 1024;
/// A PDF's header may stand this far into the file (ISO 32000-1, implementation note 13).
const PDF_HEADER_WITHIN: usize = 1024;
/// More control characters than one in this many bytes are no text.
const CONTROL_SHARE: usize = 50;

/// A format that has a parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Portable Document Format.
    Pdf,
    /// Web page.
    Html,
    /// Markdown of any flavour.
    Markdown,
    /// Plain text, source code and data included.
    Text,
}

impl Format {
    /// Its media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Text => "text/plain",
        }
    }
}

/// First bytes of formats that have no parser here.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"{\\rtf", "application/rtf"),
    (b"\x1f\x8b", "application/gzip"),
    (b"BZh", "application/x-bzip2"),
    (b"\xfd7zXZ\0", "application/x-xz"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x7fELF", "application/x-elf"),
    (b"MZ", "application/vnd.microsoft.portable-executable"),
    (b"SQLite format 3\0", "application/vnd.sqlite3"),
    (b"%!PS", "application/postscript"),
];

/// Name endings of formats that have no parser here.
const ENDINGS: &[(&str, &str)] = &[
    ("doc", "application/msword"),
    (
        "docx",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ),
    ("eml", "message/rfc822"),
    ("epub", "application/epub+zip"),
    ("msg", "application/vnd.ms-outlook"),
    ("odp", "application/vnd.oasis.opendocument.presentation"),
    ("ods", "application/vnd.oasis.opendocument.spreadsheet"),
    ("odt", "application/vnd.oasis.opendocument.text"),
    ("ppt", "application/vnd.ms-powerpoint"),
    (
        "pptx",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ),
    ("rtf", "application/rtf"),
    ("xls", "application/vnd.ms-excel"),
    (
        "xlsx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ),
];

/// The format of a file, or `Unsupported` with the media type that bytes and name point at.
pub fn detect(bytes: &[u8], name: &str, declared: Option<&str>) -> Result<Format, ParseProblem> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let ending = ending(name);
    if find(&head[..head.len().min(PDF_HEADER_WITHIN)], b"%PDF-") {
        return Ok(Format::Pdf);
    }
    let named = ENDINGS
        .iter()
        .find(|(known, _)| *known == ending)
        .map(|(_, media_type)| *media_type);
    let signed = SIGNATURES
        .iter()
        .find(|(first, _)| head.starts_with(first))
        .map(|(_, media_type)| *media_type);
    match (signed, named) {
        // An office file is a zip or an OLE container: the name says which.
        (Some("application/zip" | "application/x-ole-storage"), Some(named)) => {
            return Err(unsupported(named));
        }
        (Some(signed), _) if !(signed.ends_with("executable") && looks_like_text(head)) => {
            return Err(unsupported(signed));
        }
        (_, Some(named)) => return Err(unsupported(named)),
        _ => {}
    }
    if ending == "pdf" {
        return Err(ParseProblem::damaged(
            "it is named as a PDF, and its first bytes are not those of one",
        ));
    }
    if !looks_like_text(head) {
        return Err(unsupported("application/octet-stream"));
    }
    Ok(text_format(head, &ending, declared))
}

fn text_format(head: &[u8], ending: &str, declared: Option<&str>) -> Format {
    match ending {
        "md" | "markdown" | "mdx" | "mkd" => return Format::Markdown,
        "html" | "htm" | "xhtml" => return Format::Html,
        _ => {}
    }
    if opens_as_html(head) {
        return Format::Html;
    }
    let declared = declared
        .and_then(|declared| declared.split(';').next())
        .unwrap_or("")
        .trim();
    match declared.to_ascii_lowercase().as_str() {
        // A name that says what it is outweighs the sender.
        _ if matches!(ending, "txt" | "text" | "log" | "csv" | "json") => Format::Text,
        "text/markdown" | "text/x-markdown" => Format::Markdown,
        "text/html" | "application/xhtml+xml" => Format::Html,
        _ => Format::Text,
    }
}

/// Whether the bytes may be text in some encoding.
fn looks_like_text(head: &[u8]) -> bool {
    if matches!(head, [0xff, 0xfe, ..] | [0xfe, 0xff, ..]) {
        return true;
    }
    let control = head
        .iter()
        .filter(|byte| matches!(byte, 0x01..=0x08 | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f))
        .count();
    !head.contains(&0) && control * CONTROL_SHARE <= head.len()
}

/// Whether the first thing in the file, comments and declarations aside, is a web page.
fn opens_as_html(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut rest = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    loop {
        let after = if rest.starts_with("<!--") {
            rest.split_once("-->")
        } else if rest.starts_with("<?xml") {
            rest.split_once("?>")
        } else {
            break;
        };
        let Some((_, after)) = after else { break };
        rest = after.trim_start();
    }
    rest.starts_with("<!doctype html") || rest.starts_with("<html")
}

fn ending(name: &str) -> String {
    match name
        .rsplit(['/', '\\'])
        .next()
        .and_then(|file| file.rsplit_once('.'))
    {
        Some((_, ending)) => ending.to_ascii_lowercase(),
        None => String::new(),
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn unsupported(media_type: &str) -> ParseProblem {
    ParseProblem::Unsupported {
        media_type: media_type.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], name: &str, declared: Option<&str>, expected: Result<Format, &str>) {
        let found = detect(bytes, name, declared);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{name}"),
            (Err(ParseProblem::Unsupported { media_type }), Err(expected)) => {
                assert_eq!(media_type, expected)
            }
            (Err(problem), Err(expected)) => assert_eq!(problem.code(), expected, "{name}"),
            (found, expected) => panic!("{name}: {found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn bytes_outweigh_the_name_and_the_name_the_sender() {
        check(b"%PDF-1.4\n", "scan.txt", Some("text/plain"), Ok(Format::Pdf));
        check(b"junk\n%PDF-1.4\n", "report", None, Ok(Format::Pdf));
        check(b"# Title", "README.md", Some("text/plain"), Ok(Format::Markdown));
        check(
            b"# Title",
            "readme",
            Some("text/markdown; charset=utf-8"),
            Ok(Format::Markdown),
        );
        check(
            b"# not a heading",
            "notes.txt",
            Some("text/markdown"),
            Ok(Format::Text),
        );
        check(
            b"<!-- saved --> <!DOCTYPE html><p>x",
            "page",
            None,
            Ok(Format::Html),
        );
        check(b"a < b", "page.htm", None, Ok(Format::Html));
        check(b"fn main() {}", "main.rs", None, Ok(Format::Text));
        check(b"\xff\xfea\0b\0", "utf16.txt", None, Ok(Format::Text));
        check(b"caf\xe9", "latin1.txt", None, Ok(Format::Text));
        check(
            b"MZ is how this sentence begins",
            "note.txt",
            None,
            Ok(Format::Text),
        );
    }

    #[test]
    fn what_has_no_parser_is_named() {
        check(b"PK\x03\x04rest", "a.docx", None, Err(ENDINGS[1].1));
        check(
            b"PK\x03\x04rest",
            "a.bin",
            Some("application/pdf"),
            Err("application/zip"),
        );
        check(
            b"\x89PNG\r\n\x1a\n....",
            "a.pdf",
            Some("application/pdf"),
            Err("image/png"),
        );
        check(
            b"abc\0def",
            "a.txt",
            Some("text/plain"),
            Err("application/octet-stream"),
        );
        check(
            b"\x01\x02\x03\x04\x05\x06",
            "noise",
            None,
            Err("application/octet-stream"),
        );
        check(b"{\\rtf1 x}", "letter.txt", None, Err("application/rtf"));
        check(b"From: a@b.c\n\nhello", "mail.eml", None, Err("message/rfc822"));
        check(b"nothing of the kind", "a.pdf", None, Err("damaged"));
    }
}
