use super::*;

fn check(storage: &str, expected: &str) {
    assert_eq!(to_markdown(storage).unwrap(), expected, "{storage}");
}

#[test]
fn text_and_headings() {
    check(
        "<h1>One</h1><p>a  b\n c</p><h3>T<br/>wo</h3><p>d</p>",
        "# One\n\na b c\n\n### T wo\n\nd",
    );
    check(
        "<p>caf&eacute;&nbsp;&lt;b&gt; &#x2014; <strong>bold</strong> <em>text</em></p>",
        "café <b> — bold text",
    );
    check(
        "<p># no heading &lt;!-- no comment</p>",
        "\\# no heading <\\!-- no comment",
    );
    check(
        "<p>one<br/>two</p><p></p><hr/><blockquote><p>q</p><p>r</p></blockquote>",
        "one\ntwo\n\n> q\n> \n> r",
    );
    check("plain", "plain");
    check("", "");
}

#[test]
fn lists_and_tasks() {
    check(
        "<ul><li>a<ul><li><p>b</p></li></ul></li><li>c</li></ul><p>d</p>",
        "- a\n  - b\n- c\n\nd",
    );
    check(
        "<ol start=\"3\"><li>a</li><li><p>b</p><p>more</p></li></ol>",
        "3. a\n4. b\n   more",
    );
    check(
        "<ac:task-list><ac:task><ac:task-id>7</ac:task-id><ac:task-status>complete</ac:task-status>\
         <ac:task-body><span>done it</span></ac:task-body></ac:task><ac:task><ac:task-id>8</ac:task-id>\
         <ac:task-status>incomplete</ac:task-status><ac:task-body>to do</ac:task-body></ac:task></ac:task-list>",
        "- [x] done it\n- [ ] to do",
    );
}

#[test]
fn tables() {
    check(
        "<table><colgroup><col/></colgroup><tbody><tr><th><p>k</p></th><th>v|w</th></tr>\
         <tr><td colspan=\"2\"><ul><li>x</li><li>y</li></ul></td></tr><tr><td>1</td><td>2</td></tr></tbody></table>",
        "| k | v\\|w |\n| --- | --- |\n| - x - y |  |\n| 1 | 2 |",
    );
    check(
        "<table><tr><td>a | b</td></tr><tr><td>c</td></tr></table>",
        "a | b\n\nc",
    );
}

#[test]
fn macros() {
    check(
        "<ac:structured-macro ac:name=\"code\"><ac:parameter ac:name=\"language\">rust</ac:parameter>\
         <ac:parameter ac:name=\"title\">Main</ac:parameter>\
         <ac:plain-text-body><![CDATA[fn main() {\n    a < b && \"]]]]><![CDATA[>\";\n}]]></ac:plain-text-body>\
         </ac:structured-macro>",
        "**Main**\n\n```rust\nfn main() {\n    a < b && \"]]>\";\n}\n```",
    );
    for name in ["info", "panel", "expand", "excerpt", "what-nobody-knows"] {
        check(
            &format!(
                "<p>a</p><ac:structured-macro ac:name=\"{name}\"><ac:parameter ac:name=\"title\">T &amp; U\
                 </ac:parameter><ac:rich-text-body><p>b</p><ul><li>c</li></ul></ac:rich-text-body>\
                 </ac:structured-macro><p>d</p>"
            ),
            "a\n\n**T & U**\n\nb\n\n- c\n\nd",
        );
    }
    check(
        "<p>It is <ac:structured-macro ac:name=\"status\"><ac:parameter ac:name=\"colour\">Green</ac:parameter>\
         <ac:parameter ac:name=\"title\">DONE</ac:parameter></ac:structured-macro>, see \
         <ac:structured-macro ac:name=\"jira\"><ac:parameter ac:name=\"key\">OPS-1</ac:parameter>\
         </ac:structured-macro>.</p><ac:structured-macro ac:name=\"toc\"/>",
        "It is DONE, see OPS-1.",
    );
    check(
        "<ac:structured-macro ac:name=\"include\"><ac:parameter ac:name=\"\"><ac:link>\
         <ri:page ri:space-key=\"X\" ri:content-title=\"Other page\"/></ac:link></ac:parameter></ac:structured-macro>",
        "See: Other page",
    );
    check(
        "<ac:adf-extension><ac:adf-node type=\"panel\"><ac:adf-attribute key=\"panel-type\">custom</ac:adf-attribute>\
         <ac:adf-content><p>once</p></ac:adf-content></ac:adf-node><ac:adf-fallback><p>once</p></ac:adf-fallback>\
         </ac:adf-extension>",
        "once",
    );
}

#[test]
fn links_and_mentions() {
    check(
        "<p><a href=\"https://x.test/a\">site</a></p>",
        "[site](https://x.test/a)",
    );
    check(
        "<p><a href=\"javascript:alert(1)\">site</a> <a href=\"https://x.test\">https://x.test</a></p>",
        "site https://x.test",
    );
    check(
        "<p>See <ac:link><ri:page ri:content-title=\"Run &amp; book\"/></ac:link> and <ac:link><ri:page \
         ri:content-title=\"B\"/><ac:plain-text-link-body><![CDATA[the <other>]]></ac:plain-text-link-body></ac:link> \
         of <ac:link><ri:user ri:account-id=\"5b1\"/></ac:link>.</p>",
        "See Run & book and the <other> of @5b1.",
    );
    check(
        "<p>By <time datetime=\"2026-01-02\"/> use <code>a`b</code></p>",
        "By 2026-01-02 use `` a`b ``",
    );
    check(
        "<ac:image ac:alt=\"x\"><ri:attachment ri:filename=\"plan.png\"/></ac:image>",
        "plan.png",
    );
}

#[test]
fn what_is_broken_is_refused_and_what_is_deep_ends() {
    assert!(to_markdown("<p>a</b>").is_err());
    check("<p>never closed", "never closed");
    check(
        "<table>a<tr>b<td>c</td></tr></table><ul>d</ul>",
        "| c | b |\n| --- | --- |\n| a |  |\n\n- d",
    );
    let deep = |open: &str, close: &str| open.repeat(20_000) + "x" + &close.repeat(20_000);
    for (open, close) in [
        ("<ul><li>", "</li></ul>"),
        ("<table><tr><td>", "</td></tr></table>"),
        ("<blockquote>", "</blockquote>"),
        (
            "<ac:structured-macro ac:name=\"a\"><ac:rich-text-body>",
            "</ac:rich-text-body></ac:structured-macro>",
        ),
    ] {
        let text = to_markdown(&deep(open, close)).unwrap();
        assert!(text.contains('x') && text.len() < 10_000, "{open} {}", text.len());
    }
}
