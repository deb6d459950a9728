use proptest::prelude::*;

use super::*;

const PASSAGES: [&str; 2] = [
    "The refund window is thirty days from delivery. Shipping to Norway is free. Gift cards expire after two years.",
    "退款期限为收货后三十天。 A parking permit costs 12.50 euros a month.",
];

/// Runs the text through in these pieces; every claim holds unless it quotes `refused`.
fn assemble(pieces: &[&str], refused: &str) -> (String, Vec<String>, Vec<AnswerSentence>) {
    let mut assembler = AnswerAssembler::new(PASSAGES.map(Arc::from).to_vec());
    let (mut answer, mut events) = (String::new(), Vec::new());
    for at in 0..=pieces.len() {
        match pieces.get(at) {
            Some(piece) => assembler.push_text(piece),
            None => assembler.finish_input(),
        }
        while let Some(step) = assembler.next_step() {
            match step {
                AnswerStep::Delta(text) => answer.push_str(&text),
                AnswerStep::Cite { sentence, n, claim } => {
                    events.push(format!("{sentence}:{n}:{}", &PASSAGES[claim.passage][claim.range]));
                }
                AnswerStep::Verify(claims) => {
                    let quote = |claim: &CitationCandidate| &PASSAGES[claim.passage][claim.range.clone()];
                    let holds: Vec<bool> = claims.iter().map(|claim| quote(claim) != refused).collect();
                    assembler.resolve_candidates(&holds);
                }
            }
        }
    }
    assert_eq!(assembler.answer_text(), answer);
    (answer, events, assembler.sentences().to_vec())
}

#[test]
fn markers_become_verified_citations_behind_their_sentence() {
    let check = |text: &str, expected: &str| assert_eq!(assemble(&[text], "").0, expected, "{text:?}");
    check(
        "The refund window is thirty days [1].",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days. [1]",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days.[1]",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days[1].",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days [1][2].",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days [1, 2]",
        "The refund window is thirty days [1]",
    );
    check(
        "A refund window [^1] of thirty days.",
        "A refund window of thirty days. [1]",
    );
    check(
        "A parking permit costs 12.50 euros [2]. Shipping to Norway is free [1]. \n",
        "A parking permit costs 12.50 euros. [1] Shipping to Norway is free. [2] \n",
    );
    check(
        "Shipping to Norway is free.[1]The refund window is thirty days [1].",
        "Shipping to Norway is free. [1]The refund window is thirty days. [2]",
    );
    check(
        "退款期限为收货后三十天。[2]礼品卡。",
        "退款期限为收货后三十天。 [1]礼品卡。",
    );
    check(
        "[1] The refund window is thirty days.",
        "The refund window is thirty days. [1]",
    );
    for marker in [
        "【1】",
        "【1†source】",
        "[source 1]",
        "[Source: 1]",
        "(source 1)",
        "(Sources: 1)",
        "[1][2]",
        "[^1]",
    ] {
        check(
            &format!("The refund window is thirty days {marker}."),
            "The refund window is thirty days. [1]",
        );
        check(
            &format!("The refund window is thirty days. {marker} "),
            "The refund window is thirty days. [1] ",
        );
    }
    for text in [
        "It is (1) short",
        "It is (see source 1) short",
        "It is [source 9] short",
        "f(source 1) is 【x】",
    ] {
        check(text, text);
    }
    check(
        "It is free, i.e. shipping [1] to Norway.",
        "It is free, i.e. shipping to Norway. [1]",
    );
}

#[test]
fn what_names_nothing_or_is_not_supported_disappears() {
    let check = |text: &str, expected: &str| assert_eq!(assemble(&[text], "").0, expected, "{text:?}");
    check("Bees make honey [1].", "Bees make honey.");
    check("Bees make honey [7] all day [0].", "Bees make honey all day.");
    check(
        "The refund window is sixty days [1].",
        "The refund window is sixty days.",
    );
    check("I don't know: nothing says so.", "I don't know: nothing says so.");
    check(
        "The refund window is thirty days [2].",
        "The refund window is thirty days. [1]",
    );
    check(
        "The refund window is thirty days.",
        "The refund window is thirty days. [1]",
    );
    let refused = assemble(
        &["Shipping to Norway is free [1]. Bees."],
        "Shipping to Norway is free.",
    );
    assert_eq!(
        (refused.0.as_str(), refused.1.len()),
        ("Shipping to Norway is free. Bees.", 0)
    );
}

#[test]
fn what_is_no_marker_stays() {
    for text in [
        "Take a[1] and f(x)[0] from item_list[1].",
        "`x [1] y` and [note] and [2024] and [ ] and [",
        "```rust\nlet a = [1];\nb [1]\n```\nDone",
        "a [1",
        "- [x] done\n- [ ] open\n\n| a | b |\n|---|---|\n",
        "Dr. Smith of No. 5, e.g. J. Doe\r\n\ttab  end  ",
        "x [1;] é [日] 🦀 [1 2",
    ] {
        let kept = text.replace(" [1;]", "");
        assert_eq!(assemble(&[text], "").0, kept, "{text:?}");
    }
}

#[test]
fn sentences_and_lines_are_counted() {
    let check = |text: &str, expected: &[(&str, &[usize])]| {
        let sentences = assemble(&[text], "").2;
        let found: Vec<_> = sentences
            .iter()
            .map(|s| (s.text.as_str(), s.citations.as_slice()))
            .collect();
        assert_eq!(found, expected, "{text:?}");
    };
    check(
        "1. Shipping to Norway is free [1]\n2. Gift cards expire after two years [1]\n\nSo Dr. Who said \"yes.\" Bye",
        &[
            ("1. Shipping to Norway is free", &[1]),
            ("2. Gift cards expire after two years", &[2]),
            ("So Dr. Who said \"yes.\"", &[]),
            ("Bye", &[]),
        ],
    );
    check(
        "Shipping to Norway is free [1]. Shipping to Norway is free!",
        &[
            ("Shipping to Norway is free.", &[1]),
            ("Shipping to Norway is free!", &[1]),
        ],
    );
    check(
        "It is 3.5 m... really? Yes",
        &[("It is 3.5 m... really?", &[]), ("Yes", &[])],
    );
    check("```\na. B\n```\nHello.", &[("Hello.", &[])]);
}

#[test]
fn the_same_span_has_one_number() {
    let (_, events, _) = assemble(
        &["Shipping to Norway is free [1]. Bees hum. Shipping to Norway is free [1]."],
        "",
    );
    assert_eq!(
        events,
        ["0:1:Shipping to Norway is free.", "2:1:Shipping to Norway is free."]
    );
}

#[test]
fn a_model_that_copies_gives_its_own_span() {
    let mut assembler = AnswerAssembler::new(PASSAGES.map(Arc::from).to_vec());
    assembler.push_text("Gift cards expire after two years.");
    assembler.push_quote(1, 76..110);
    assembler.push_text(" Nothing.");
    assembler.push_quote(1, 5..5_000);
    assembler.push_quote(0, 0..1);
    assembler.finish_input();
    let mut steps = Vec::new();
    while let Some(step) = assembler.next_step() {
        if let AnswerStep::Verify(claims) = &step {
            assembler.resolve_candidates(&vec![true; claims.len()]);
        }
        steps.push(step);
    }
    let claim = CitationCandidate {
        passage: 0,
        range: 76..110,
    };
    let delta = |text: &str| AnswerStep::Delta(text.to_owned());
    assert_eq!(
        steps,
        [
            delta("Gift cards expire after two years."),
            AnswerStep::Verify(vec![claim.clone()]),
            AnswerStep::Cite {
                sentence: 0,
                n: 1,
                claim
            },
            delta(" [1]"),
            delta(" Nothing."),
        ]
    );
}

#[test]
fn text_goes_out_at_once() {
    let mut assembler = AnswerAssembler::new(vec![]);
    let mut out = |text: &str| {
        assembler.push_text(text);
        let mut out = String::new();
        while let Some(AnswerStep::Delta(delta)) = assembler.next_step() {
            out += &delta;
        }
        out
    };
    for (token, expected) in [
        ("The", "The"),
        (" refund", " refund"),
        (" ", ""),
        ("win", " win"),
        (".", "."),
        (" [", ""),
        ("1", ""),
        ("]", ""),
        (" N", " N"),
        (" [n", " [n"),
    ] {
        assert_eq!(out(token), expected, "{token:?}");
    }
}

fn bare(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

proptest! {
    #[test]
    fn pieces_do_not_matter(
        text in "(Shipping to Norway is free|The refund window is thirty days|退款期限为收货后三十天|é|🦀|[.]|[.] | |\n|\n\n|。|\\[1\\]| \\[1, 2\\]|\\[9\\]|\\[|\\]|`|```|a|Dr[.]|\"|[*]{2}|1[.] |[?] ){0,16}",
        cuts in prop::collection::vec(0usize..200, 0..12),
    ) {
        let mut bounds: Vec<usize> = cuts.into_iter().filter(|cut| text.is_char_boundary(*cut)).collect();
        bounds.extend([0, text.len()]);
        bounds.sort_unstable();
        let pieces: Vec<&str> = bounds.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
        let whole = assemble(&[&text], "");
        prop_assert_eq!(&assemble(&pieces, ""), &whole);
        let single: Vec<String> = text.chars().map(String::from).collect();
        let single: Vec<&str> = single.iter().map(String::as_str).collect();
        prop_assert_eq!(&assemble(&single, ""), &whole);
    }

    #[test]
    fn only_markers_are_taken(text in "([a-z]{1,6}|é|[.!?]|[.] [A-Z]| |\n|\\[1\\]| \\[2, 1\\]|`|\\[x\\]|\\[|日。){0,20}") {
        let mut assembler = AnswerAssembler::new(vec![Arc::from(""); 2]);
        assembler.push_text(&text);
        assembler.finish_input();
        while assembler.next_step().is_some() {}
        let without = |text: &str| bare(text).replace("[1]", "").replace("[2,1]", "");
        prop_assert_eq!(without(assembler.answer_text()), without(&text));
    }
}
