//! Walks the page tree once before the engine does, to bound the engine's work.
//!
//! The engine searches each page from the root down and trusts the counts in each node. Where that does not lead to a
//! page, it reads every object of the file, again for each page. In a tree that contains itself it would not end, and a
//! tree that claims more pages than it has costs time quadratic in the file.
//!
//! Invariant: each object is read once here. The engine is asked only for pages that were found, or for so few that its
//! search through all objects stays within [`MAX_LOADS`].

use std::collections::HashSet;

use xberg_native_pdf::document::PdfDocument;
use xberg_native_pdf::error::Error as EngineError;
use xberg_native_pdf::object::{Object, ObjectRef};

use super::super::ParseLimits;
use super::super::complexity::{check_depth, too_complex};
use super::super::error::ParseProblem;
use super::convert_error;

/// Deepest nesting of nodes; the engine goes no deeper either.
const MAX_DEPTH: usize = 127;
/// Most objects that the engine may read to find the pages of a broken file; it reads all objects twice per page.
const MAX_LOADS: usize = 4_000_000;
/// Number of pages that the engine finds one by one before it walks the tree once for all of them.
const FOUND_ONE_BY_ONE: usize = 64;

/// Number of pages of the document, after a check that its page tree is a tree.
pub(super) fn count_pages(document: &PdfDocument, limits: &ParseLimits) -> Result<u32, ParseProblem> {
    let walked = match pages_root(document) {
        Some(root) => walk_page_tree(document, root, limits)?,
        None => PageTreeSummary::default(),
    };
    if walked.whole && walked.pages > 0 {
        return Ok(walked.pages);
    }
    check_search(document)?;
    let pages = document.page_count().map_err(convert_error)?;
    let pages = u32::try_from(pages).unwrap_or(u32::MAX).max(walked.pages);
    check_page_count(u64::from(pages), limits)?;
    match pages {
        0 => Err(ParseProblem::damaged("no page can be found")),
        pages => {
            // The file's own count is no evidence of what the file contains.
            let held = count_page_candidates(document).max(walked.pages as usize);
            Ok(pages.min(u32::try_from(held).unwrap_or(u32::MAX)).max(1))
        }
    }
}

/// Makes the engine walk the tree once for all pages, instead of once for each page that is read next.
pub(super) fn preload_page_tree(document: &PdfDocument, pages: u32) {
    if pages as usize <= FOUND_ONE_BY_ONE {
        return;
    }
    for index in 0..=FOUND_ONE_BY_ONE {
        // A page that cannot be found is reported when it is read.
        let _ = document.get_page(index);
    }
}

#[derive(Default)]
struct PageTreeSummary {
    /// Number of distinct pages that the tree leads to.
    pages: u32,
    /// Whether every branch could be followed to its pages.
    whole: bool,
}

fn pages_root(document: &PdfDocument) -> Option<ObjectRef> {
    let catalog = document.catalog().ok()?;
    catalog.as_dict()?.get("Pages")?.as_reference()
}

fn walk_page_tree(
    document: &PdfDocument,
    root: ObjectRef,
    limits: &ParseLimits,
) -> Result<PageTreeSummary, ParseProblem> {
    let mut walked = PageTreeSummary { pages: 0, whole: true };
    let (mut nodes, mut leaves, mut listed) = (HashSet::new(), HashSet::new(), 0_u64);
    let mut left = vec![(root, 0)];
    while let Some((reference, depth)) = left.pop() {
        if leaves.contains(&reference) {
            listed += 1;
            check_page_count(listed, limits)?;
            continue;
        }
        if nodes.contains(&reference) {
            return Err(ParseProblem::damaged("its page tree holds a node of itself"));
        }
        let Ok(node) = document.load_object(reference) else {
            walked.whole = false;
            continue;
        };
        match (node_type(&node), node_kids(document, &node)) {
            (Some("Page"), _) => {
                leaves.insert(reference);
                walked.pages += 1;
                listed += 1;
                check_page_count(listed, limits)?;
            }
            (_, Some(kids)) => {
                nodes.insert(reference);
                check_depth(depth, MAX_DEPTH)?;
                // Nodes wait in `left` too; in any tree that a program writes there are fewer of them than pages.
                check_page_count((left.len() + kids.len()) as u64 / 2, limits)?;
                walked.whole &= is_as_expected(&node, &kids);
                left.extend(kids.iter().filter_map(Object::as_reference).map(|kid| (kid, depth + 1)));
            }
            _ => walked.whole = false,
        }
    }
    Ok(walked)
}

fn node_type(node: &Object) -> Option<&str> {
    node.as_dict()?.get("Type")?.as_name()
}

/// Children of a node, stored in the node itself or as an object of their own.
fn node_kids(document: &PdfDocument, node: &Object) -> Option<Vec<Object>> {
    let kids = node.as_dict()?.get("Kids")?;
    match kids.as_reference() {
        Some(reference) => Some(document.load_object(reference).ok()?.as_array()?.to_vec()),
        None => Some(kids.as_array()?.to_vec()),
    }
}

/// Whether the engine can follow a node to all of its children, or has to search for them.
fn is_as_expected(node: &Object, kids: &[Object]) -> bool {
    let entries = node.as_dict();
    let inline = entries
        .and_then(|entries| entries.get("Kids"))
        .is_some_and(|kids| kids.as_array().is_some());
    node_type(node) == Some("Pages") && inline && kids.iter().all(|kid| kid.as_reference().is_some())
}

fn check_page_count(pages: u64, limits: &ParseLimits) -> Result<(), ParseProblem> {
    match pages > u64::from(limits.max_pages) {
        true => Err(ParseProblem::TooManyPages {
            pages,
            limit: limits.max_pages,
        }),
        false => Ok(()),
    }
}

/// Refuses a broken file in which the engine would search too long.
fn check_search(document: &PdfDocument) -> Result<(), ParseProblem> {
    let objects = document.all_object_ids().len();
    let loads = count_page_candidates(document).saturating_mul(2 * objects);
    match loads > MAX_LOADS {
        true => Err(too_complex(format!(
            "its page tree is broken, and {objects} objects are too many to search for its pages"
        ))),
        false => Ok(()),
    }
}

/// Number of objects that the engine may take for pages.
fn count_page_candidates(document: &PdfDocument) -> usize {
    let objects = document
        .all_object_ids()
        .into_iter()
        .map(|id| ObjectRef { id, generation: 0 });
    objects
        .filter(|reference| {
            let object: Result<Object, EngineError> = document.load_object(*reference);
            object.is_ok_and(|object| {
                object.as_dict().is_some_and(|entries| {
                    let named = entries.get("Type").and_then(Object::as_name);
                    let like = ["MediaBox", "Contents", "Resources"];
                    named == Some("Page") || named.is_none() && like.iter().any(|key| entries.contains_key(*key))
                })
            })
        })
        .count()
}
