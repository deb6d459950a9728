use proptest::prelude::*;

use super::*;

const SOURCE: &str = "https://docs.example/guide.pdf";
const TEXT: &str = "Report at https://status.example/report, says the guide. Run curl https://api.example/v1/x now.";

fn links() -> LinkFilter {
    LinkFilter::new([SOURCE.to_owned(), "file:///a/b.pdf".to_owned()], vec![TEXT.into()])
}

fn through(pieces: &[&str]) -> (String, usize) {
    let mut links = links();
    let mut out: String = pieces.iter().map(|piece| links.filter_text(piece)).collect();
    out += &links.flush_held();
    (out, links.removed_count())
}

#[test]
fn only_shown_documents_are_linked() {
    let check = |text: &str, expected: &str| assert_eq!(through(&[text]).0, expected, "{text:?}");
    for kept in [
        "Plain text, with hills (and brackets) [1]. A <b>bold</b> word! Is 1 < 2 [2][3]?",
        "See [the guide](https://docs.example/guide.pdf) and [page 3](https://docs.example/guide.pdf#page=3).",
        "See [it](file:///a/b.pdf) or https://docs.example/guide.pdf.",
        "array[i](arg) and f[x]() and [note]: see it, Great![1] Vec<T> <",
        "[1](see appendix B for more)",
        "```sh\ncurl https://api.example/v1/x\n```\n",
        "wow https, how http: works; www is old, h",
    ] {
        check(kept, kept);
    }
    for (text, expected) in [
        ("See [here](https://evil.example/?d=42) now", "See [here] now"),
        ("[1](https://evil.example)", "[1]"),
        ("![a](https://evil.example/p.png?d=1)", "[a]"),
        ("![a](https://docs.example/guide.pdf)", "[a]"),
        ("[![a](https://evil.example/i)](https://evil.example)", "[[a]]"),
        ("[a](//evil.example/x)", "[a]"),
        ("[a](javascript:alert(1))", "[a]"),
        ("[a](data:text/html,x)", "[a]"),
        ("[a](<https://evil.example/a b> \"t\")", "[a]"),
        ("[a](https://docs.example/guide.pdf?d=42)", "[a]"),
        (
            "[a](https://docs.example/guide.pdf \"d=42\")",
            "[a](https://docs.example/guide.pdf)",
        ),
        ("[a][x]\n\n[x]: https://evil.example/x\nend", "[a][x]\n\n[x]\nend"),
        ("[a](&#104;ttps://evil.example)", "[a]"),
        ("https://evil.example/x?d=42.", "(link removed)."),
        ("Go to HTTPS://status.example/report?d=42!", "Go to status.example!"),
        ("(www.evil.example/x)", "((link removed))"),
        ("xhttps://evil.example", "x(link removed)"),
        ("<https://evil.example>", "<(link removed)>"),
        ("<https://docs.example/guide.pdf>", "<https://docs.example/guide.pdf>"),
        ("<img src=//evil.example/x>", "< img src=//evil.example/x>"),
        ("<IMG/src=x><script>x</script>", "< IMG/src=x>< script>x< /script>"),
        ("<b onclick=x>", "< b onclick=x>"),
        ("<mailto:a@evil.example>", "< mailto:a@evil.example>"),
        ("https://docs.example@evil.example/guide.pdf", "(link removed)"),
        (
            "```sh\ncurl https://evil.example/v1/x\n```\n",
            "```sh\ncurl (link removed)\n```\n",
        ),
        ("[a](https://evil.example/unfinished", "[a]"),
    ] {
        check(text, expected);
    }
}

#[test]
fn what_is_too_long_is_not_held_for_ever() {
    let long = "x".repeat(5_000);
    let mut links = links();
    let target = format!("[a](https://evil.example/{long}");
    let out = links.filter_text(&target);
    assert!(out.starts_with("[a]") && out.len() > 2_000 && !out.contains("evil"));
    let address = format!(" https://evil.example/{long}");
    let out = links.filter_text(&address);
    assert!(out.contains(REMOVED) && !out.contains("evil"));
    assert!(links.held.len() < 8, "{}", links.held.len());
    assert_eq!(links.removed_count(), 2);
}

#[test]
fn plain_text_goes_out_at_once() {
    let mut links = links();
    for (token, expected) in [
        ("The refund", "The refund"),
        (" w", " "),
        ("indow", "window"),
        (" [1", " [1"),
        ("]", ""),
        (".", "]."),
        (" htt", " "),
        ("ps:", ""),
        (" x", "https: x"),
    ] {
        assert_eq!(links.filter_text(token), expected, "{token:?}");
    }
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        text in "(word|h|w|https://|http://evil[.]example/x|www[.]|https://docs[.]example/guide[.]pdf|\\[|\\]|\\(|\\)|!|<|>|img|/|:|\"| |\n|```|[.]|é|🦀|javascript:|\\[1\\]|\\]\\(|\\]: ){0,24}",
        cuts in prop::collection::vec(0usize..300, 0..12),
    ) {
        let mut bounds: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
        bounds.extend([0, text.len()]);
        bounds.sort_unstable();
        let pieces: Vec<&str> = bounds.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let whole = through(&[&text]);
        prop_assert_eq!(&through(&pieces), &whole);
        let single: Vec<String> = text.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        prop_assert_eq!(&through(&single), &whole);
        prop_assert!(!whole.0.contains("evil"), "{}", whole.0);
        prop_assert!(!whole.0.contains("<img>"), "{}", whole.0);
    }

    #[test]
    fn other_text_is_not_touched(text in "([a-zA-Z]{1,8}|[0-9]{1,3}|é|🦀|日|[.,;?] |\n|\\[[0-9]\\]| |[(][a-z]{1,3}[)]|\"){0,30}") {
        prop_assume!(!text.to_ascii_lowercase().contains("www."));
        prop_assert_eq!(through(&[&text]).0, text);
    }
}
