use super::*;

const MODEL: &str = "some-model";

/// What goes out of the answers, given one after the other in pieces of `size` characters; none for a late tag.
fn filtered(habits: &ModelThoughtMarkings, text: &str, size: usize, finished: bool) -> Option<String> {
    let mut filter = ThoughtFilter::new(habits, MODEL);
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::new();
    for piece in characters.chunks(size) {
        out += &filter.push(piece.iter().collect::<String>()).ok()?;
    }
    out += &filter.finish_text(finished).ok()?;
    Some(out)
}

#[track_caller]
fn check(text: &str, expected: &str) {
    for size in 1..=text.chars().count() {
        let found = filtered(&ModelThoughtMarkings::default(), text, size, true);
        assert_eq!(found.as_deref(), Some(expected), "{text:?} in pieces of {size}");
    }
}

#[test]
fn thoughts_are_taken_out_however_they_are_marked() {
    for (open, close) in TAGS {
        check(&format!("{open}\nHm [1].\n{close}\n\nYes. [1]"), "Yes. [1]");
        check(&format!("Hm [1].\n{close}\n\nYes. [1]"), "Yes. [1]");
        check(&format!("Hm [1].{}Yes.", close.to_uppercase()), "Yes.");
        check(&format!("{open}Hm, cut off"), "");
    }
    check("\n <think>a</think>b<", "b<");
    check("<think>a</think>b\n<think>c</think>\nd", "b\n\nd");
    check("<think><think>a</think></think>b", "b");
    check("</think>b", "b");
}

#[test]
fn every_tag_begins_with_one_of_the_bytes_that_are_looked_for() {
    for tag in TAGS.iter().flat_map(|(open, close)| [open, close]) {
        assert!(TAG_BYTES.contains(&tag.as_bytes()[0]), "{tag}");
    }
}

#[test]
fn what_only_looks_like_a_tag_is_text() {
    for text in [
        "",
        " <b>It is [think",
        "Models write <think> before they answer.",
        "They write `</think>` behind it.",
        "```\n<think>\n</think>\n```\nas above",
        "a < b and b > c </thin",
    ] {
        check(text, text);
    }
}

#[test]
fn the_first_answer_is_held_and_later_ones_go_out_at_once() {
    let habits = ModelThoughtMarkings::default();
    let mut first = ThoughtFilter::new(&habits, MODEL);
    assert_eq!(first.push("It is so.").unwrap(), "");
    let mut beside = ThoughtFilter::new(&habits, MODEL);
    assert_eq!(beside.push("It ").unwrap(), "");
    assert_eq!(first.finish_text(true).unwrap(), "It is so.");
    assert_eq!(
        beside.push("is.").unwrap(),
        "It is.",
        "the other answer showed the model's habit"
    );
    let mut second = ThoughtFilter::new(&habits, MODEL);
    assert_eq!(second.push("So").unwrap(), "So");
}

#[test]
fn an_unmarked_thinker_is_remembered() {
    let habits = ModelThoughtMarkings::default();
    assert_eq!(filtered(&habits, "Hm.</think>Yes.", 3, true).unwrap(), "Yes.");
    let mut filter = ThoughtFilter::new(&habits, MODEL);
    assert_eq!(filter.push("Hm, hm").unwrap(), "");
    assert_eq!(
        filter.push(".</think>\n\nYes").unwrap(),
        "Yes",
        "and goes out from the tag on"
    );
    assert_eq!(filtered(&habits, "Hm, cut off", 3, false).unwrap(), "");
    assert_eq!(
        filtered(&habits, "It did not think.", 3, true).unwrap(),
        "It did not think."
    );
}

#[test]
fn a_tag_that_comes_too_late_is_told_and_remembered() {
    let habits = ModelThoughtMarkings::default();
    filtered(&habits, "An answer.", 3, true);
    assert_eq!(filtered(&habits, "Hm.</think>Yes.", 3, true), None);
    assert_eq!(filtered(&habits, "Hm.</think>Yes.", 3, true).unwrap(), "Yes.");
}

#[test]
fn nothing_is_held_where_thoughts_are_kept_apart() {
    let go_out = |habits: &ModelThoughtMarkings, model: &str| {
        let mut filter = ThoughtFilter::new(habits, model);
        filter.push("It").unwrap() == "It"
    };
    for model in ["gpt-4o-mini", "openai/gpt-5", "claude-x", "gemini-9"] {
        assert!(go_out(&ModelThoughtMarkings::default(), model), "{model}");
    }
    for model in ["gpt-oss-20b", "deepseek-r1", "m"] {
        assert!(!go_out(&ModelThoughtMarkings::default(), model), "{model}");
        assert!(
            go_out(&ModelThoughtMarkings::new(true), model),
            "{model}, as the operator says"
        );
    }
    let habits = ModelThoughtMarkings::default();
    let mut filter = ThoughtFilter::new(&habits, MODEL);
    assert_eq!(filter.push("It").unwrap() + &filter.release_as_answer(), "It");
    assert!(go_out(&habits, MODEL));
}
