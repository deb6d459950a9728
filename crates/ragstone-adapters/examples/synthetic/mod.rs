//! Synthetic chunks and questions: vectors in clusters, terms by Zipf's law, one large tenant with groups and a small one.

use std::collections::BTreeMap;

use ragstone_core::access::Acl;
use ragstone_core::rank::late::TOP_LATE;
use ragstone_core::rank::{CANDIDATE_DEPTH, LexicalQuery, SparseVector, TermId};
use ragstone_core::seam::contract::{Sample, acl};
use ragstone_core::seam::index::{IndexPoint, IndexQuery, IndexSpec, SearchMode};

const TENANTS: usize = 50;
/// Groups of the large tenant.
pub const GROUPS: u64 = 1_000;
const CHUNKS_OF_A_DOCUMENT: usize = 20;
const UNIGRAMS: usize = 100;
const BIGRAMS: usize = 75;
const VOCABULARY: f64 = 200_000.0;
/// Clusters of vectors.
pub const CLUSTERS: u64 = 400;
const QUESTION_TERMS: usize = 9;

/// What vectors gather around.
pub fn centers(dimensions: usize) -> Vec<Vec<f32>> {
    let mut sample = Sample::new(1, dimensions);
    (0..CLUSTERS).map(|_| sample.vector()).collect()
}

/// One document in fifty belongs to a small tenant, which costs what one of fifty equal tenants would; the others to
/// a large one with a thousand groups.
fn owner(document: usize) -> Acl {
    match document.is_multiple_of(TENANTS) {
        true => acl("small", &[&["everyone"]]),
        false => acl("large", &[&[&format!("group:{}", document as u64 * 7_919 % GROUPS)]]),
    }
}

/// The `n`-th chunk.
pub fn chunk(sample: &mut Sample, centers: &[Vec<f32>], n: usize) -> IndexPoint {
    let document = n / CHUNKS_OF_A_DOCUMENT;
    let mut point = sample.point(
        &owner(document),
        &format!("doc-{document}"),
        1,
        (n % CHUNKS_OF_A_DOCUMENT) as u32,
    );
    point.chunk.text = "Lorem ipsum dolor sit amet, consetetur. ".repeat(20);
    let center = &centers[sample.below(CLUSTERS) as usize];
    let spread = 4.0 / (center.len() as f32).sqrt();
    point.dense = Some(sample.vector_near(center, spread));
    point.lexical = words(sample);
    point
}

/// Terms by Zipf's law, pairs of such terms.
fn words(sample: &mut Sample) -> SparseVector {
    let mut zipf = |sample: &mut Sample| VOCABULARY.powf(f64::from(sample.share())) as u64;
    let mut side = |count: usize, draw: &mut dyn FnMut(&mut Sample) -> u64| {
        let mut terms = BTreeMap::new();
        while terms.len() < count {
            let term = TermId((draw(sample).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32);
            terms.insert(term, 0.2 + 2.0 * sample.share());
        }
        terms.into_iter().collect()
    };
    SparseVector {
        unigrams: side(UNIGRAMS, &mut zipf),
        bigrams: side(BIGRAMS, &mut |sample| zipf(sample) * 1_000_003 + zipf(sample)),
    }
}

/// A question.
pub fn question(sample: &mut Sample, centers: &[Vec<f32>], mode: SearchMode) -> IndexQuery {
    let center = &centers[sample.below(CLUSTERS) as usize];
    let dense = sample.vector_near(center, 3.0 / (center.len() as f32).sqrt());
    let SparseVector { unigrams, bigrams } = words(sample);
    let some = |terms: Vec<(TermId, f32)>| {
        let asked = terms
            .into_iter()
            .filter(|_| mode != SearchMode::Dense)
            .step_by(BIGRAMS / QUESTION_TERMS);
        asked.map(|(term, weight)| (term, f64::from(weight))).collect()
    };
    let lexical = LexicalQuery {
        unigrams: some(unigrams),
        bigrams: some(bigrams),
        upper_bound: 1.0,
    };
    IndexQuery {
        mode,
        dense: (mode != SearchMode::Lexical).then_some(dense),
        lexical,
        query_gate: 1.0,
        depth: CANDIDATE_DEPTH,
        exact_count: TOP_LATE,
        excluded: Vec::new(),
    }
}

/// The spec of these chunks.
pub fn spec(dimensions: usize) -> IndexSpec {
    IndexSpec {
        embedder: Some("synthetic".into()),
        dimensions: Some(dimensions),
        lexical: "synthetic".into(),
    }
}

/// What all threads used so far, which other programs on the machine do not lengthen; in ticks of 10 ms.
pub fn processor_milliseconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = after_name.split_whitespace().skip(11).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() * 10.0
}
