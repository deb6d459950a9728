use proptest::prelude::*;

use super::*;

const POLICY: &str = "Orders ship from Rotterdam within two days. The refund window is thirty days from delivery, \
    and cannot be extended. A customer who wants a refund sends the goods back in their box.\n\n\
    Gift cards are not refundable. In 2023 the shop handled 1,200 refunds worth 84.5 thousand euros.";

#[test]
fn what_the_passage_says_is_supported() {
    let check = |sentence: &str, expected: &str| {
        assert_eq!(
            find_support(sentence, POLICY).map(|range| &POLICY[range]),
            Some(expected),
            "{sentence}"
        );
    };
    let window = "The refund window is thirty days from delivery, and cannot be extended.";
    check(
        "The refund window is thirty days from delivery",
        "The refund window is thirty days from delivery",
    );
    check("The refund window is 30 days from the delivery.", window);
    check("Refunds have a window of 30 days after delivery.", window);
    check("The refund window cannot be extended.", window);
    check("- **The window for a refund is thirty days**", window);
    check("1. The refund window is 30 days.", window);
    check(
        "According to the provided context: \"Gift cards are not refundable.\"",
        "Gift cards are not refundable.",
    );
    check("Gift cards aren't refundable.", "Gift cards are not refundable.");
    check(
        "The shop handled 1200 refunds in 2023.",
        "In 2023 the shop handled 1,200 refunds worth 84.5 thousand euros.",
    );
    check(
        "Orders ship from Rotterdam in two days, and the refund window is thirty days from delivery.",
        "Orders ship from Rotterdam within two days. The refund window is thirty days from delivery, and cannot be \
         extended.",
    );
}

#[test]
fn its_twin_is_not() {
    for sentence in [
        "The refund window is 60 days from the delivery.",
        "The refund window is not thirty days from delivery.",
        "The refund window can be extended.",
        "Gift cards are refundable.",
        "The shop handled 1300 refunds in 2023.",
        "The shop handled 1200 refunds in 2024.",
        "Orders ship from Hamburg within two days.",
        "Refunds are paid by bank transfer to the customer's account.",
        "Das Rückgaberecht beträgt dreißig Tage ab Lieferung.",
        "Yes, it is.",
        "",
        "[1]",
    ] {
        assert_eq!(
            find_support(sentence, POLICY).map(|range| &POLICY[range]),
            None,
            "{sentence}"
        );
    }
}

#[test]
fn an_answer_in_another_script_is_supported_by_its_own() {
    let passage = "退款期限为收货后三十天。礼品卡不可退款。";
    let range = find_support("退款期限为收货后三十天。", passage).unwrap();
    assert_eq!(&passage[range], "退款期限为收货后三十天。");
    assert_eq!(find_support("礼品卡可退款。", passage), None);
    assert_eq!(find_support("The refund window is thirty days.", passage), None);
}

#[test]
fn white_space_of_a_stored_text_does_not_matter() {
    let passage = "Header\nThe  refund\nwindow is\u{a0}thirty days. More";
    let range = find_support("The refund window is thirty days.", passage).unwrap();
    assert_eq!(&passage[range], "The  refund\nwindow is\u{a0}thirty days.");
}

#[test]
fn part_of_a_word_is_not_verbatim() {
    assert_eq!(find_collapsed("art of war", "the start of war"), None);
    assert_eq!(find_collapsed("art of war", "art of warfare"), None);
    assert_eq!(find_collapsed("art of war", "the art  of war!"), Some(4..16));
    assert_eq!(find_collapsed("takes 3", "it takes 3.5 days"), None);
    assert_eq!(find_collapsed("5 days", "it takes 3.5 days"), None);
}

#[test]
fn without_a_name_more_is_asked_for() {
    let sources = ["Nothing of it here.", POLICY].map(PassageText::new);
    let among = |sentence: &str| find_best_support(sentence, &sources).map(|(at, range)| (at, &POLICY[range]));
    let window = "The refund window is thirty days from delivery, and cannot be extended.";
    assert_eq!(
        among("The refund window is 30 days from the delivery."),
        Some((1, window))
    );
    assert_eq!(among("Refunds have a generous window, 30 days after delivery."), None);
}

proptest! {
    #[test]
    fn a_range_is_always_a_slice_of_the_passage(sentence in "\\PC{0,60}", passage in "(\\PC|[ .\n]){0,120}") {
        if let Some(range) = find_support(&sentence, &passage) {
            prop_assert!(!passage[range].is_empty());
        }
    }
}
