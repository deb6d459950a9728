//! Removes elements of a web page that no reader sees, before the page is read.
//!
//! A browser needs every style sheet and script to decide this; here only an element's own style counts, and the plain
//! rules of the page's own style sheets. Elements that scripts may show later (transparent at first) are kept and
//! reported.

use dom_query::{Document, NodeRef};

use super::style::{self, StyleVisibility};
use crate::parse::complexity::too_complex;
use crate::parse::error::ParseProblem;
use crate::parse::hidden::{HiddenTextKind, HiddenTextReport};

/// Elements whose text is never content, so that it does not count as hidden.
const NO_TEXT: [&str; 7] = ["head", "script", "style", "noscript", "template", "svg", "title"];
/// Elements that hold the whole page: pages hide them until they have loaded.
const WHOLE_PAGE: [&str; 2] = ["html", "body"];
/// Most steps that matching the rules of a page's own style sheets may take: for each rule that hides elements, its
/// bytes times the elements times what its combinators walk over. A page beyond this limit is refused.
const MAX_STEPS: u64 = 20_000_000_000;
/// Attribute that marks the elements hidden by rules while the page is walked.
const MARK: &str = "data-ragstone-hidden";

/// Removes the hidden elements and counts their text.
pub(super) fn remove_hidden_elements(document: &Document, hidden: &mut HiddenTextReport) -> Result<(), ParseProblem> {
    mark_by_rules(document)?;
    let styled = !document.select("style, link[rel~=stylesheet]").is_empty();
    let mut left = vec![(document.root(), style::InheritedColours::default(), false)];
    let mut perhaps = Vec::new();
    while let Some((node, colours, mut counted)) = left.pop() {
        let colours = colours.enter_element(&node);
        match find_hidden_kind(&node, &colours, styled) {
            Some(kind @ (HiddenTextKind::PerhapsElement | HiddenTextKind::PerhapsSameColour)) => {
                // Text inside is counted with the outermost such element.
                if !counted {
                    perhaps.push((kind, node));
                }
                counted = true;
            }
            Some(kind) => {
                hidden.count_text(kind, None, &node.text());
                node.remove_from_parent();
                continue;
            }
            None if node.node_name().is_some_and(|name| NO_TEXT.contains(&&*name)) => continue,
            None => {}
        }
        let children = node.element_children().into_iter();
        left.extend(children.map(|child| (child, colours, counted)));
    }
    for (kind, node) in perhaps {
        hidden.count_text(kind, None, &node.text());
    }
    Ok(())
}

/// How an element is hidden; `None` if it is shown.
fn find_hidden_kind(node: &NodeRef, colours: &style::InheritedColours, styled: bool) -> Option<HiddenTextKind> {
    let name = node.node_name()?;
    if !node.is_element() || NO_TEXT.contains(&&*name) || WHOLE_PAGE.contains(&&*name) {
        return None;
    }
    if node.has_attr("hidden") || node.has_attr(MARK) {
        return Some(HiddenTextKind::Element);
    }
    let own = node
        .attr("style")
        .map(|own| StyleVisibility::from_declarations(&own))
        .unwrap_or_default();
    match own {
        _ if own.not_shown => Some(HiddenTextKind::Element),
        _ if own.tiny => Some(HiddenTextKind::Tiny),
        _ if own.off_page => Some(HiddenTextKind::OffPage),
        _ if colours.changed && colours.text_matches_background() => Some(HiddenTextKind::SameColour),
        _ if colours.changed && colours.is_white_on_unknown() && !styled => Some(HiddenTextKind::SameColour),
        _ if own.transparent => Some(HiddenTextKind::PerhapsElement),
        _ if colours.changed && colours.is_white_on_unknown() => Some(HiddenTextKind::PerhapsSameColour),
        _ => None,
    }
}

/// Marks the elements that the page's own rules hide.
fn mark_by_rules(document: &Document) -> Result<(), ParseProblem> {
    let sheets: Vec<String> = document
        .select("style")
        .nodes()
        .iter()
        .map(|sheet| sheet.text().to_string())
        .collect();
    if sheets.is_empty() {
        return Ok(());
    }
    // Rules for a state such as `:hover` are ignored: they may show or hide, which is not distinguished here.
    let hides = |(selector, block): &(&str, &str)| {
        let look = StyleVisibility::from_declarations(block);
        (look.not_shown || look.tiny || look.off_page) && !selector.contains(':')
    };
    let rules = sheets.iter().flat_map(|sheet| style::find_rules(sheet));
    let selectors: Vec<&str> = rules.filter(hides).map(|(selector, _)| selector).collect();
    let extent = TreeSize::from_document(document);
    let steps = selectors.iter().map(|selector| extent.estimate_steps(selector));
    if steps.fold(0, u64::saturating_add) > MAX_STEPS {
        return Err(too_complex(
            "its style sheets hide too much of too large a page".to_owned(),
        ));
    }
    for found in selectors.iter().filter_map(|selector| document.try_select(selector)) {
        found.nodes().iter().for_each(|node| node.set_attr(MARK, ""));
    }
    Ok(())
}

/// Size of a tree, to estimate the cost of walks over it.
#[derive(Default)]
struct TreeSize {
    elements: u64,
    depth: u64,
    /// Largest number of children of one element.
    siblings: u64,
}

impl TreeSize {
    fn from_document(document: &Document) -> Self {
        let mut extent = Self::default();
        let mut left = vec![(document.root(), 0)];
        while let Some((node, depth)) = left.pop() {
            let children = node.element_children();
            extent.elements += 1;
            extent.depth = extent.depth.max(depth);
            extent.siblings = extent.siblings.max(children.len() as u64);
            left.extend(children.into_iter().map(|child| (child, depth + 1)));
        }
        extent
    }

    /// Upper bound on the steps that matching a selector takes.
    fn estimate_steps(&self, selector: &str) -> u64 {
        let walked = match selector {
            with if with.contains('~') => self.siblings,
            with if with.trim().contains([' ', '>', '\n', '\t']) => self.depth,
            _ => 1,
        };
        let bytes = selector.len() as u64;
        bytes.saturating_mul(self.elements).saturating_mul(walked.max(1))
    }
}
