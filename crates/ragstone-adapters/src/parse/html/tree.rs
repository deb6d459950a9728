//! The tree of a page, within bounds: how deep elements lie within one another, and how many nodes there are.
//!
//! The tree builder looks through all open elements for many tags, and copies open formatting elements into every
//! paragraph, so a short page can cost the square of its length, or become a tree of that size. It is fed piece by piece and
//! measured between them. What follows it copies text once a level: elements that lie deeper than any reader could tell
//! are taken out of the tree, and their content stays.
//!
//! Invariant: the tree has at most [`MAX_NODES_PER_BYTE`] nodes a byte of the page, and after [`flatten_deep_elements`] no branch of it
//! is longer than [`KEPT_DEPTH`].

use dom_query::{Document, NodeRef};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::tokenizer::TokenizerOpts;
use html5ever::tree_builder::TreeBuilderOpts;
use html5ever::{ParseOpts, parse_document};

use crate::parse::complexity::{MarkupLanguage, check_depth, check_markup, too_complex};
use crate::parse::error::ParseProblem;

/// Bytes that the tree builder takes between two looks at what it built.
const PIECE: usize = 16 * 1024;
/// Most open elements at once. Browsers stop at 512; pages that forget to close theirs go on.
const MAX_DEPTH: usize = 2_048;
/// Elements this deep keep their place in the tree, deeper ones leave their content to the last that does.
const KEPT_DEPTH: usize = 256;
/// Most nodes a byte: `<p>a` is two nodes in four bytes.
const MAX_NODES_PER_BYTE: usize = 4;
/// Nodes that every page may have.
const MIN_NODES: usize = 10_000;

/// The tree of a page.
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

/// How deep the end of the tree is, where the next element would go.
fn open_elements(document: &Document) -> usize {
    let ends = std::iter::successors(Some(document.root()), NodeRef::last_child);
    ends.count()
}

/// Takes elements out that lie too deep; what is in them stays.
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
