//! Web pages, Markdown, letters, tables, mails.

use super::{Ends, Reads, Refused, case, check, each, nested};

fn page(body: &str) -> String {
    format!("<!doctype html><html><head><title>T</title></head><body>{body}</body></html>")
}

fn attributes(count: usize) -> String {
    each(count, |n| format!(" a{n}=1"))
}

#[tokio::test]
async fn web_pages_that_are_deep_or_wide() {
    let words = "<p>words that anybody can read</p>";
    let mut cases = vec![
        case(
            "divs.html",
            page(&nested(8_000, "<div>", words, "</div>")),
            Refused("too_complex"),
        ),
        case(
            "divs-open.html",
            page(&("<div>".repeat(200_000) + words)),
            Refused("too_complex"),
        ),
        case(
            "divs-twin.html",
            page(&nested(1_500, "<div>", words, "</div>")),
            Reads("words that"),
        ),
        case(
            "attributes.html",
            page(&format!("<p{}>words</p>", attributes(300_000))),
            Refused("too_complex"),
        ),
        case(
            "attributes-twin.html",
            page(&format!("<p{}>words that</p>", attributes(1_000))),
            Reads("words that"),
        ),
        case(
            "siblings.html",
            page(&"<p>words that repeat</p>".repeat(8_000)),
            Reads("words that"),
        ),
        case(
            "breaks.html",
            page(&"words that break<br>".repeat(8_000)),
            Reads("words that"),
        ),
        case(
            "bold.html",
            page(&"<b>words that</b><i>x</i>".repeat(4_000)),
            Reads("words that"),
        ),
        case("adjacent.html", page(&"<b>words that </b>".repeat(8_000)), Ends),
        case(
            "spans.html",
            page(&format!("<p>{}</p>", "<span>words that </span>".repeat(8_000))),
            Reads("words that"),
        ),
        case(
            "row.html",
            page(&format!(
                "<table><tr>{}</tr></table>",
                "<td>words that</td>".repeat(8_000)
            )),
            Ends,
        ),
        case(
            "rows.html",
            page(&format!(
                "<table>{}</table>",
                "<tr><td>words that</td><td>b</td></tr>".repeat(5_000)
            )),
            Reads("words that"),
        ),
        case(
            "links.html",
            page(&each(4_000, |n| format!("<a href='/{n}'>words that</a> "))),
            Ends,
        ),
        case(
            "options.html",
            page(&format!(
                "<select>{}</select><p>words that are long enough</p>",
                "<option>x".repeat(5_000)
            )),
            Reads("words that"),
        ),
        case(
            "comments.html",
            page(&format!("{}<p>words that</p>", "<!-- x -->".repeat(10_000))),
            Reads("words that"),
        ),
    ];
    for (open, close) in [
        ("<ul><li>", "</li></ul>"),
        ("<blockquote>", "</blockquote>"),
        ("<table><tr><td>", "</td></tr></table>"),
        ("<b>", "</b>"),
        ("<span style='opacity:0'>", "</span>"),
    ] {
        let name = open.trim_matches(['<', '>']);
        cases.push(case(
            format!("{name}-deep.html"),
            page(&nested(5_000, open, words, close)),
            Refused("too_complex"),
        ));
        cases.push(case(
            format!("{name}-twin.html"),
            page(&nested(500, open, words, close)),
            Reads("words that"),
        ));
    }
    check(cases).await;
}

#[tokio::test]
async fn web_pages_that_make_their_reader_repeat_itself() {
    let fonts = each(3_000, |n| format!("<p><font color='#{n:06}'>words that</p>"));
    let rules = |count: usize| {
        let rules = each(count, |n| format!(".a{n} .b{n} .c{n}{{display:none}}"));
        format!("<style>{rules}</style>")
    };
    let siblings = "<style>b ~ p{display:none}</style>".to_owned() + &"<p>words that</p>".repeat(70_000);
    check(vec![
        case("formatting.html", page(&fonts), Refused("too_complex")),
        case("formatting-twin.html", page(&fonts[..2_000]), Reads("words that")),
        case(
            "rules.html",
            page(&(rules(5_000) + &nested(200, "<div class=c1>", "words that", "</div>").repeat(20))),
            Refused("too_complex"),
        ),
        case(
            "rules-twin.html",
            page(&(rules(200) + &"<p class=c1>words that</p>".repeat(2_000))),
            Reads("words that"),
        ),
        case("siblings-rule.html", page(&siblings), Refused("too_complex")),
        case(
            "braces.html",
            page(&format!("<style>{}</style><p>words that</p>", "a{".repeat(100_000))),
            Reads("words that"),
        ),
        case(
            "style-attribute.html",
            page(&format!("<p style='{}'>words that</p>", "a:b;".repeat(100_000))),
            Reads("words that"),
        ),
        case(
            "entities.html",
            page(&("&amp;&lt;&#x41;".repeat(10_000) + "words that")),
            Ends,
        ),
    ])
    .await;
}

#[tokio::test]
async fn markdown_letters_and_tables() {
    let diagonal = each(3_000, |n| ",".repeat(n) + "x\n");
    let styles = each(20_000, |n| format!("{{\\s{n} heading 1;}}"));
    let paragraphs = each(20_000, |n| format!("\\pard\\s{n} words that\\par "));
    let sections = format!("# {}\n", "long ".repeat(50_000)) + &"## words that\n".repeat(8_000);
    check(vec![
        case(
            "columns.csv",
            each(200_000, |n| format!("c{n},")) + "end\n" + &"1,".repeat(200_000) + "words that\n",
            Reads("words that"),
        ),
        case("gaps.csv", diagonal, Reads("| x |")),
        case(
            "rows.csv",
            "a,b\n".to_owned() + &"words that,2\n".repeat(50_000),
            Reads("words that"),
        ),
        case("quotes.csv", "\"".repeat(500_000) + "words that", Ends),
        case("quotes.md", "> ".repeat(8_000) + "words that", Reads("words that")),
        case(
            "quotes-lines.md",
            (">".repeat(500) + " words that\n\n").repeat(200),
            Reads("words that"),
        ),
        case(
            "lists.md",
            each(700, |n| "  ".repeat(n) + "- words that\n"),
            Reads("words that"),
        ),
        case("brackets.md", "[".repeat(50_000) + "words that", Reads("words that")),
        case("links.md", "[a](".repeat(30_000) + "words that", Reads("words that")),
        case("images.md", "![".repeat(30_000) + "words that", Reads("words that")),
        case("stars.md", "*a **b ".repeat(30_000) + "words that", Reads("words that")),
        case(
            "ticks.md",
            each(1_500, |n| "`".repeat(n) + " ") + "words that",
            Reads("words that"),
        ),
        case("comments.md", "<!-- ".repeat(30_000) + "-->\n\nwords that", Ends),
        case("tags.md", "<a ".repeat(30_000) + "words that", Reads("words that")),
        case(
            "references.md",
            each(10_000, |n| format!("[a{n}]: /x\n")) + &"[a1] ".repeat(10_000) + "words that",
            Reads("words that"),
        ),
        case(
            "table.md",
            "|a".repeat(2_000) + "|\n" + &"|-".repeat(2_000) + "|\n" + &"|x\n".repeat(2_000) + "words that",
            Reads("words that"),
        ),
        case("sections.md", sections, Reads("words that")),
        case(
            "styles.rtf",
            format!("{{\\rtf1{{\\stylesheet{styles}}}{paragraphs}}}"),
            Reads("words that"),
        ),
        case(
            "groups.rtf",
            format!("{{\\rtf1{}}}", nested(2_000, "{", "words", "}")),
            Refused("damaged"),
        ),
        case(
            "groups-twin.rtf",
            format!("{{\\rtf1{}}}", nested(900, "{", "words that", "}")),
            Reads("words that"),
        ),
        case(
            "cells.rtf",
            format!(
                "{{\\rtf1\\trowd\\intbl {}\\row\\pard words that\\par}}",
                "x\\cell ".repeat(50_000)
            ),
            Reads("words that"),
        ),
        case(
            "nested.json",
            nested(100_000, "[", "\"words that\"", "]"),
            Reads("words that"),
        ),
    ])
    .await;
}

#[tokio::test]
async fn mails() {
    let head = "From: a@example.org\r\nTo: b@example.org\r\nMessage-ID: <1>\r\nMIME-Version: 1.0\r\nSubject: S\r\n";
    let parts = each(3_000, |n| {
        format!("Content-Type: multipart/mixed; boundary=\"b{n}\"\r\n\r\n--b{n}\r\n")
    });
    let inner = "Content-Type: message/rfc822\r\n\r\nFrom: a@example.org\r\nSubject: S\r\n".repeat(3_000);
    let wide = "Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()
        + &"--b\r\nContent-Type: text/plain\r\n\r\nwords that\r\n".repeat(10_000)
        + "--b--\r\n";
    let text = "Content-Type: text/plain\r\n\r\nwords that\r\n";
    let deep = nested(8_000, "<div>", "words", "</div>");
    check(vec![
        case("parts.eml", format!("{head}{parts}{text}"), Ends),
        case("mails.eml", format!("{head}{inner}{text}"), Ends),
        case("wide.eml", format!("{head}{wide}"), Reads("words that")),
        case(
            "fields.eml",
            each(100_000, |n| format!("X-{n}: a\r\n")) + head + text,
            Ends,
        ),
        case(
            "folded.eml",
            format!("{head}X-A: {}\r\n{text}", "a\r\n ".repeat(100_000)),
            Reads("words that"),
        ),
        case(
            "recipients.eml",
            format!(
                "{head}Cc: {}c@example.org\r\n{text}",
                "c <c@example.org>, ".repeat(30_000)
            ),
            Reads("words that"),
        ),
        case(
            "encoded.eml",
            format!("{head}X-A: {}\r\n{text}", "=?utf-8?q?a?= ".repeat(30_000)),
            Reads("words that"),
        ),
        case(
            "comments.eml",
            format!("{head}Cc: {}\r\n{text}", "(".repeat(100_000)),
            Ends,
        ),
        case(
            "page.eml",
            format!("{head}Content-Type: text/html\r\n\r\n{deep}"),
            Refused("too_complex"),
        ),
        case(
            "page-twin.eml",
            format!("{head}Content-Type: text/html\r\n\r\n<p>words that</p>"),
            Reads("words that"),
        ),
    ])
    .await;
}
