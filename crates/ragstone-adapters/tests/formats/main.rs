//! Office files, books, mails: what is read of them, and what becomes of damaged and hostile ones.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(all(feature = "office", feature = "epub", feature = "mail"))]

mod compound;
mod fixtures;
mod hostile;

use ragstone_adapters::parse::{ParseLimits, parse_bytes};
use ragstone_core::document::ParsedDocument;

fn parsed(bytes: Vec<u8>, name: &str) -> ParsedDocument {
    parse_bytes(bytes, name, None, &ParseLimits::default()).unwrap()
}

fn codes(document: &ParsedDocument) -> Vec<&str> {
    document
        .warnings
        .iter()
        .map(|warning| warning.code.as_str())
        .collect()
}

/// The section and page that a text stands in.
fn place<'a>(document: &'a ParsedDocument, text: &str) -> (Option<&'a str>, Option<u32>) {
    let at = document
        .text
        .find(text)
        .unwrap_or_else(|| panic!("{text} is not in {}", document.text));
    let section = document
        .sections
        .iter()
        .find(|section| section.range.contains(&at));
    let page = document.pages.iter().find(|page| page.range.contains(&at));
    (
        section.map(|section| section.path.as_str()),
        page.and_then(|page| page.page),
    )
}

#[test]
fn a_text_document_has_sections_tables_and_no_hidden_text() {
    // The name says nothing: the bytes do.
    let document = parsed(fixtures::docx(), "upload.bin");
    assert_eq!(
        document.text,
        "# Pumps\n\nThe pump runs day and night.\n\n## Parts\n\n\
         | Group | Part | Price |\n| --- | --- | --- |\n| Seals | Ring | 4 EUR |\n|  | Washer | 1 EUR |\n\nThe end.\n"
    );
    assert_eq!(place(&document, "Ring"), (Some("Pumps > Parts"), None));
    assert_eq!(document.title.as_deref(), Some("Pumps"));
    assert_eq!(codes(&document), ["hidden_text"]);
    assert!(
        document.warnings[0].detail.contains("11 characters"),
        "{:?}",
        document.warnings
    );
}

#[test]
fn slides_are_pages_with_their_notes() {
    let document = parsed(fixtures::pptx(), "harbour.pptx");
    assert_eq!(
        place(&document, "Raise the quay"),
        (Some("Harbour plan"), Some(1))
    );
    assert_eq!(place(&document, "Twelve million"), (Some("Costs"), Some(2)));
    assert_eq!(
        place(&document, "prices may rise"),
        (Some("Costs > Speaker notes"), Some(2))
    );
    assert!(!document.text.contains("SECRET"), "{}", document.text);
    assert_eq!(
        document.text.matches("Harbour plan").count(),
        1,
        "{}",
        document.text
    );
    assert!(
        codes(&document).contains(&"hidden_text"),
        "{:?}",
        document.warnings
    );
}

#[test]
fn sheets_are_pages_and_a_long_table_repeats_its_head() {
    let document = parsed(fixtures::xlsx(), "cities.xlsx");
    assert!(
        document
            .text
            .starts_with("# Cities\n\n| City | People |\n| --- | --- |\n| Ulm | 126329 |\n")
    );
    assert_eq!(place(&document, "| 40 |"), (Some("Register"), Some(2)));
    assert!(
        document.text.matches("| Number | Name |").count() > 2,
        "{}",
        document.text
    );
    assert!(!document.text.contains("SECRET"), "{}", document.text);
    assert!(
        codes(&document).contains(&"hidden_text"),
        "{:?}",
        document.warnings
    );
}

#[test]
fn open_documents_are_read_like_the_others() {
    let text = parsed(fixtures::odt(), "wells.odt");
    assert_eq!(
        text.text,
        "# Wells\n\nWater & stoneé  ends.\n\n- first\n  - inner\n- second\n\n## Depths\n\n\
         | Well | Metres |\n| --- | --- |\n| North | 31 |\n\nDone.\n"
    );
    assert_eq!(codes(&text), ["hidden_text"]);
    let sheet = parsed(fixtures::ods(), "tides.ods");
    assert_eq!(
        sheet.text,
        "# Tides\n\n| Day | High |  |\n| --- | --- | --- |\n| Monday |  | far |\n| Monday |  | far |\n"
    );
    assert_eq!(place(&sheet, "Monday"), (Some("Tides"), Some(1)));
    assert!(codes(&sheet).contains(&"hidden_text"), "{:?}", sheet.warnings);
}

#[test]
fn a_book_is_its_chapters_in_order() {
    let book = parsed(fixtures::epub(), "lighthouse.epub");
    assert_eq!(book.title.as_deref(), Some("The Lighthouse"));
    assert_eq!(
        book.text,
        "# Arrival\n\nThe boat landed at dusk.\n\n# The lamp\n\nIt burned for **forty** years.\n"
    );
    assert_eq!(codes(&book), ["hidden_text"]);
}

#[test]
fn a_mail_holds_its_attachments_in_sections() {
    let mail = parsed(fixtures::mail(), "1234");
    assert_eq!(mail.title.as_deref(), Some("The engine über"));
    assert!(
        mail.text
            .contains("From: Ada Byron <ada@example.org>\nTo: c@example.org\n"),
        "{}",
        mail.text
    );
    assert!(mail.text.contains("The mill needs grüne cards."), "{}", mail.text);
    assert_eq!(
        place(&mail, "| red | 7 |"),
        (Some("The engine über > cards.csv"), None)
    );
    assert_eq!(codes(&mail), ["attachment_not_read"]);
    assert!(
        mail.warnings[0].detail.starts_with("broken.docx: "),
        "{:?}",
        mail.warnings
    );
}

#[test]
fn a_mail_of_outlook_is_read_alike() {
    let mail = parsed(compound::msg(), "1234");
    assert_eq!(mail.media_type, "application/vnd.ms-outlook");
    assert_eq!(mail.title.as_deref(), Some("Grüße from the mill"));
    assert!(
        mail.text.contains("From: Ada\n\nThe wheel turns.\nAll day."),
        "{}",
        mail.text
    );
    assert_eq!(
        place(&mail, "| red | 7 |"),
        (Some("Grüße from the mill > cards.csv"), None)
    );
    assert!(codes(&mail).is_empty());
}

#[test]
fn a_mail_of_a_mail_is_read_and_a_bomb_of_mails_ends() {
    let mut mail = fixtures::mail();
    for depth in 0..6 {
        let mut outer = format!("From: a@b.c\r\nSubject: level {depth}\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"o{depth}\"\r\n\r\n--o{depth}\r\nContent-Type: message/rfc822\r\n\r\n").into_bytes();
        outer.extend(mail);
        outer.extend(format!("\r\n--o{depth}--\r\n").into_bytes());
        mail = outer;
        let read = parsed(mail.clone(), "mail.eml");
        assert_eq!(
            read.text.contains("grüne cards"),
            depth < 2,
            "{depth}: {}",
            read.text
        );
        assert!(codes(&read).contains(&"attachment_not_read"));
    }
}
