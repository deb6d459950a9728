//! Elements of a web page that nobody sees: taken out before the page is read.
//!
//! What a browser would decide needs every style sheet and script; here the element's own style counts, and the plain
//! rules of the page's own style sheets. What scripts show sooner or later (transparent at first) is kept and flagged.

use dom_query::{Document, NodeRef};

use super::style::{self, Look};
use crate::parse::hidden::{Hidden, Kind};

/// Elements whose text is no content anyway, so that it is nothing that was hidden.
const NO_TEXT: [&str; 7] = ["head", "script", "style", "noscript", "template", "svg", "title"];
/// Elements that hold the whole page: pages hide them until they have loaded.
const WHOLE_PAGE: [&str; 2] = ["html", "body"];
/// Most rules of a page's own style sheets that are looked at.
const MAX_RULES: usize = 1_000;
/// Where the rules' verdict on an element stands while the page is walked.
const MARK: &str = "data-ragstone-hidden";

/// Takes the elements out, and counts their text.
pub(super) fn take_out(document: &Document, hidden: &mut Hidden) {
    mark_by_rules(document);
    let styled = !document.select("style, link[rel~=stylesheet]").is_empty();
    let root = document.root();
    let mut left = vec![(root, style::Colours::default())];
    let mut perhaps = Vec::new();
    while let Some((node, colours)) = left.pop() {
        let colours = colours.within(&node);
        match verdict(&node, &colours, styled) {
            Some(kind @ (Kind::PerhapsElement | Kind::PerhapsSameColour)) => perhaps.push((kind, node)),
            Some(kind) => {
                hidden.text(kind, None, &node.text());
                node.remove_from_parent();
                continue;
            }
            None if node.node_name().is_some_and(|name| NO_TEXT.contains(&&*name)) => continue,
            None => {}
        }
        left.extend(node.element_children().into_iter().map(|child| (child, colours)));
    }
    for (kind, node) in perhaps {
        hidden.text(kind, None, &node.text());
    }
}

/// How an element is hidden; none if it is shown.
fn verdict(node: &NodeRef, colours: &style::Colours, styled: bool) -> Option<Kind> {
    let name = node.node_name()?;
    if !node.is_element() || NO_TEXT.contains(&&*name) || WHOLE_PAGE.contains(&&*name) {
        return None;
    }
    if node.has_attr("hidden") || node.has_attr(MARK) {
        return Some(Kind::Element);
    }
    let own = node.attr("style").map(|own| Look::of(&own)).unwrap_or_default();
    match own {
        _ if own.not_shown => Some(Kind::Element),
        _ if own.tiny => Some(Kind::Tiny),
        _ if own.off_page => Some(Kind::OffPage),
        _ if colours.changed && colours.same() => Some(Kind::SameColour),
        _ if colours.changed && colours.white_on_nothing() && !styled => Some(Kind::SameColour),
        _ if own.transparent => Some(Kind::PerhapsElement),
        _ if colours.changed && colours.white_on_nothing() => Some(Kind::PerhapsSameColour),
        _ => None,
    }
}

/// Marks what the page's own rules hide.
fn mark_by_rules(document: &Document) {
    let sheets: Vec<String> = document
        .select("style")
        .nodes()
        .iter()
        .map(|sheet| sheet.text().to_string())
        .collect();
    let rules = sheets
        .iter()
        .flat_map(|sheet| style::rules(sheet))
        .take(MAX_RULES);
    for (selector, block) in rules {
        let look = Look::of(block);
        // What a rule shows only in a state (`:hover`) is shown without it, or the other way round: not told apart.
        if !(look.not_shown || look.tiny || look.off_page) || selector.contains(':') {
            continue;
        }
        if let Some(found) = document.try_select(selector) {
            found.nodes().iter().for_each(|node| node.set_attr(MARK, ""));
        }
    }
}
