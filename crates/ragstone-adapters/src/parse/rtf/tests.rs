//! RTF documents and the text that is read from them.

use ragstone_core::document::ParsedDocument;

use super::super::sink::DocumentCollector;
use super::*;

fn parsed(rtf: &str) -> Result<ParsedDocument, ParseProblem> {
    let mut gathered = DocumentCollector::new(10_000);
    let outline = parse_rtf(rtf.as_bytes(), &ParseLimits::default(), &mut gathered)?;
    Ok(gathered.finish("application/rtf", outline))
}

#[test]
fn words_keep_their_letters() {
    for (rtf, expected) in [
        (
            r"{\rtf1\ansi Plain \b bold\b0  text.\par Next.}",
            "Plain bold text.\n\nNext.\n",
        ),
        (r"{\rtf1\ansi\ansicpg1251 \'cf\'f0\'e8\'e2\'e5\'f2}", "Привет\n"),
        (r"{\rtf1 caf\'e9 \u8364?5 \u-10179?\u-8704?}", "café €5 😀\n"),
        (r"{\rtf1\uc0 \u233 t\u233 }", "été\n"),
        (r"{\rtf1 \{a\\b\}\~c\line d}", "{a\\b} c\nd\n"),
        (
            r"{\rtf1{\fonttbl{\f0 Arial;}}{\*\unknown gone}{\pict ffd8}seen}",
            "seen\n",
        ),
        ("{\\rtf1\\bin5 {{{{{after}", "after\n"),
    ] {
        assert_eq!(parsed(rtf).unwrap().text, expected, "{rtf}");
    }
}

#[test]
fn headings_tables_and_the_title_are_found() {
    let document = parsed(
        r"{\rtf1{\stylesheet{\s1 heading 1;}{\s2 heading 2;}}{\info{\title The report}{\author Me}}
\pard\s1 Costs\par\pard\plain Below.\par
\trowd\intbl Item\cell Price\cell\row\trowd\intbl Lamp\cell 12 EUR\cell\row
\pard\outlinelevel1 Rest\par\pard End.\par}",
    )
    .unwrap();
    assert_eq!(document.title.as_deref(), Some("The report"));
    assert_eq!(
        document.text,
        "# Costs\n\nBelow.\n\n| Item | Price |\n| --- | --- |\n| Lamp | 12 EUR |\n\n## Rest\n\nEnd.\n"
    );
    assert_eq!(document.sections[1].path, "Costs > Rest");
}

#[test]
fn what_nobody_sees_is_left_out_and_told() {
    let document = parsed(r"{\rtf1 seen {\v SECRET} and {\fs2 ORDER}\fs24 on}").unwrap();
    assert_eq!(document.text, "seen  and on\n");
    assert_eq!(document.warnings[0].code, "hidden_text");
}

#[test]
fn damage_is_told() {
    let code = |rtf: &str| parsed(rtf).map_err(|problem| problem.code());
    assert_eq!(code(r"{\rtf1 cut off"), Err("damaged"));
    assert_eq!(code(&"{".repeat(100_000)), Err("damaged"));
    assert_eq!(code(r"{\rtf1 }"), Err("no_text"));
    assert!(code(r"{\rtf1\u99999999999 x\'zz\'}").is_err());
}
