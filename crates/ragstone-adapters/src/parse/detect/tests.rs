//! File formats detected from bytes, names and declared media types.

use super::*;

fn check(bytes: &[u8], name: &str, declared: Option<&str>, expected: Result<FileFormat, &str>) {
    let found = detect_format(bytes, name, declared);
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
    check(b"%PDF-1.4\n", "scan.txt", Some("text/plain"), Ok(FileFormat::Pdf));
    check(b"junk\n%PDF-1.4\n", "report", None, Ok(FileFormat::Pdf));
    check(b"# Title", "README.md", Some("text/plain"), Ok(FileFormat::Markdown));
    check(
        b"# Title",
        "readme",
        Some("text/markdown; charset=utf-8"),
        Ok(FileFormat::Markdown),
    );
    check(
        b"# not a heading",
        "notes.txt",
        Some("text/markdown"),
        Ok(FileFormat::Text),
    );
    check(
        b"<!-- saved --> <!DOCTYPE html><p>x",
        "page",
        None,
        Ok(FileFormat::Html),
    );
    check(b"a < b", "page.htm", None, Ok(FileFormat::Html));
    check(b"fn main() {}", "main.rs", None, Ok(FileFormat::Text));
    check(b"{\\rtf1 x}", "letter.txt", None, Ok(FileFormat::Rtf));
    check(b"a,b\n1,2", "table.CSV", None, Ok(FileFormat::Csv));
    check(b"From: a@b.c\n\nhello", "mail.eml", None, Ok(FileFormat::Mail));
    check(
        b"Received: x\n by y\nFrom: a@b.c\n\nhello",
        "1234",
        None,
        Ok(FileFormat::Mail),
    );
    check(b"From: me\nDear all: hello", "note.txt", None, Ok(FileFormat::Text));
    check(b"<html><table></table>", "report.xls", None, Ok(FileFormat::Html));
    check(b"\xff\xfea\0b\0", "utf16.txt", None, Ok(FileFormat::Text));
    check(b"caf\xe9", "latin1.txt", None, Ok(FileFormat::Text));
    check(
        b"MZ is how this sentence begins",
        "note.txt",
        None,
        Ok(FileFormat::Text),
    );
}

#[test]
fn what_has_no_parser_is_named() {
    check(b"PK\x03\x04rest", "a.docx", None, Err("damaged"));
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
    check(b"nothing of the kind", "a.pdf", None, Err("damaged"));
}
