//! Web pages: the main content as Markdown, so that tables, lists and code stay readable.

mod hidden;
mod style;
mod tree;

use dom_query::{Document, NodeRef};
use dom_smoothie::{Config, Readability};
use encoding_rs::Encoding;
use htmd::HtmlToMarkdown;

use super::error::ParseProblem;
use super::hidden::HiddenTextReport;
use super::normalise::normalise_text;
use super::sink::{DocumentOutline, PageSink};
use super::{markdown, text};

/// Bytes searched for an encoding declaration (HTML standard, "prescan a byte stream").
const CHARSET_WITHIN: usize = 1024;
/// Main content shorter than this share of the body counts as an extraction error, and the body is used instead.
const MAIN_SHARE: f64 = 0.3;
/// Elements that hold no content of the page.
const NO_CONTENT: &[&str] = &[
    "head", "script", "style", "noscript", "template", "svg", "iframe", "object", "canvas", "form", "button", "input",
    "select", "dialog", "img", "picture", "video", "audio",
];
/// Elements without content, removed because the next tree builder would scan all their options once per option.
const CHOICES: &str = "select, datalist";
/// Parts of the site rather than of the page; removed whatever element holds the main content.
const SITE_FURNITURE: &str = "nav, [role=navigation], body > header, body > footer";
/// Elements around the content, skipped when the whole body is converted.
const AROUND_CONTENT: &[&str] = &["nav", "header", "footer", "aside", "menu"];

/// Writes a web page to the sink as one page without a number.
pub(super) fn parse_html(bytes: &[u8], sink: &mut dyn PageSink) -> Result<DocumentOutline, ParseProblem> {
    let html = text::decode_text(bytes, declared_encoding(bytes))?;
    let mut unseen = HiddenTextReport::default();
    let (title, markdown) = extract_content(&html, &mut unseen)?;
    let text = normalise_text(&unseen.strip_hidden_characters(&markdown, None));
    text::emit_text(&text, sink)?;
    let headings = markdown::find_headings(&text);
    let title = title
        .map(|title| unseen.strip_hidden_characters(&title, None).into_owned())
        .or_else(|| markdown::first_title(&headings));
    Ok(DocumentOutline {
        title,
        sections: markdown::build_sections(&headings, text.len()),
        warnings: unseen.build_warnings(),
        attachments: Vec::new(),
    })
}

/// Converts the body of a book chapter or a mail to Markdown, all of it, because none of it is site navigation.
pub(super) fn body_to_markdown(html: &str, unseen: &mut HiddenTextReport) -> Result<String, ParseProblem> {
    let document = tree::parse_tree(html)?;
    hidden::remove_hidden_elements(&document, unseen)?;
    tree::flatten_deep_elements(&document);
    document.select(CHOICES).remove();
    mark_code(&document);
    Ok(html_to_markdown(&document.html(), &[]))
}

/// Title and Markdown of the page: its main content, or its body if too little main content was found.
fn extract_content(html: &str, unseen: &mut HiddenTextReport) -> Result<(Option<String>, String), ParseProblem> {
    let document = tree::parse_tree(html)?;
    hidden::remove_hidden_elements(&document, unseen)?;
    tree::flatten_deep_elements(&document);
    document.select(CHOICES).remove();
    document.select(SITE_FURNITURE).remove();
    mark_code(&document);
    let body = html_to_markdown(&document.html(), AROUND_CONTENT);
    let config = Config {
        keep_classes: true,
        ..Config::default()
    };
    let Ok(mut page) = Readability::with_document(document, None, Some(config)) else {
        return Ok((None, body));
    };
    let title = page
        .get_article_title()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    let title = (!title.is_empty()).then_some(title);
    let main = page
        .parse()
        .map(|article| html_to_markdown(&article.content, &[]))
        .unwrap_or_default();
    let enough = count_letters(&main) as f64 >= MAIN_SHARE * count_letters(&body) as f64;
    let text = match enough && !main.trim().is_empty() {
        true => main,
        false => body,
    };
    Ok((title, text))
}

/// Rewrites each code block to the form whose language survives the conversion to Markdown.
fn mark_code(document: &Document) {
    for block in document.select("pre").nodes() {
        let code = block.find_descendants("code");
        let language = code
            .first()
            .and_then(code_language)
            .or_else(|| code_language(block))
            .or_else(|| find_outer_language(block));
        let class = language
            .map(|language| format!(" class=\"language-{language}\""))
            .unwrap_or_default();
        let text = escape_html(&block.text());
        block.set_html(format!("<code{class}>{text}</code>"));
    }
}

/// The language that one of the two elements around a code block declares.
fn find_outer_language(block: &NodeRef) -> Option<String> {
    let outer = block.parent()?;
    code_language(&outer).or_else(|| code_language(&outer.parent()?))
}

/// The language that an element's class declares, in the conventions of common highlighters.
fn code_language(element: &NodeRef) -> Option<String> {
    const PREFIXES: [&str; 4] = ["language-", "lang-", "highlight-source-", "highlight-"];
    let class = element.attr("class")?;
    let name = class
        .split_whitespace()
        .find_map(|name| PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)))?;
    let known = !matches!(name, "" | "default" | "none" | "text" | "plaintext");
    let plain = name
        .chars()
        .all(|character| character.is_ascii_alphanumeric() || "+#-_.".contains(character));
    (known && plain).then(|| name.to_owned())
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn html_to_markdown(html: &str, also_skipped: &[&str]) -> String {
    let skipped = NO_CONTENT.iter().chain(also_skipped).copied().collect();
    HtmlToMarkdown::builder()
        .skip_tags(skipped)
        .build()
        .convert(html)
        .unwrap_or_default()
}

fn count_letters(text: &str) -> usize {
    text.chars().filter(|character| character.is_alphanumeric()).count()
}

fn declared_encoding(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(CHARSET_WITHIN)]).to_ascii_lowercase();
    let (_, after) = head.split_once("charset=")?;
    let label: String = after
        .trim_start_matches(['"', '\'', ' '])
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':'))
        .collect();
    Encoding::for_label(label.as_bytes())
}

#[cfg(test)]
mod tests {
    use ragstone_core::document::ParsedDocument;

    use super::super::sink::DocumentCollector;
    use super::*;

    fn parsed(html: &[u8]) -> ParsedDocument {
        let mut gathered = DocumentCollector::new(100_000);
        let outline = parse_html(html, &mut gathered).unwrap();
        gathered.finish("text/html", outline)
    }

    const ARTICLE: &str = r#"<!doctype html><html><head><title>Install the tool</title><style>p{}</style></head><body>
        <nav><a href="/">Navigation words</a></nav><div class="cookie-banner">We use cookies</div>
        <main><article><p>This guide shows how to install the tool on every system that it supports, and how to check
        that it runs well afterwards, in five minutes at most.</p>
        <h2>Linux</h2><p>Download the archive, unpack it, and put the program on your path. It needs no other package,
        and it reads its settings from one file, which it makes when it is first run.</p>
        <pre><code class="language-bash">curl -O a.tar.gz
tar xf a.tar.gz &amp;&amp; ls</code></pre>
        <div class="highlight-python notranslate"><div class="highlight"><pre><span>import</span> tool
tool.run()</pre></div></div>
        <table><tr><th>System</th><th>Size</th></tr><tr><td>Linux</td><td>12&nbsp;MB</td></tr></table>
        </article></main><aside>Related links</aside><footer>Copyright words</footer><script>var x;</script>
        </body></html>"#;

    #[test]
    fn the_main_content_keeps_tables_and_code_and_loses_what_is_around_it() {
        let document = parsed(ARTICLE.as_bytes());
        assert_eq!(document.title.as_deref(), Some("Install the tool"));
        for kept in [
            "## Linux",
            "```bash\ncurl -O a.tar.gz\ntar xf a.tar.gz && ls\n```",
            "```python\nimport tool\ntool.run()\n```",
            "| Linux  | 12 MB |",
        ] {
            assert!(document.text.contains(kept), "{kept} is not in {}", document.text);
        }
        for lost in ["Navigation", "cookies", "Related", "Copyright", "var x", "p{}"] {
            assert!(!document.text.contains(lost), "{lost} is in {}", document.text);
        }
        let section = &document.sections[0];
        assert_eq!(section.path, "Linux");
        assert!(document.text[section.range.clone()].starts_with("## Linux"));
    }

    #[test]
    fn what_nobody_sees_is_left_out_and_told() {
        let check = |hidden: &str, codes: &[&str], kept: bool| {
            let page = ARTICLE.replace("<h2>Linux</h2>", &format!("{hidden}<h2>Linux</h2>"));
            let page = page.replace("<style>p{}</style>", "<style>.gone{display:none}</style>");
            let document = parsed(page.as_bytes());
            let found: Vec<_> = document.warnings.iter().map(|warning| warning.code.as_str()).collect();
            assert_eq!(found, codes, "{hidden}");
            assert_eq!(document.text.contains("SECRET"), kept, "{hidden}: {}", document.text);
            assert!(document.text.contains("## Linux"), "{hidden}");
        };
        check("<p>SECRET</p>", &[], true);
        for hidden in [
            "<p style='display:none'>SECRET order</p>",
            "<p hidden>SECRET order</p>",
            "<p class=gone>SECRET order</p>",
            "<div style='visibility: hidden'><p>SECRET</p><p>order</p></div>",
            "<p>seen <span style='font-size:0px'>SECRET order</span></p>",
            "<p style='position:absolute; left:-5000px'>SECRET order</p>",
            "<div style='background:#fff'><p style='color:white'>SECRET order</p></div>",
            "<p><font color='#fefefe'><span style='background-color:#ffffff'>SECRET order</span></font></p>",
        ] {
            check(hidden, &["hidden_text"], false);
        }
        check(
            "<p style='opacity:0'>SECRET at first</p>",
            &["perhaps_hidden_text"],
            true,
        );
        check(
            "<p style='color:#fff'>SECRET on what?</p>",
            &["perhaps_hidden_text"],
            true,
        );
        check(
            "<div style='background:#036'><p style='color:#fff'>SECRET head</p></div>",
            &[],
            true,
        );
        check("<p>SEC<!-- SECRET order -->ond</p>", &[], false);
        check("<p>see&#xE0053;&#xE0045;n</p>", &["hidden_text"], false);
    }

    #[test]
    fn where_there_is_no_main_content_the_body_is_taken() {
        let document = parsed(b"<title>T</title><nav>menu</nav><ul><li>one</li><li>two</li></ul><footer>end</footer>");
        assert!(
            document.text.contains("one") && document.text.contains("two"),
            "{}",
            document.text
        );
        assert!(
            !document.text.contains("menu") && !document.text.contains("end"),
            "{}",
            document.text
        );
    }

    #[test]
    fn a_declared_encoding_is_used() {
        let html =
            b"<meta http-equiv='Content-Type' content='text/html; charset=windows-1251'><p>\xcf\xf0\xe8\xe2\xe5\xf2";
        assert!(parsed(html).text.contains("\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}"));
    }
}
