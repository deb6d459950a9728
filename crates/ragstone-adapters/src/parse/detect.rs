//! Detects a file's format: from its bytes, then its name, and only then the media type that the sender declared.

use super::archive;
use super::error::ParseProblem;

/// Bytes read to distinguish text from binary data, and to find a PDF header after leading junk.
const HEAD: usize = 8 * 1024;
/// A PDF's header may start this far into the file (ISO 32000-1, implementation note 13).
const PDF_HEADER_WITHIN: usize = 1024;
/// A file with more control characters than one per this many bytes is not text.
const CONTROL_SHARE: usize = 50;

/// A format that has a parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// Portable Document Format (ISO 32000).
    Pdf,
    /// Web page in HTML.
    Html,
    /// Markdown of any flavour.
    Markdown,
    /// Plain text, including source code and data.
    Text,
    /// Comma-separated values, and variants with other separators.
    Csv,
    /// Word document (Office Open XML).
    Docx,
    /// PowerPoint presentation (Office Open XML).
    Pptx,
    /// Excel workbook (Office Open XML).
    Xlsx,
    /// Word document from before 2007 (compound file).
    Doc,
    /// PowerPoint presentation from before 2007 (compound file).
    Ppt,
    /// Excel workbook from before 2007 (compound file).
    Xls,
    /// OpenDocument text (ISO/IEC 26300).
    Odt,
    /// OpenDocument presentation (ISO/IEC 26300).
    Odp,
    /// OpenDocument spreadsheet (ISO/IEC 26300).
    Ods,
    /// Rich Text Format (version 1.9.1).
    Rtf,
    /// Electronic book in EPUB format.
    Epub,
    /// Mail message (RFC 5322).
    Mail,
    /// Mail message as saved by Outlook (MS-OXMSG).
    Msg,
}

impl FileFormat {
    /// Media type of the format, such as `text/html`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Text => "text/plain",
            Self::Csv => "text/csv",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Pptx => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
            Self::Xlsx => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            Self::Doc => "application/msword",
            Self::Ppt => "application/vnd.ms-powerpoint",
            Self::Xls => "application/vnd.ms-excel",
            Self::Odt => "application/vnd.oasis.opendocument.text",
            Self::Odp => "application/vnd.oasis.opendocument.presentation",
            Self::Ods => "application/vnd.oasis.opendocument.spreadsheet",
            Self::Rtf => "application/rtf",
            Self::Epub => "application/epub+zip",
            Self::Mail => "message/rfc822",
            Self::Msg => "application/vnd.ms-outlook",
        }
    }
}

/// First bytes of formats that have no parser here, with their media types.
const SIGNATURES: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
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

/// First bytes of a zip archive, of an empty zip archive, and of a compound file.
const ZIP: [&[u8]; 2] = [b"PK\x03\x04", b"PK\x05\x06"];
const COMPOUND: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";
/// First bytes of an RTF file.
const RTF: &[u8] = b"{\\rtf";
/// A member that occurs only in packages of this format.
const PACKAGES: &[(&str, FileFormat)] = &[
    ("word/document.xml", FileFormat::Docx),
    ("ppt/presentation.xml", FileFormat::Pptx),
    ("xl/workbook.xml", FileFormat::Xlsx),
    ("xl/workbook.bin", FileFormat::Xlsx),
];
/// Formats whose packages store their media type, uncompressed, in the first member.
const SELF_DESCRIBING_FORMATS: &[FileFormat] = &[FileFormat::Odt, FileFormat::Odp, FileFormat::Ods, FileFormat::Epub];
/// File extensions whose files must have the bytes of the format.
const BINARY_ENDINGS: &[(&str, FileFormat)] = &[
    ("pdf", FileFormat::Pdf),
    ("docx", FileFormat::Docx),
    ("docm", FileFormat::Docx),
    ("pptx", FileFormat::Pptx),
    ("pptm", FileFormat::Pptx),
    ("xlsx", FileFormat::Xlsx),
    ("xlsm", FileFormat::Xlsx),
    ("doc", FileFormat::Doc),
    ("ppt", FileFormat::Ppt),
    ("xls", FileFormat::Xls),
    ("msg", FileFormat::Msg),
    ("odt", FileFormat::Odt),
    ("odp", FileFormat::Odp),
    ("ods", FileFormat::Ods),
    ("epub", FileFormat::Epub),
    ("rtf", FileFormat::Rtf),
];

/// Detects the format of a file; fails with `Unsupported` and the media type that bytes and name suggest.
pub fn detect_format(bytes: &[u8], name: &str, declared: Option<&str>) -> Result<FileFormat, ParseProblem> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let ending = file_extension(name);
    if ZIP.iter().any(|first| head.starts_with(first)) {
        return detect_package(bytes, head, &ending);
    }
    if head.starts_with(COMPOUND) {
        return detect_compound_file(bytes);
    }
    if head.starts_with(RTF) {
        return Ok(FileFormat::Rtf);
    }
    if contains_bytes(&head[..head.len().min(PDF_HEADER_WITHIN)], b"%PDF-") {
        return Ok(FileFormat::Pdf);
    }
    let signed = SIGNATURES.iter().find(|(first, _)| head.starts_with(first));
    if let Some((_, signed)) = signed
        && !(signed.ends_with("executable") && looks_like_text(head))
    {
        return Err(unsupported_media_type(signed));
    }
    if let Some(named) = format_from_extension(&ending) {
        // Web applications often send an HTML page under the name of an office file.
        if looks_like_html(head) && looks_like_text(head) {
            return Ok(FileFormat::Html);
        }
        let what = named.media_type();
        return Err(ParseProblem::damaged(format!(
            "it is named as {what}, and its first bytes are not those of one"
        )));
    }
    if !looks_like_text(head) {
        return Err(unsupported_media_type("application/octet-stream"));
    }
    Ok(text_format(head, &ending, declared))
}

/// Detects the format of a zip archive from the names of its members.
fn detect_package(bytes: &[u8], head: &[u8], ending: &str) -> Result<FileFormat, ParseProblem> {
    let Some(members) = archive::list_members(bytes) else {
        return Err(match format_from_extension(ending) {
            Some(_) => ParseProblem::damaged("its directory is missing or broken, it may have been cut off"),
            None => unsupported_media_type("application/zip"),
        });
    };
    let known = PACKAGES
        .iter()
        .find(|(name, _)| members.iter().any(|member| member.name == *name));
    let said = || {
        SELF_DESCRIBING_FORMATS
            .iter()
            .find(|format| contains_bytes(head, format.media_type().as_bytes()))
    };
    let found = known.map(|(_, format)| *format).or_else(|| said().copied());
    let found = found.ok_or_else(|| match format_from_extension(ending) {
        Some(named) => ParseProblem::damaged(format!("it holds no {}", named.media_type())),
        None => unsupported_media_type("application/zip"),
    })?;
    if members.iter().any(|member| member.encrypted) {
        return Err(ParseProblem::Encrypted);
    }
    Ok(found)
}

/// Detects the format of a compound file from the names of its streams.
#[cfg(feature = "office")]
fn detect_compound_file(bytes: &[u8]) -> Result<FileFormat, ParseProblem> {
    let file = office_oxide::cfb::CfbReader::new(std::io::Cursor::new(bytes)).map_err(ParseProblem::damaged)?;
    let has = |name: &str| file.entries().iter().any(|entry| entry.name == name);
    if has("EncryptedPackage") {
        return Err(ParseProblem::Encrypted);
    }
    let streams = [
        ("__properties_version1.0", FileFormat::Msg),
        ("WordDocument", FileFormat::Doc),
        ("PowerPoint Document", FileFormat::Ppt),
        ("Workbook", FileFormat::Xls),
        ("Book", FileFormat::Xls),
    ];
    let found = streams.iter().find(|(name, _)| has(name));
    found.map_or_else(
        || Err(unsupported_media_type("application/x-ole-storage")),
        |(_, format)| Ok(*format),
    )
}

#[cfg(not(feature = "office"))]
fn detect_compound_file(_: &[u8]) -> Result<FileFormat, ParseProblem> {
    Err(unsupported_media_type("application/x-ole-storage"))
}

fn format_from_extension(ending: &str) -> Option<FileFormat> {
    let found = BINARY_ENDINGS.iter().find(|(known, _)| *known == ending);
    found.map(|(_, format)| *format)
}

/// Whether the file starts like a mail: only header fields, with a sender and fields that mail programs add.
fn looks_like_mail(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let mut fields = Vec::new();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        if line.starts_with([' ', '\t']) && !fields.is_empty() {
            continue;
        }
        match line.split_once(':') {
            Some((name, _)) if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()) => {
                fields.push(name);
            }
            _ => return false,
        }
    }
    let has = |name| fields.contains(&name);
    has("from") && (has("received") || has("message-id") || has("mime-version"))
}

fn text_format(head: &[u8], ending: &str, declared: Option<&str>) -> FileFormat {
    match ending {
        "md" | "markdown" | "mdx" | "mkd" => return FileFormat::Markdown,
        "html" | "htm" | "xhtml" => return FileFormat::Html,
        "csv" | "tsv" => return FileFormat::Csv,
        "eml" => return FileFormat::Mail,
        _ => {}
    }
    if looks_like_html(head) {
        return FileFormat::Html;
    }
    if looks_like_mail(head) {
        return FileFormat::Mail;
    }
    let declared = declared
        .and_then(|declared| declared.split(';').next())
        .unwrap_or("")
        .trim();
    match declared.to_ascii_lowercase().as_str() {
        // An extension that names the format outweighs the sender's media type.
        _ if matches!(ending, "txt" | "text" | "log" | "json") => FileFormat::Text,
        "text/markdown" | "text/x-markdown" => FileFormat::Markdown,
        "text/html" | "application/xhtml+xml" => FileFormat::Html,
        "text/csv" | "text/tab-separated-values" => FileFormat::Csv,
        "message/rfc822" => FileFormat::Mail,
        _ => FileFormat::Text,
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

/// Whether the file starts with a web page, after comments and declarations.
fn looks_like_html(head: &[u8]) -> bool {
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

fn file_extension(name: &str) -> String {
    match name.rsplit(['/', '\\']).next().and_then(|file| file.rsplit_once('.')) {
        Some((_, ending)) => ending.to_ascii_lowercase(),
        None => String::new(),
    }
}

fn contains_bytes(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn unsupported_media_type(media_type: &str) -> ParseProblem {
    ParseProblem::Unsupported {
        media_type: media_type.to_owned(),
    }
}

#[cfg(test)]
mod tests;
