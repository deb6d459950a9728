//! Small files of each format, made here so that it can be seen what is in them.

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;

/// An archive of members; the first is stored as it is, as packages want it that name their type there.
pub fn package(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (place, (name, content)) in members.iter().enumerate() {
        let method = match place {
            0 => zip::CompressionMethod::Stored,
            _ => zip::CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default().compression_method(method);
        archive.start_file(*name, options).unwrap();
        archive.write_all(content.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

const XML: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#;
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

fn relations(entries: &[(&str, &str)]) -> String {
    let entries: String = (1..)
        .zip(entries)
        .map(|(n, (kind, target))| {
            format!(r#"<Relationship Id="rId{n}" Type="{RELATIONS}/{kind}" Target="{target}"/>"#)
        })
        .collect();
    let space = "http://schemas.openxmlformats.org/package/2006/relationships";
    format!(r#"{XML}<Relationships xmlns="{space}">{entries}</Relationships>"#)
}

fn types(overrides: &[(&str, &str)]) -> String {
    let base = "application/vnd.openxmlformats-officedocument.";
    let overrides: String = overrides
        .iter()
        .map(|(part, kind)| format!(r#"<Override PartName="{part}" ContentType="{base}{kind}+xml"/>"#))
        .collect();
    format!(
        r#"{XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/>{overrides}</Types>"#
    )
}

/// A text document with this body.
pub fn docx_of(body: &str) -> Vec<u8> {
    let document = format!(
        r#"{XML}<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>{body}</w:body></w:document>"#
    );
    let styles = format!(
        r#"{XML}<w:styles xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:style w:type="paragraph" w:styleId="Heading1"><w:name w:val="heading 1"/><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style><w:style w:type="paragraph" w:styleId="Heading2"><w:name w:val="heading 2"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style></w:styles>"#
    );
    package(&[
        (
            "[Content_Types].xml",
            &types(&[
                ("/word/document.xml", "wordprocessingml.document.main"),
                ("/word/styles.xml", "wordprocessingml.styles"),
            ]),
        ),
        ("_rels/.rels", &relations(&[("officeDocument", "word/document.xml")])),
        ("word/_rels/document.xml.rels", &relations(&[("styles", "styles.xml")])),
        ("word/document.xml", &document),
        ("word/styles.xml", &styles),
    ])
}

/// Headings, a hidden run, and a table with a cell over two rows.
pub fn docx() -> Vec<u8> {
    let p = |style: &str, text: &str| {
        format!(r#"<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"#)
    };
    let cell = |merge: &str, text: &str| {
        format!("<w:tc><w:tcPr>{merge}</w:tcPr><w:p><w:r><w:t>{text}</w:t></w:r></w:p></w:tc>")
    };
    let restart = r#"<w:vMerge w:val="restart"/>"#;
    docx_of(&format!(
        r#"{}<w:p><w:r><w:t xml:space="preserve">The pump runs </w:t></w:r><w:r><w:rPr><w:vanish/></w:rPr><w:t>SECRET ORDER</w:t></w:r><w:r><w:t>day and night.</w:t></w:r></w:p>{}<w:tbl><w:tr>{}{}{}</w:tr><w:tr>{}{}{}</w:tr><w:tr>{}{}{}</w:tr></w:tbl><w:p><w:r><w:t>The end.</w:t></w:r></w:p>"#,
        p("Heading1", "Pumps"),
        p("Heading2", "Parts"),
        cell("", "Group"),
        cell("", "Part"),
        cell("", "Price"),
        cell(restart, "Seals"),
        cell("", "Ring"),
        cell("", "4 EUR"),
        cell("<w:vMerge/>", ""),
        cell("", "Washer"),
        cell("", "1 EUR"),
    ))
}

/// Two slides, the second with notes, and a third that is hidden.
pub fn pptx() -> Vec<u8> {
    let spaces = r#"xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main""#;
    let shape = |kind: &str, lines: &[&str]| {
        let lines: String = lines
            .iter()
            .map(|line| format!("<a:p><a:r><a:t>{line}</a:t></a:r></a:p>"))
            .collect();
        format!(
            r#"<p:sp><p:nvSpPr><p:cNvPr id="2" name="x"/><p:cNvSpPr/><p:nvPr><p:ph type="{kind}"/></p:nvPr></p:nvSpPr><p:spPr/><p:txBody><a:bodyPr/>{lines}</p:txBody></p:sp>"#
        )
    };
    let slide = |element: &str, shown: &str, shapes: &str| {
        format!(
            r#"{XML}<p:{element} {spaces} {shown}><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:{element}>"#
        )
    };
    let deck = format!(
        r#"{XML}<p:presentation {spaces}><p:sldIdLst><p:sldId id="256" r:id="rId1"/><p:sldId id="257" r:id="rId2"/><p:sldId id="258" r:id="rId3"/></p:sldIdLst><p:sldSz cx="9144000" cy="6858000"/></p:presentation>"#
    );
    let slides = [
        ("slide", "slides/slide1.xml"),
        ("slide", "slides/slide2.xml"),
        ("slide", "slides/slide3.xml"),
    ];
    package(&[
        (
            "[Content_Types].xml",
            &types(&[
                ("/ppt/presentation.xml", "presentationml.presentation.main"),
                ("/ppt/slides/slide1.xml", "presentationml.slide"),
                ("/ppt/slides/slide2.xml", "presentationml.slide"),
                ("/ppt/slides/slide3.xml", "presentationml.slide"),
                ("/ppt/notesSlides/notesSlide1.xml", "presentationml.notesSlide"),
            ]),
        ),
        ("_rels/.rels", &relations(&[("officeDocument", "ppt/presentation.xml")])),
        ("ppt/_rels/presentation.xml.rels", &relations(&slides)),
        ("ppt/presentation.xml", &deck),
        (
            "ppt/slides/slide1.xml",
            &slide(
                "sld",
                "",
                &(shape("title", &["Harbour plan"]) + &shape("body", &["Dredge the basin", "Raise the quay"])),
            ),
        ),
        (
            "ppt/slides/slide2.xml",
            &slide(
                "sld",
                "",
                &(shape("title", &["Costs"]) + &shape("body", &["Twelve million"])),
            ),
        ),
        (
            "ppt/slides/slide3.xml",
            &slide("sld", r#"show="0""#, &shape("title", &["SECRET SLIDE"])),
        ),
        (
            "ppt/slides/_rels/slide2.xml.rels",
            &relations(&[("notesSlide", "../notesSlides/notesSlide1.xml")]),
        ),
        (
            "ppt/notesSlides/notesSlide1.xml",
            &slide("notes", "", &shape("body", &["Say that prices may rise"])),
        ),
    ])
}

/// A presentation whose one slide holds these shapes.
pub fn pptx_of(shapes: &str) -> Vec<u8> {
    let spaces = r#"xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships" xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main""#;
    let slide = format!(
        r#"{XML}<p:sld {spaces}><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:sld>"#
    );
    let deck = format!(
        r#"{XML}<p:presentation {spaces}><p:sldIdLst><p:sldId id="256" r:id="rId1"/></p:sldIdLst></p:presentation>"#
    );
    package(&[
        (
            "[Content_Types].xml",
            &types(&[
                ("/ppt/presentation.xml", "presentationml.presentation.main"),
                ("/ppt/slides/slide1.xml", "presentationml.slide"),
            ]),
        ),
        ("_rels/.rels", &relations(&[("officeDocument", "ppt/presentation.xml")])),
        (
            "ppt/_rels/presentation.xml.rels",
            &relations(&[("slide", "slides/slide1.xml")]),
        ),
        ("ppt/presentation.xml", &deck),
        ("ppt/slides/slide1.xml", &slide),
    ])
}

/// A workbook whose sheets hold these cells.
pub fn xlsx_of(sheets: &[(&str, &str, &str)]) -> Vec<u8> {
    let space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let list: String = (1..)
        .zip(sheets)
        .map(|(n, (name, state, _))| format!(r#"<sheet name="{name}" sheetId="{n}" {state} r:id="rId{n}"/>"#))
        .collect();
    let book = format!(r#"{XML}<workbook xmlns="{space}" xmlns:r="{RELATIONS}"><sheets>{list}</sheets></workbook>"#);
    let names: Vec<String> = (1..=sheets.len()).map(|n| format!("worksheets/sheet{n}.xml")).collect();
    let links: Vec<(&str, &str)> = names.iter().map(|name| ("worksheet", name.as_str())).collect();
    let parts: Vec<String> = names.iter().map(|name| format!("/xl/{name}")).collect();
    let mut kinds = vec![("/xl/workbook.xml", "spreadsheetml.sheet.main")];
    kinds.extend(parts.iter().map(|part| (part.as_str(), "spreadsheetml.worksheet")));
    let sheet = |rows: &str| format!(r#"{XML}<worksheet xmlns="{space}"><sheetData>{rows}</sheetData></worksheet>"#);
    let contents: Vec<String> = sheets.iter().map(|(_, _, rows)| sheet(rows)).collect();
    let paths: Vec<String> = names.iter().map(|name| format!("xl/{name}")).collect();
    let (types, root, book_links) = (
        types(&kinds),
        relations(&[("officeDocument", "xl/workbook.xml")]),
        relations(&links),
    );
    let mut members = vec![
        ("[Content_Types].xml", types.as_str()),
        ("_rels/.rels", root.as_str()),
        ("xl/_rels/workbook.xml.rels", book_links.as_str()),
        ("xl/workbook.xml", book.as_str()),
    ];
    members.extend(
        paths
            .iter()
            .map(String::as_str)
            .zip(contents.iter().map(String::as_str)),
    );
    package(&members)
}

/// A cell of text.
pub fn cell(at: &str, text: &str) -> String {
    format!(r#"<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>"#)
}

/// Two sheets, one of them long, and a third that is hidden.
pub fn xlsx() -> Vec<u8> {
    let row = |n: usize, cells: &[String]| format!(r#"<row r="{n}">{}</row>"#, cells.concat());
    let first = row(1, &[cell("A1", "City"), cell("B1", "People")])
        + &row(2, &[cell("A2", "Ulm"), r#"<c r="B2"><v>126329</v></c>"#.to_owned()]);
    let mut long = row(1, &[cell("A1", "Number"), cell("B1", "Name")]);
    for n in 2..80 {
        long += &row(
            n,
            &[
                format!(r#"<c r="A{n}"><v>{n}</v></c>"#),
                cell(&format!("B{n}"), "a name of some length"),
            ],
        );
    }
    let hidden = row(1, &[cell("A1", "SECRET SALARY")]);
    xlsx_of(&[
        ("Cities", "", &first),
        ("Register", "", &long),
        ("Internal", r#"state="hidden""#, &hidden),
    ])
}

const OFFICE: &str = r#"xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0" xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:style="urn:oasis:names:tc:opendocument:xmlns:style:1.0" xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0" xmlns:presentation="urn:oasis:names:tc:opendocument:xmlns:presentation:1.0""#;

/// An OpenDocument file of a kind (`text`, `spreadsheet`, `presentation`) with these automatic styles and this body.
pub fn odf_of(kind: &str, styles: &str, body: &str) -> Vec<u8> {
    let content = format!(
        "<?xml version=\"1.0\"?><office:document-content {OFFICE}><office:automatic-styles>{styles}</office:automatic-styles><office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    );
    package(&[
        ("mimetype", &format!("application/vnd.oasis.opendocument.{kind}")),
        ("content.xml", &content),
        ("META-INF/manifest.xml", "<manifest/>"),
    ])
}

/// A text with headings, a list, a table and a hidden run.
pub fn odt() -> Vec<u8> {
    odf_of(
        "text",
        r#"<style:style style:name="T1"><style:text-properties text:display="none"/></style:style>"#,
        r#"<text:h text:outline-level="1">Wells</text:h><text:p>Water &amp; <text:span text:style-name="T1">SECRET ORDER</text:span>stone&#xe9;<text:s text:c="2"/>ends.</text:p><text:list><text:list-item><text:p>first</text:p><text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list></text:list-item><text:list-item><text:p>second</text:p></text:list-item></text:list><text:h text:outline-level="2">Depths</text:h><table:table><table:table-row><table:table-cell><text:p>Well</text:p></table:table-cell><table:table-cell><text:p>Metres</text:p></table:table-cell></table:table-row><table:table-row><table:table-cell><text:p>North</text:p></table:table-cell><table:table-cell><text:p>31</text:p></table:table-cell></table:table-row></table:table><text:p>Done.</text:p>"#,
    )
}

/// A spreadsheet with repeated and empty cells.
pub fn ods() -> Vec<u8> {
    let cell = |text: &str| format!("<table:table-cell><text:p>{text}</text:p></table:table-cell>");
    odf_of(
        "spreadsheet",
        r#"<style:style style:name="ta2"><style:table-properties table:display="false"/></style:style>"#,
        &format!(
            r#"<table:table table:name="Tides"><table:table-row>{}{}</table:table-row><table:table-row table:number-rows-repeated="2">{}<table:table-cell table:number-columns-repeated="16000"/>{}</table:table-row><table:table-row table:number-rows-repeated="1048000"><table:table-cell table:number-columns-repeated="16384"/></table:table-row></table:table><table:table table:name="Hidden" table:style-name="ta2"><table:table-row>{}</table:table-row></table:table>"#,
            cell("Day"),
            cell("High"),
            cell("Monday"),
            cell("far"),
            cell("SECRET TIDE"),
        ),
    )
}

/// A book of two chapters.
pub fn epub() -> Vec<u8> {
    package(&[
        ("mimetype", "application/epub+zip"),
        (
            "META-INF/container.xml",
            r#"<?xml version="1.0"?><container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"#,
        ),
        (
            "OEBPS/book.opf",
            r#"<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">x</dc:identifier><dc:title>The Lighthouse</dc:title><dc:language>en</dc:language></metadata><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine></package>"#,
        ),
        (
            "OEBPS/nav.xhtml",
            r#"<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body><nav epub:type="toc"><ol><li><a href="a.xhtml">Arrival</a></li></ol></nav></body></html>"#,
        ),
        (
            "OEBPS/a.xhtml",
            r#"<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>1</title></head><body><h1>Arrival</h1><p>The boat landed at dusk.</p></body></html>"#,
        ),
        (
            "OEBPS/b.xhtml",
            r#"<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>The lamp</h1><p>It burned for <b>forty</b> years.</p><p style="display:none">SECRET</p></body></html>"#,
        ),
    ])
}

/// A mail with a table attached, a picture, and a broken document.
pub fn mail() -> Vec<u8> {
    "From: Ada Byron <ada@example.org>\r\nTo: c@example.org\r\nSubject: =?utf-8?q?The_engine_=C3=BCber?=\r\nDate: Tue, 3 Mar 2026 10:00:00 +0000\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nThe mill needs gr=C3=BCne cards.\r\n--b\r\nContent-Type: text/csv; name=\"cards.csv\"\r\nContent-Disposition: attachment; filename=\"cards.csv\"\r\nContent-Transfer-Encoding: base64\r\n\r\nY2FyZCxjb3VudApyZWQsNwo=\r\n--b\r\nContent-Type: image/png; name=\"dot.png\"\r\nContent-Disposition: inline; filename=\"dot.png\"\r\nContent-ID: <dot>\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename=\"broken.docx\"\r\n\r\nnot a document\r\n--b--\r\n"
        .as_bytes()
        .to_vec()
}

/// A letter with a heading and a table.
pub fn rtf() -> Vec<u8> {
    br"{\rtf1\ansi{\stylesheet{\s1 heading 1;}}\pard\s1 Rent\par\pard\plain It rises.\par\trowd\intbl Year\cell Euro\cell\row\trowd\intbl 2026\cell 900\cell\row\pard End.\par}"
        .to_vec()
}

/// Each format once: a name and its bytes.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("pumps.docx", docx()),
        ("harbour.pptx", pptx()),
        ("cities.xlsx", xlsx()),
        ("wells.odt", odt()),
        ("tides.ods", ods()),
        ("lighthouse.epub", epub()),
        ("engine.eml", mail()),
        ("wheel.msg", super::compound::msg()),
        ("rent.rtf", rtf()),
        ("table.csv", b"a,b\n1,2\n".to_vec()),
    ]
}
