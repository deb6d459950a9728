//! Packages: Office files, OpenDocument files, books.

use super::super::fixtures::{cell, docx_of, odf_of, package, pptx_of, xlsx_of};
use super::{Ends, Reads, Refused, case, check, each, nested};

fn attributes(count: usize) -> String {
    each(count, |n| format!(" a{n}=\"1\""))
}

fn paragraph(text: &str) -> String {
    format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>")
}

#[tokio::test]
async fn office_files() {
    let words = paragraph("words that");
    let table = |depth| nested(depth, "<w:tbl><w:tr><w:tc>", &words, "</w:tc></w:tr></w:tbl>");
    let columns = |count: usize| -> String {
        let row = each(count, |n| cell(&format!("{}1", column(n)), "words that"));
        format!("<row r=\"1\">{row}</row>")
    };
    let group = |depth| nested(depth, "<p:grpSp>", "", "</p:grpSp>");
    check(vec![
        case("tables.docx", docx_of(&table(1_000)), Refused("too_complex")),
        case("tables-twin.docx", docx_of(&table(5)), Reads("words that")),
        case(
            "attributes.docx",
            docx_of(&format!(
                "<w:p{}><w:r><w:t>words</w:t></w:r></w:p>",
                attributes(100_000)
            )),
            Refused("too_complex"),
        ),
        case("paragraphs.docx", docx_of(&words.repeat(10_000)), Reads("words that")),
        case(
            "runs.docx",
            docx_of(&format!(
                "<w:p>{}</w:p>",
                "<w:r><w:t>words that</w:t></w:r>".repeat(10_000)
            )),
            Reads("words that"),
        ),
        case(
            "cells.docx",
            docx_of(&format!(
                "<w:tbl><w:tr>{}</w:tr></w:tbl>",
                format!("<w:tc>{words}</w:tc>").repeat(10_000)
            )),
            Reads("words that"),
        ),
        case(
            "boxes.docx",
            docx_of(&nested(
                2_000,
                "<w:p><w:r><w:pict><v:textbox><w:txbxContent>",
                &words,
                "</w:txbxContent></v:textbox></w:pict></w:r></w:p>",
            )),
            Refused("too_complex"),
        ),
        case(
            "columns.xlsx",
            xlsx_of(&[("Wide", "", &columns(16_384))]),
            Reads("words that"),
        ),
        case("groups.pptx", pptx_of(&group(2_000)), Refused("too_complex")),
        case("shapes.pptx", pptx_of(&group(1).repeat(10_000)), Ends),
    ])
    .await;
}

/// The name of a column, from 0.
fn column(mut n: usize) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'A' + (n % 26) as u8));
        if n < 26 {
            return name;
        }
        n = n / 26 - 1;
    }
}

#[tokio::test]
async fn open_documents() {
    let words = "<text:p>words that</text:p>";
    let list = |depth| {
        nested(
            depth,
            "<text:list><text:list-item>",
            words,
            "</text:list-item></text:list>",
        )
    };
    let table = |depth| {
        nested(
            depth,
            "<table:table><table:table-row><table:table-cell>",
            words,
            "</table:table-cell></table:table-row></table:table>",
        )
    };
    let styles = each(8_000, |n| {
        format!("<style:style style:name=\"T{n}\"><style:text-properties text:display=\"none\"/></style:style>")
    });
    let styled = each(8_000, |n| {
        format!("<text:p text:style-name=\"P{n}\">words that</text:p>")
    });
    let wide = "<table:table-cell><text:p>words that</text:p></table:table-cell>".repeat(20_000);
    check(vec![
        case("lists.odt", odf_of("text", "", &list(20_000)), Refused("too_complex")),
        case("lists-twin.odt", odf_of("text", "", &list(400)), Reads("words that")),
        case("tables.odt", odf_of("text", "", &table(10_000)), Refused("too_complex")),
        case("tables-twin.odt", odf_of("text", "", &table(300)), Reads("words that")),
        case(
            "attributes.odt",
            odf_of("text", "", &format!("<text:p{}>words</text:p>", attributes(300_000))),
            Refused("too_complex"),
        ),
        case(
            "attributes-twin.odt",
            odf_of("text", "", &format!("<text:p{}>words that</text:p>", attributes(1_000))),
            Reads("words that"),
        ),
        case("styles.odt", odf_of("text", &styles, &styled), Reads("words that")),
        case(
            "columns.ods",
            odf_of(
                "spreadsheet",
                "",
                &format!("<table:table><table:table-row>{wide}</table:table-row></table:table>"),
            ),
            Reads("words that"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn books_and_packages() {
    let chapter = |body: &str| format!("<html xmlns=\"http://www.w3.org/1999/xhtml\"><body>{body}</body></html>");
    let book = |metadata: &str, spine: &str, body: &str| {
        let opf = format!(
            "<?xml version=\"1.0\"?><package xmlns=\"http://www.idpf.org/2007/opf\" version=\"3.0\" unique-identifier=\"id\"><metadata xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:identifier id=\"id\">x</dc:identifier><dc:title>T</dc:title><dc:language>en</dc:language>{metadata}</metadata><manifest><item id=\"a\" href=\"a.xhtml\" media-type=\"application/xhtml+xml\"/><item id=\"nav\" href=\"nav.xhtml\" media-type=\"application/xhtml+xml\" properties=\"nav\"/></manifest><spine>{spine}</spine></package>"
        );
        let container = "<?xml version=\"1.0\"?><container version=\"1.0\" xmlns=\"urn:oasis:names:tc:opendocument:xmlns:container\"><rootfiles><rootfile full-path=\"OEBPS/book.opf\" media-type=\"application/oebps-package+xml\"/></rootfiles></container>";
        let nav = "<html xmlns=\"http://www.w3.org/1999/xhtml\" xmlns:epub=\"http://www.idpf.org/2007/ops\"><body><nav epub:type=\"toc\"><ol><li><a href=\"a.xhtml\">A</a></li></ol></nav></body></html>";
        package(&[
            ("mimetype", "application/epub+zip"),
            ("META-INF/container.xml", container),
            ("OEBPS/book.opf", &opf),
            ("OEBPS/nav.xhtml", nav),
            ("OEBPS/a.xhtml", &chapter(body)),
        ])
    };
    let spine = "<itemref idref=\"a\"/>";
    let words = "<p>words that</p>";
    let names: Vec<String> = (0..15_000).map(|n| format!("word/part{n}.xml")).collect();
    let mut members = vec![("word/document.xml", "<w:document/>")];
    members.extend(names.iter().map(|name| (name.as_str(), "<a/>")));
    check(vec![
        case(
            "chapter.epub",
            book("", spine, &nested(8_000, "<div>", words, "</div>")),
            Refused("too_complex"),
        ),
        case(
            "chapter-twin.epub",
            book("", spine, &nested(500, "<div>", words, "</div>")),
            Reads("words that"),
        ),
        case(
            "metadata.epub",
            book(&nested(5_000, "<meta>", "", "</meta>"), spine, words),
            Refused("too_complex"),
        ),
        case(
            "subjects.epub",
            book(&"<dc:subject>x</dc:subject>".repeat(10_000), spine, words),
            Reads("words that"),
        ),
        case("spine.epub", book("", &spine.repeat(5_000), words), Ends),
        case("members.docx", package(&members), Ends),
    ])
    .await;
}
