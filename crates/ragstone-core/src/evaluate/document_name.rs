//! Names of documents in a set of questions: a URI, or its last path segments.

use std::collections::BTreeSet;

/// Whether `name` equals `uri` or its last path segments.
pub(super) fn matches_name(uri: &str, name: &str) -> bool {
    uri.strip_suffix(name)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// Removes from `names` those that match the document with this URI.
pub fn remove_matching_names(uri: &str, names: &mut BTreeSet<String>) {
    names.remove(uri);
    for (slash, _) in uri.match_indices('/') {
        names.remove(&uri[slash + 1..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_uri_are_its_last_parts() {
        let all = [
            "a.pdf",
            "x/a.pdf",
            "/x/a.pdf",
            "file:///x/a.pdf",
            "b/x/a.pdf",
            ".pdf",
            "x",
            "",
        ];
        let mut names: BTreeSet<String> = all.iter().map(|name| (*name).to_owned()).collect();
        remove_matching_names("file:///x/a.pdf", &mut names);
        let left: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(left, ["", ".pdf", "b/x/a.pdf", "x"]);
        for name in all.iter().filter(|name| !name.is_empty()) {
            assert_eq!(matches_name("file:///x/a.pdf", name), !names.contains(*name), "{name}");
        }
    }
}
