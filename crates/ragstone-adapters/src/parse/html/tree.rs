//! Builds the tree of a page within bounds on its depth and its number of nodes.
//!
//! For many tags the tree builder searches all open elements, and it copies open formatting elements into every
//! paragraph, so a short page can cost time or memory quadratic in its length. Therefore the page is fed in pieces, and
//! the tree is measured after each. Later steps copy text once per level: elements deeper than any reader could
//! distinguish are removed from the tree, and their content stays.
//!
//! Invariant: the tree has at most [`MAX_NODES_PER_BYTE`] nodes per byte of the page, and after
//! [`flatten_deep_elements`] no branch is longer than [`KEPT_DEPTH`].

use dom_query::{Document, NodeRef};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tokenizer::TokenizerOpts;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};

use crate::parse::complexity::{MarkupLanguage, check_depth, check_markup, too_complex};
use crate::parse::error::ParseProblem;

/// Bytes fed to the tree builder between two checks of the tree.
const PIECE: usize = 16 * 1024;
/// Most open elements at once. Browsers stop at 512; pages that do not close their elements go beyond.
const MAX_DEPTH: usize = 2_048;
/// Elements up to this depth stay in the tree; the content of deeper ones moves to the last ancestor that stays.
const KEPT_DEPTH: usize = 256;
/// Most nodes per byte: `<p>a` is two nodes in four bytes.
const MAX_NODES_PER_BYTE: usize = 4;
/// Number of nodes that every page may have, however short.
const MIN_NODES: usize = 10_000;

/// Builds the tree of a page; fails with `TooComplex` beyond the bounds.
pub(super) fn parse_tree(html: &str) -> Result<Document, ParseProblem> {
    check_markup(html.as_bytes(), MarkupLanguage::Html)?;
    let options = ParseOpts {
        tokenizer: TokenizerOpts::default(),
        tree_builder: TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        },
    };
    let most_nodes = (html.len() * MAX_NODES_PER_BYTE).max(MIN_NODES);
    let mut parser = parse_document(Document::default(), options);
    let mut rest = html;
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(PIECE));
        parser.process(StrTendril::from_slice(piece));
        rest = after;
        let document = &parser.tokenizer.sink.sink;
        check_depth(open_elements(document), MAX_DEPTH)?;
        if document.tree.len() > most_nodes {
            return Err(too_complex(format!(
                "{} bytes become a tree of more than {most_nodes} nodes",
                html.len()
            )));
        }
    }
    Ok(parser.finish())
}

/// Depth of the end of the tree, where the next element would be added.
fn open_elements(document: &Document) -> usize {
    let ends = std::iter::successors(Some(document.root()), NodeRef::last_child);
    ends.count()
}

/// Removes elements that are too deep; their content stays.
pub(super) fn flatten_deep_elements(document: &Document) {
    let mut left = vec![(document.root(), 0_usize)];
    while let Some((node, depth)) = left.pop() {
        let children: Vec<NodeRef> = node.element_children();
        let first = node.first_child();
        if let Some(first) = first.filter(|_| depth > KEPT_DEPTH && !children.is_empty()) {
            node.insert_siblings_before(&first);
            node.remove_from_parent();
        }
        left.extend(children.into_iter().map(|child| (child, depth + 1)));
    }
}
