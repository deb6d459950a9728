//! Suggests the known name that a misspelt one was probably meant to be.
//!
//! Invariant: a name that resembles none of the known ones gets no suggestion, and a hostile name costs no more than a
//! short one.

use strsim::osa_distance;

/// Longest name that is compared, in bytes: the distance costs the product of both lengths.
const MAX_COMPARED_BYTES: usize = 64;
/// One edit is allowed for this many letters.
const LETTERS_PER_MISTAKE: usize = 3;

/// The name of `known` with the smallest edit distance to `name`, if that is small for its length. Case is ignored, and
/// a transposition is one edit.
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (name.chars().count() / LETTERS_PER_MISTAKE).max(1);
    nearest_within(name, known, allowed)
}

/// The name of `known` with the smallest edit distance to `name`, if that is at most `most_edits`. The first of several
/// that are equally near.
pub fn nearest_within<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, most_edits: usize) -> Option<&'a str> {
    if name.len() > MAX_COMPARED_BYTES {
        return None;
    }
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|known| (osa_distance(&name, &known.to_lowercase()), known))
        .filter(|(distance, _)| *distance <= most_edits)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// `did you mean ...?`, or nothing where no known name is near.
pub fn suggest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest_name(name, known).map(|known| format!("did you mean `{known}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] = ["query", "limit", "collection", "filter", "mode", "readers"];

    #[test]
    fn a_misspelt_name_finds_the_one_that_was_meant() {
        let check = |name: &str, expected: Option<&str>| {
            assert_eq!(nearest_name(name, KNOWN), expected, "{name}");
        };
        check("filters", Some("filter"));
        check("readerz", Some("readers"));
        check("colection", Some("collection"));
        check("colletcion", Some("collection"));
        check("Limit", Some("limit"));
        check("limti", Some("limit"));
        check("top_k", None);
        check("x", None);
        check("", None);
        check(&"filter".repeat(1_000), None);
    }

    #[test]
    fn edits_are_counted() {
        let check = |name: &str, most: usize, expected: Option<&str>| {
            assert_eq!(nearest_within(name, ["sitting", "listen"], most), expected, "{name}");
        };
        check("sittin", 1, Some("sitting"));
        check("kitten", 2, Some("listen"));
        check("kitten", 1, None);
        check("lsiten", 1, Some("listen"));
        check("listen", 0, Some("listen"));
    }

    #[test]
    fn a_suggestion_names_it() {
        assert_eq!(
            suggest_name("filters", KNOWN).as_deref(),
            Some("did you mean `filter`?")
        );
        assert_eq!(suggest_name("verbose", KNOWN), None);
    }
}
