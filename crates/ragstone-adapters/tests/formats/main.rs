//! Office files, books, mails: what is read of them, and what becomes of damaged and hostile ones.
#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]
#![cfg(all(feature = "office", feature = "epub", feature = "mail"))]

mod bounds;
mod compound;
mod fixtures;
mod hostile;

use ragstone_adapters::parse::{PageSink, ParseLimits, ParseProblem, parse_bytes, parse_into};
use ragstone_core::document::{AttachedFile, DocumentOutline, ParsedDocument};

fn parsed(bytes: Vec<u8>, name: &str) -> ParsedDocument {
    parse_bytes(bytes, name, None, &ParseLimits::default()).unwrap()
}

fn codes(document: &ParsedDocument) -> Vec<&str> {
    document.warnings.iter().map(|warning| warning.code.as_str()).collect()
}

/// The section and page that a text stands in.
fn place<'a>(document: &'a ParsedDocument, text: &str) -> (Option<&'a str>, Option<u32>) {
    let at = document
        .text
        .find(text)
        .unwrap_or_else(|| panic!("{text} is not in {}", document.text));
    let section = document.sections.iter().find(|section| section.range.contains(&at));
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
    assert_eq!(place(&document, "Raise the quay"), (Some("Harbour plan"), Some(1)));
    assert_eq!(place(&document, "Twelve million"), (Some("Costs"), Some(2)));
    assert_eq!(
        place(&document, "prices may rise"),
        (Some("Costs > Speaker notes"), Some(2))
    );
    assert!(!document.text.contains("SECRET"), "{}", document.text);
    assert_eq!(document.text.matches("Harbour plan").count(), 1, "{}", document.text);
    assert!(codes(&document).contains(&"hidden_text"), "{:?}", document.warnings);
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
    assert!(codes(&document).contains(&"hidden_text"), "{:?}", document.warnings);
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

/// A mail as it is handed out: its text, and the files in it.
#[derive(Default)]
struct Opened {
    text: String,
    files: Vec<(AttachedFile, Vec<u8>)>,
}

impl PageSink for Opened {
    fn write_page(&mut self, _: Option<u32>, text: &str) -> Result<(), ParseProblem> {
        self.text.push_str(text);
        Ok(())
    }

    fn write_attachment(&mut self, file: &AttachedFile, bytes: &[u8]) -> Result<(), ParseProblem> {
        self.files.push((file.clone(), bytes.to_vec()));
        Ok(())
    }
}

fn opened(mail: Vec<u8>, limits: &ParseLimits) -> (Opened, DocumentOutline) {
    let mut opened = Opened::default();
    let (_, outline) = parse_into(mail, "mail.eml", None, limits, &mut opened).unwrap();
    let files: Vec<_> = opened.files.iter().map(|(file, _)| file.clone()).collect();
    assert_eq!(outline.attachments, files, "what is handed out is named");
    (opened, outline)
}

#[test]
fn a_mail_hands_out_its_attachments() {
    let mail = parsed(fixtures::mail(), "1234");
    assert_eq!(mail.title.as_deref(), Some("The engine über"));
    assert!(
        mail.text
            .contains("From: Ada Byron <ada@example.org>\nTo: c@example.org\n"),
        "{}",
        mail.text
    );
    assert!(mail.text.contains("The mill needs grüne cards."), "{}", mail.text);
    assert!(
        mail.text.contains("Attachments: cards.csv, broken.docx"),
        "{}",
        mail.text
    );
    assert!(!mail.text.contains("red"), "{}", mail.text);
    assert_eq!(codes(&mail), ["attachment_not_read"]);
    assert!(
        mail.warnings[0].detail.starts_with("broken.docx: "),
        "{:?}",
        mail.warnings
    );
    let (opened, _) = opened(fixtures::mail(), &ParseLimits::default());
    let [(file, bytes)] = opened.files.as_slice() else {
        panic!("one file and no picture: {:?}", opened.files)
    };
    assert_eq!((file.number, file.name.as_str()), (1, "cards.csv"));
    assert_eq!(file.media_type.as_deref(), Some("text/csv"));
    assert_eq!(bytes, b"card,count\nred,7\n");
}

#[test]
fn a_mail_of_outlook_is_read_alike() {
    let mail = parsed(compound::msg(), "1234");
    assert_eq!(mail.media_type, "application/vnd.ms-outlook");
    assert_eq!(mail.title.as_deref(), Some("Grüße from the mill"));
    assert!(
        mail.text
            .contains("From: Ada\n\nThe wheel turns.\nAll day.\n\nAttachments: cards.csv"),
        "{}",
        mail.text
    );
    assert!(codes(&mail).is_empty());
    let (opened, _) = opened(compound::msg(), &ParseLimits::default());
    assert_eq!(opened.files[0].1, b"card,count\nred,7\n");
}

#[test]
fn a_mail_in_a_mail_is_handed_out_whole() {
    let inner = fixtures::mail();
    let mut outer = b"From: a@b.c\r\nSubject: outer\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"o\"\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n".to_vec();
    outer.extend(&inner);
    outer.extend(b"\r\n--o--\r\n");
    let (outside, _) = opened(outer, &ParseLimits::default());
    assert!(!outside.text.contains("grüne cards"));
    let (file, bytes) = &outside.files[0];
    assert_eq!(file.name, "The engine über.eml");
    let (inside, _) = opened(bytes.clone(), &ParseLimits::default());
    assert!(inside.text.contains("grüne cards"), "{}", inside.text);
    assert_eq!(inside.files.len(), 1);
}

#[test]
fn of_thousands_of_parts_a_hundred_are_handed_out() {
    let mut mail = String::from(
        "From: a@b.c\r\nSubject: many\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n",
    );
    for n in 0..5_000 {
        mail.push_str(&format!("--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment; filename=\"f{n}.txt\"\r\n\r\nword {n}\r\n"));
    }
    mail.push_str("--b--\r\n");
    let (all, outline) = opened(mail.into_bytes(), &ParseLimits::default());
    assert_eq!((all.files.len(), outline.warnings.len()), (100, 1));
    assert_eq!(
        outline.warnings[0].detail,
        "4900 more: the mail has too many attachments"
    );
}
