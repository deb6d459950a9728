//! PDF: page trees that hold themselves or lie, references that run in circles, and pages with very much on them.

use super::{Case, Ends, Expected, Reads, Refused, case, check, each, nested};

/// A file of these objects, the first of which is the catalogue; without a table, as a file that was damaged.
fn pdf(objects: &[String]) -> Vec<u8> {
    let objects: String = (1..)
        .zip(objects)
        .map(|(number, object)| format!("{number} 0 obj{object}endobj\n"))
        .collect();
    format!("%PDF-1.4\n{objects}trailer<</Root 1 0 R>>\n%%EOF\n").into_bytes()
}

/// The same with its table of objects.
fn pdf_with_table(objects: &[String]) -> Vec<u8> {
    let mut file = "%PDF-1.4\n".to_owned();
    let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1);
    for (number, object) in (1..).zip(objects) {
        table += &format!("{:010} 00000 n \n", file.len());
        file += &format!("{number} 0 obj\n{object}\nendobj\n");
    }
    let start = file.len();
    let trailer = format!(
        "trailer<</Root 1 0 R/Size {}>>\nstartxref\n{start}\n%%EOF\n",
        objects.len() + 1
    );
    (file + &table + &trailer).into_bytes()
}

fn stream(content: &str) -> String {
    format!("<</Length {}>>stream\n{content}\nendstream ", content.len() + 1)
}

const FONT: &str = "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>";

fn shown(text: &str) -> String {
    stream(&format!("BT /F1 12 Tf 72 700 Td ({text}) Tj ET"))
}

fn page(parent: usize, content: usize) -> String {
    format!(
        "<</Type/Page/Parent {parent} 0 R/MediaBox[0 0 612 792]/Contents {content} 0 R/Resources<</Font<</F1 3 0 R>>>>>>"
    )
}

/// Catalogue, root of the tree, font, and then pages with a content each; `root` is given the references of the pages.
fn flat(count: usize, root: impl Fn(&str) -> String) -> Vec<String> {
    let kids = each(count, |n| format!("{} 0 R ", 4 + 2 * n));
    let mut objects = vec!["<</Type/Catalog/Pages 2 0 R>>".to_owned(), root(&kids), FONT.to_owned()];
    for n in 0..count {
        objects.extend([page(2, 5 + 2 * n), shown(&format!("words that stand on page {n}"))]);
    }
    objects
}

fn tree(count: usize) -> impl Fn(&str) -> String {
    move |kids| format!("<</Type/Pages/Kids[{kids}]/Count {count}>>")
}

#[tokio::test]
async fn page_trees_that_hold_themselves() {
    let catalog = || "<</Type/Catalog/Pages 2 0 R>>".to_owned();
    let trees = [
        (
            "itself",
            vec![catalog(), "<</Type/Pages/Kids[2 0 R]/Count 1>>".to_owned()],
        ),
        (
            "itself-twice",
            vec![catalog(), "<</Type/Pages/Kids[2 0 R 2 0 R]>>".to_owned()],
        ),
        (
            "indirect",
            vec![
                catalog(),
                "<</Type/Pages/Kids[3 0 R]/Count 1>>".to_owned(),
                "<</Type/Pages/Kids[4 0 R 4 0 R]/Count 1>>".to_owned(),
                "<</Type/Pages/Kids[2 0 R 3 0 R]/Count 1>>".to_owned(),
            ],
        ),
        (
            "parent",
            vec![
                catalog(),
                "<</Type/Pages/Kids[4 0 R 5 0 R]/Count 2>>".to_owned(),
                FONT.to_owned(),
                page(2, 6),
                "<</Type/Pages/Parent 2 0 R/Kids[2 0 R]/Count 1>>".to_owned(),
                shown("words"),
            ],
        ),
    ];
    let mut cases: Vec<Case> = trees
        .iter()
        .flat_map(|(name, objects)| {
            let expected = || Refused("damaged");
            [
                case(format!("{name}.pdf"), pdf(objects), expected()),
                case(format!("{name}-table.pdf"), pdf_with_table(objects), expected()),
            ]
        })
        .collect();
    // Each node holds the next one twice: a short file with 2^60 ways to its page.
    let mut doubled = vec![catalog()];
    doubled.extend((3..63).map(|next| format!("<</Type/Pages/Kids[{next} 0 R {next} 0 R]/Count 1>>")));
    doubled.push("<</Type/Page/MediaBox[0 0 9 9]>>".to_owned());
    cases.push(case("doubled.pdf", pdf_with_table(&doubled), Refused("damaged")));
    let chain = |depth: usize| {
        let mut objects = vec![catalog()];
        let inner = (0..depth).map(|n| format!("<</Type/Pages/Kids[{} 0 R]/Count 1>>", if n == 0 { 4 } else { n + 4 }));
        let inner: Vec<String> = inner.collect();
        objects.push(inner[0].clone());
        objects.push(FONT.to_owned());
        objects.extend(inner[1..].iter().cloned());
        let last = objects.len();
        objects[last - 1] = format!("<</Type/Pages/Kids[{} 0 R]/Count 1>>", last + 1);
        objects.push(page(last, last + 2));
        objects.push(shown("words that stand deep"));
        objects
    };
    cases.push(case("chain.pdf", pdf_with_table(&chain(5_000)), Refused("too_complex")));
    cases.push(case(
        "chain-twin.pdf",
        pdf_with_table(&chain(50)),
        Reads("words that stand deep"),
    ));
    check(cases).await;
}

#[tokio::test]
async fn page_trees_that_lie_about_their_pages() {
    let all = || Reads("words that stand on page 4");
    let mut cases = Vec::new();
    for (name, count) in [
        ("more", "/Count 1000000"),
        ("many", "/Count 11"),
        ("fewer", "/Count 1"),
        ("none", "/Count 0"),
        ("negative", "/Count -5"),
        ("missing", ""),
    ] {
        let objects = flat(5, |kids| format!("<</Type/Pages/Kids[{kids}]{count}>>"));
        cases.push(case(format!("{name}.pdf"), pdf(&objects), all()));
        cases.push(case(format!("{name}-table.pdf"), pdf_with_table(&objects), all()));
    }
    // So many objects that look like pages, and none that the tree leads to.
    let lost = |count: usize| flat(count, |_| "<</Type/Pages/Kids[]/Count 9000>>".to_owned());
    cases.push(case("lost.pdf", pdf_with_table(&lost(9_000)), Refused("too_complex")));
    cases.push(case("lost-twin.pdf", pdf_with_table(&lost(5)), Ends));
    let broken = flat(20, |kids| format!("<</Type/Pages/Kids[9999 0 R {kids}]/Count 21>>"));
    cases.push(case(
        "broken.pdf",
        pdf_with_table(&broken),
        Reads("words that stand on page 19"),
    ));
    check(cases).await;
}

#[tokio::test]
async fn flat_page_trees_are_read_once() {
    let pages = 3_000;
    let last: Expected = Reads("words that stand on page 2999");
    check(vec![case("flat.pdf", pdf_with_table(&flat(pages, tree(pages))), last)]).await;
}

/// One page with a content, and further objects from number 6 on; `entries` go into the catalogue and into the page.
fn one_page(content: &str, catalog: &str, entries: &str, further: &[String]) -> Vec<u8> {
    let mut objects = vec![
        format!("<</Type/Catalog/Pages 2 0 R{catalog}>>"),
        "<</Type/Pages/Kids[4 0 R]/Count 1>>".to_owned(),
        FONT.to_owned(),
        format!(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 5 0 R/Resources<</Font<</F1 3 0 R>>/XObject<</X 6 0 R>>>>{entries}>>"
        ),
        stream(content),
    ];
    objects.extend_from_slice(further);
    pdf_with_table(&objects)
}

#[tokio::test]
async fn references_in_circles() {
    let words = "BT /F1 12 Tf 72 700 Td (words that) Tj ET";
    let form = |body: &str| {
        format!(
            "<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X 6 0 R/Y 7 0 R>>>>/Length {}>>stream\n{body}\nendstream ",
            body.len() + 1
        )
    };
    let simple = |text: &str| text.to_owned();
    check(vec![
        case(
            "form.pdf",
            one_page(&format!("{words} /X Do"), "", "", &[form("/X Do /X Do")]),
            Reads("words that"),
        ),
        case(
            "forms.pdf",
            one_page(
                &format!("{words} /X Do"),
                "",
                "",
                &[form("/Y Do /Y Do"), form("/X Do /X Do")],
            ),
            Reads("words that"),
        ),
        case(
            "outline.pdf",
            one_page(
                words,
                "/Outlines 6 0 R",
                "",
                &[
                    simple("<</First 7 0 R/Last 7 0 R>>"),
                    simple("<</Title(a)/Next 7 0 R/First 7 0 R/Parent 6 0 R>>"),
                ],
            ),
            Reads("words that"),
        ),
        case(
            "names.pdf",
            one_page(words, "/Names<</Dests 6 0 R>>", "", &[simple("<</Kids[6 0 R 6 0 R]>>")]),
            Reads("words that"),
        ),
        case(
            "structure.pdf",
            one_page(
                words,
                "/MarkInfo<</Marked true>>/StructTreeRoot 6 0 R",
                "/StructParents 0",
                &[
                    simple("<</Type/StructTreeRoot/K[7 0 R]/ParentTree 8 0 R>>"),
                    simple("<</S/P/P 6 0 R/K[7 0 R 7 0 R 6 0 R]/Pg 4 0 R>>"),
                    simple("<</Kids[8 0 R 8 0 R]>>"),
                ],
            ),
            Reads("words that"),
        ),
        case(
            "layers.pdf",
            one_page(
                words,
                "/OCProperties 6 0 R",
                "",
                &[
                    simple("<</OCGs[6 0 R]/D<</OFF[6 0 R 7 0 R]/Order[7 0 R]>>>>"),
                    simple("[7 0 R 7 0 R]"),
                ],
            ),
            Reads("words that"),
        ),
        case(
            "annotations.pdf",
            one_page(
                words,
                "",
                "/Annots[6 0 R 6 0 R]",
                &[simple(
                    "<</Type/Annot/Subtype/Widget/Parent 6 0 R/Kids[6 0 R]/FT/Tx/V 6 0 R/Rect[0 0 9 9]>>",
                )],
            ),
            Reads("words that"),
        ),
        case(
            "reference.pdf",
            one_page(
                words,
                "/Extra 6 0 R",
                "/Rotate 6 0 R",
                &[simple("7 0 R"), simple("6 0 R")],
            ),
            Reads("words that"),
        ),
        case(
            "length.pdf",
            one_page(words, "", "", &["<</Length 6 0 R>>stream\nx\nendstream ".to_owned()]),
            Reads("words that"),
        ),
        case(
            "deep-array.pdf",
            one_page(words, "/Extra 6 0 R", "", &[nested(20_000, "[", "", "]")]),
            Ends,
        ),
        case(
            "deep-structure.pdf",
            one_page(
                words,
                "/MarkInfo<</Marked true>>/StructTreeRoot 6 0 R",
                "",
                &deep_structure(5_000),
            ),
            Reads("words that"),
        ),
    ])
    .await;
}

fn deep_structure(depth: usize) -> Vec<String> {
    let mut objects = vec!["<</Type/StructTreeRoot/K 7 0 R>>".to_owned()];
    objects.extend((0..depth).map(|n| format!("<</S/Div/P {} 0 R/K {} 0 R>>", 6 + n, 8 + n)));
    objects.push("<</S/P/Pg 4 0 R/K 0>>".to_owned());
    objects
}

#[tokio::test]
async fn pages_with_very_much_on_them() {
    let texts = |count: usize| {
        each(count, |n| {
            format!("BT /F1 9 Tf {} {} Td (words that) Tj ET\n", n % 500, n / 500 % 700)
        })
    };
    let marks = |depth: usize| nested(depth, "/P BMC ", "BT /F1 9 Tf 9 9 Td (words that) Tj ET ", "EMC ");
    let white = |count: usize| {
        each(count, |n| {
            format!(
                "0 0 1 rg {n} 9 2 2 re f\n1 1 1 rg BT /F1 9 Tf {} {} Td (w) Tj ET\n",
                300 + n % 300,
                n % 700
            )
        })
    };
    check(vec![
        case("texts.pdf", one_page(&texts(5_000), "", "", &[]), Reads("words that")),
        case(
            "texts-many.pdf",
            one_page(&texts(50_000), "", "", &[]),
            Refused("damaged"),
        ),
        case("white.pdf", one_page(&white(5_000), "", "", &[]), Ends),
        case(
            "saves.pdf",
            one_page(
                &nested(50_000, "q ", "BT /F1 9 Tf 9 9 Td (words that) Tj ET ", "Q "),
                "",
                "",
                &[],
            ),
            Reads("words that"),
        ),
        case("marks.pdf", one_page(&marks(20_000), "", "", &[]), Refused("damaged")),
        case(
            "marks-twin.pdf",
            one_page(&marks(900), "", "", &[]),
            Reads("words that"),
        ),
        case(
            "clips.pdf",
            one_page(
                &("0 0 9 9 re W n ".repeat(20_000) + "BT /F1 9 Tf 9 9 Td (words that) Tj ET"),
                "",
                "",
                &[],
            ),
            Reads("words that"),
        ),
        case(
            "fonts.pdf",
            one_page(
                &("BT ".to_owned() + &"/F1 9 Tf ".repeat(20_000) + "9 9 Td (words that) Tj ET"),
                "",
                "",
                &[],
            ),
            Reads("words that"),
        ),
    ])
    .await;
}
