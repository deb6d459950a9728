//! Small PDFs made here, so that each rule of reading has one page that needs it.

use std::fmt::Write;

use ragstone_core::document::ParsedDocument;

use super::super::sink::DocumentCollector;
use super::*;

/// A PDF of one page for each content stream; `objects` go in from number 4 on, `trailer` into the trailer.
fn pdf(pages: &[String], objects: &str, trailer: &str) -> Vec<u8> {
    let mut kids = String::new();
    let mut bodies = String::new();
    for (index, content) in pages.iter().enumerate() {
        let (page, stream) = (100 + 2 * index, 101 + 2 * index);
        write!(kids, "{page} 0 R ").unwrap();
        write!(
            bodies,
            "{page} 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents {stream} 0 R\
             /Resources<</Font<</F1 3 0 R>>>>>>endobj\n\
             {stream} 0 obj<</Length {}>>stream\n{content}\nendstream endobj\n",
            content.len() + 1
        )
        .unwrap();
    }
    format!(
        "%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n\
         2 0 obj<</Type/Pages/Kids[{kids}]/Count {}>>endobj\n\
         3 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj\n{objects}\n{bodies}\
         trailer<</Root 1 0 R{trailer}>>\n%%EOF\n",
        pages.len()
    )
    .into_bytes()
}

/// Draws a text at a place in points from the lower left corner.
fn draw(x: u32, y: u32, size: u32, text: &str) -> String {
    format!("BT /F1 {size} Tf {x} {y} Td ({text}) Tj ET\n")
}

/// Draws `count` lines of a column downwards from `top`; the first word of each is its name and number.
fn column(name: &str, x: u32, top: u32, count: u32) -> String {
    (0..count)
        .map(|line| {
            draw(
                x,
                top - 12 * line,
                10,
                &format!("{name}{line} has words that fill its column"),
            )
        })
        .collect()
}

fn parsed(bytes: Vec<u8>) -> Result<ParsedDocument, ParseProblem> {
    let mut gathered = DocumentCollector::new(1 << 20);
    let outline = parse_pdf(bytes, &ParseLimits::default(), &mut gathered)?;
    Ok(gathered.finish("application/pdf", outline))
}

/// The first words of the page's lines.
fn line_names(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

#[test]
fn one_column_is_read_from_top_to_bottom_and_pages_cover_the_text() {
    let document = parsed(pdf(&[column("a", 72, 700, 3), column("b", 72, 700, 2)], "", "")).unwrap();
    assert_eq!(line_names(&document.text), ["a0", "a1", "a2", "b0", "b1"]);
    let pages: Vec<_> = document
        .pages
        .iter()
        .map(|page| (page.page, &document.text[page.range.clone()]))
        .collect();
    assert_eq!(pages.len(), 2);
    assert_eq!(pages[1].0, Some(2));
    assert!(pages[1].1.starts_with("b0 has words") && pages[0].1.ends_with("column\n"));
}

#[test]
fn columns_are_read_one_after_the_other_between_the_lines_that_cross_them() {
    let page = draw(
        72,
        740,
        16,
        "Heading with so many words that it goes over both of the columns",
    ) + &column("left", 72, 700, 12)
        + &column("right", 320, 694, 12)
        + &draw(
            72,
            520,
            10,
            "Crossing line with so many words that it goes over both of the columns of this page",
        )
        + &column("under", 72, 500, 6)
        + &column("beside", 320, 500, 6);
    let document = parsed(pdf(&[page], "", "")).unwrap();
    let named = |name: &str, count| (0..count).map(move |line| format!("{name}{line}")).collect::<Vec<_>>();
    let expected = [
        vec!["Heading".to_owned()],
        named("left", 12),
        named("right", 12),
        vec!["Crossing".to_owned()],
        named("under", 6),
        named("beside", 6),
    ]
    .concat();
    assert_eq!(line_names(&document.text), expected);
}

#[test]
fn a_table_whose_rows_are_set_apart_is_read_by_rows() {
    let mut page = String::new();
    for row in 0..12 {
        let top = 700 - 36 * row;
        page += &draw(72, top, 10, &format!("row{row} has a cell of two"));
        page += &draw(72, top - 12, 10, &format!("lines{row} on the left side"));
        page += &draw(320, top, 10, "and a cell of one line");
    }
    let document = parsed(pdf(&[page], "", "")).unwrap();
    let expected: Vec<_> = (0..12)
        .flat_map(|row| [format!("row{row}"), format!("lines{row}")])
        .collect();
    assert_eq!(line_names(&document.text), expected);
}

#[test]
fn gaps_make_spaces_and_wide_steps_make_paragraphs() {
    let page = "BT /F1 10 Tf 72 700 Td [(one)-300(two)-50(three)] TJ ET\n".to_owned()
        + &draw(72, 688, 10, "next line")
        + &draw(72, 676, 10, "third line")
        + &draw(72, 640, 10, "paragraph");
    let document = parsed(pdf(&[page], "", "")).unwrap();
    assert_eq!(document.text, "one twothree\nnext line\nthird line\n\nparagraph\n");
}

#[test]
fn a_rotated_page_is_read_upright() {
    let lines: String = (0..4)
        .map(|line| {
            format!(
                "BT /F1 10 Tf 0 1 -1 0 {} 72 Tm (turned{line} text) Tj ET\n",
                100 + 14 * line
            )
        })
        .collect();
    let document = parsed(pdf(&[lines], "", "")).unwrap();
    assert_eq!(line_names(&document.text), ["turned0", "turned1", "turned2", "turned3"]);
}

#[test]
fn pages_without_text_are_named_and_a_document_of_them_is_refused() {
    let document = parsed(pdf(&[column("a", 72, 700, 2), "0 0 m 9 9 l S".to_owned()], "", "")).unwrap();
    assert_eq!(document.warnings[0].code, "pages_without_text");
    assert_eq!(document.warnings[0].pages, [2]);
    assert_eq!(
        parsed(pdf(&["0 0 m 9 9 l S".to_owned()], "", "")),
        Err(ParseProblem::NoText { pages: 1 })
    );
}

#[test]
fn what_cannot_be_read_is_refused_for_what_it_is() {
    let encrypt = format!(
        "4 0 obj<</Filter/Standard/V 1/R 2/P -4/O<{0}>/U<{0}>>>endobj",
        "00".repeat(32)
    );
    let locked = pdf(&[column("a", 72, 700, 2)], &encrypt, "/Encrypt 4 0 R/ID[<00><00>]");
    assert_eq!(parsed(locked), Err(ParseProblem::Encrypted));
    assert_eq!(
        parsed(b"%PDF-1.4\nnothing else".to_vec()).map_err(|problem| problem.code()),
        Err("damaged")
    );
    let whole = pdf(&[column("a", 72, 700, 2)], "", "");
    let truncated = parsed(whole[..whole.len() * 2 / 3].to_vec());
    assert!(
        truncated.is_ok()
            || matches!(
                truncated,
                Err(ParseProblem::Damaged { .. } | ParseProblem::NoText { .. })
            )
    );
}

#[test]
fn a_title_and_headings_are_found() {
    let page = draw(72, 740, 20, "Handbook")
        + &column("a", 72, 700, 15)
        + &draw(72, 500, 14, "Setup")
        + &column("b", 72, 470, 15);
    let document = parsed(pdf(&[page], "4 0 obj<</Title(The  handbook)>>endobj", "/Info 4 0 R")).unwrap();
    assert_eq!(document.title.as_deref(), Some("The handbook"));
    let sections: Vec<_> = document.sections.iter().map(|section| section.path.as_str()).collect();
    assert_eq!(sections, ["Handbook", "Handbook > Setup"]);
    assert!(document.text[document.sections[1].range.clone()].starts_with("Setup\n"));
}

/// A page with a visible column, and a text drawn after these operators; says what became of it.
fn unseen(operators: &str, resources: &str) -> (bool, Vec<String>) {
    let page = column("seen", 72, 700, 4) + operators;
    let bytes = String::from_utf8(pdf(&[page], resources, "")).unwrap();
    let extra = match resources.is_empty() {
        true => String::new(),
        false => "/Shading<</S1 4 0 R>>".to_owned(),
    };
    let bytes = bytes.replace("/Resources<<", &format!("/CropBox[0 50 612 792]/Resources<<{extra}"));
    let document = parsed(bytes.into_bytes()).unwrap();
    assert!(document.text.contains("seen3"));
    for warning in &document.warnings {
        assert_eq!(warning.pages, [1]);
    }
    let codes = document.warnings.into_iter().map(|warning| warning.code).collect();
    (document.text.contains("SECRET"), codes)
}

#[test]
fn text_that_nobody_sees_is_left_out_and_told() {
    let text = |x: i32, y: i32, size: f32| format!("BT /F1 {size} Tf {x} {y} Td (SECRET order) Tj ET\n");
    let check = |operators: String, resources: &str, kept: bool, codes: &[&str]| {
        let (found, told) = unseen(&operators, resources);
        assert_eq!(
            (found, told.iter().map(String::as_str).collect::<Vec<_>>().as_slice()),
            (kept, codes),
            "{operators}"
        );
    };
    let shading = "4 0 obj<</ShadingType 2/ColorSpace/DeviceGray/Coords[0 0 1 1]>>endobj";
    let plain = text(72, 300, 10.0);
    check(plain.clone(), "", true, &[]);
    check(format!("1 1 1 rg {plain}"), "", false, &["hidden_text"]);
    check(format!("1 g {plain}"), "", false, &["hidden_text"]);
    check(format!("0 0 0 0 k {plain}"), "", false, &["hidden_text"]);
    check(format!("0.97 0.98 1 rg {plain}"), "", false, &["hidden_text"]);
    check(format!("0 0 0.5 rg 60 290 300 30 re f 1 1 1 rg {plain}"), "", true, &[]);
    check(
        format!("1 1 1 rg 60 290 300 30 re f {plain}"),
        "",
        false,
        &["hidden_text"],
    );
    check(format!("1 1 1 rg {plain}"), shading, true, &["perhaps_hidden_text"]);
    check(
        format!("1 1 1 rg q 300 0 0 30 60 290 cm BI /W 1 /H 1 /CS /G /BPC 8 ID \x01 EI Q {plain}"),
        "",
        true,
        &[],
    );
    check(text(72, 300, 0.5), "", false, &["hidden_text"]);
    // The engine itself leaves out what lies outside of the page's sheet.
    for beside in [
        text(72, 2_000, 10.0),
        text(-900, 300, 10.0),
        format!("q 1 0 0 1 0 5000 cm {plain} Q"),
        "BT /F1 10 Tf 12 TL 72 -100 Td T* (SECRET order) ' ET".to_owned(),
        "BT /F1 10 Tf 1 0 0 1 900 300 Tm [(SECRET)-300(order)] TJ ET".to_owned(),
    ] {
        check(beside, "", false, &["hidden_text"]);
    }
    check(format!("q 1 0 0 1 0 5000 cm Q {plain}"), "", true, &[]);
    // It begins beside the sheet and ends on it.
    check(text(-12, 300, 10.0), "", true, &[]);
    check(text(72, 20, 10.0), "", false, &["hidden_text"]);
    check(format!("3 Tr {plain}"), "", true, &[]);
}

#[test]
fn opening_a_file_again_changes_nothing() {
    let home = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
    let mut files = vec![std::path::PathBuf::from(format!("{home}/samples/handbook.pdf"))];
    let shared = format!("{home}/../shared/data/pdf/files");
    match std::fs::read_dir(&shared) {
        Ok(entries) => files.extend(entries.map(|entry| entry.unwrap().path())),
        Err(_) => ragstone_testkit::skip_test("the shared PDFs", &format!("put them at {shared}")),
    }
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "pdf"))
    {
        let bytes = std::fs::read(file).unwrap();
        let [once, often] = [u32::MAX, 3].map(|pages_open| {
            let (limits, mut gathered) = (ParseLimits::default(), DocumentCollector::new(1 << 26));
            let outline = parse_reopening(
                bytes.clone(),
                &limits,
                ORDER,
                ReopenPolicy {
                    pages: pages_open,
                    bytes: 0,
                },
                &mut gathered,
            );
            gathered.finish("application/pdf", outline.unwrap())
        });
        assert!(!once.text.is_empty());
        assert!(once == often, "{}", file.display());
    }
}
