//! Misspelt names: which known name somebody meant, for settings, fields of requests and the like.

/// Names are at most one edit in so many characters away from what was meant, to be offered as a suggestion.
const CHARACTERS_PER_EDIT: usize = 2;

/// The name of `known` nearest to `name`, if it is near enough to be offered: "did you mean ...?".
pub fn nearest_name<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = name.chars().count().div_ceil(CHARACTERS_PER_EDIT);
    nearest_within(name, known, most)
}

/// The name of `known` nearest to `name`, at most `most_edits` away: characters added, left out, replaced, or two
/// neighbours exchanged. Of several that are equally near, the first in the alphabet.
pub fn nearest_within<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    most_edits: usize,
) -> Option<&'a str> {
    let distances = known
        .into_iter()
        .map(|candidate| (strsim::osa_distance(name, candidate), candidate));
    let (distance, candidate) = distances.min()?;
    (distance <= most_edits).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_near() {
        let known = [
            "split.chunk_size",
            "split.chunk_overlap",
            "server.listen",
            "filter",
        ];
        let check =
            |name: &str, expected: Option<&str>| assert_eq!(nearest_name(name, known), expected, "{name}");
        check("split.chunksize", Some("split.chunk_size"));
        check("server.listn", Some("server.listen"));
        check("filters", Some("filter"));
        check("xyz", None);
        check("", None);
        assert_eq!(nearest_name("xyz", []), None);
    }

    #[test]
    fn edits_are_counted() {
        let check = |name: &str, most: usize, expected: Option<&str>| {
            assert_eq!(
                nearest_within(name, ["sitting", "listen"], most),
                expected,
                "{name} {most}"
            );
        };
        check("kitten", 3, Some("sitting"));
        check("kitten", 2, None);
        check("lsiten", 1, Some("listen"));
        check("listen", 0, Some("listen"));
    }
}
