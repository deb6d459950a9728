//! Postings of one segment: for each term the slots that have it, with their weights.
//!
//! Invariant: terms ascend, and so do the slots of each.

use ragstone_core::rank::TermId;

use super::near;

/// Postings of all terms, end to end.
#[derive(Debug, Default)]
pub struct Postings {
    terms: Vec<u32>,
    /// Where each term's postings end.
    ends: Vec<u32>,
    slots: Vec<u16>,
    weights: Vec<f32>,
}

/// The slots of one term and their weights.
#[derive(Debug, Clone, Copy, Default)]
pub struct List<'a> {
    /// Ascending.
    pub slots: &'a [u16],
    /// Of the same length.
    pub weights: &'a [f32],
}

/// One posting before it is sorted in.
#[derive(Debug, Clone, Copy)]
pub struct Posting {
    /// The term.
    pub term: u32,
    /// The slot.
    pub slot: u16,
    /// The document-side weight.
    pub weight: f32,
}

impl Posting {
    /// The posting of a term at a slot.
    pub fn new((term, weight): (TermId, f32), slot: u16) -> Self {
        Self {
            term: term.0,
            slot,
            weight,
        }
    }
}

impl Postings {
    /// Sorts postings that come slot by slot; equal terms of a slot are summed.
    pub fn build(postings: &[Posting]) -> Self {
        let mut built = Self::with_capacity(postings.len());
        let (sorted, ends) = scatter(postings);
        let mut start = 0;
        let mut order: Vec<u64> = Vec::new();
        for end in ends {
            let bucket = &sorted[start..end];
            // The place in the low half keeps equal terms in the order of their slots.
            order.clear();
            order.extend(
                (0..)
                    .zip(bucket)
                    .map(|(at, posting)| u64::from(posting.term) << 32 | at),
            );
            order.sort_unstable();
            for key in &order {
                let posting = bucket[*key as u32 as usize];
                built.push(posting.term, posting.slot, posting.weight);
            }
            start = end;
        }
        built.shrink();
        built
    }

    fn with_capacity(postings: usize) -> Self {
        let mut slots = Vec::with_capacity(postings);
        let mut weights = Vec::with_capacity(postings);
        near::in_large_pages(&mut slots);
        near::in_large_pages(&mut weights);
        Self {
            slots,
            weights,
            ..Self::default()
        }
    }

    fn push(&mut self, term: u32, slot: u16, weight: f32) {
        if self.terms.last() != Some(&term) {
            self.terms.push(term);
            self.ends.push(self.slots.len() as u32);
        } else if self.slots.last() == Some(&slot)
            && let Some(last) = self.weights.last_mut()
        {
            *last += weight;
            return;
        }
        self.slots.push(slot);
        self.weights.push(weight);
        if let Some(end) = self.ends.last_mut() {
            *end = self.slots.len() as u32;
        }
    }

    fn shrink(&mut self) {
        self.terms.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.weights.shrink_to_fit();
    }

    /// One of several: each part with the slot that each of its slots gets, ascending over all parts.
    pub fn merge(parts: &[(&Postings, &[Option<u16>])]) -> Self {
        let room = parts.iter().map(|(part, _)| part.slots.len()).sum();
        let mut merged = Self::with_capacity(room);
        let mut at = vec![0; parts.len()];
        loop {
            let next = |(n, (part, _)): (usize, &(&Postings, _))| part.terms.get(at[n]).copied();
            let Some(term) = parts.iter().enumerate().filter_map(next).min() else {
                break;
            };
            for (n, (part, slots)) in parts.iter().enumerate() {
                if part.terms.get(at[n]) == Some(&term) {
                    merged.extend(term, part.at(at[n]), slots);
                    at[n] += 1;
                }
            }
        }
        merged.shrink();
        merged
    }

    fn extend(&mut self, term: u32, list: List<'_>, slots: &[Option<u16>]) {
        for (slot, weight) in list.slots.iter().zip(list.weights) {
            if let Some(slot) = slots[usize::from(*slot)] {
                self.push(term, slot, *weight);
            }
        }
    }

    fn at(&self, position: usize) -> List<'_> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        let span = start as usize..self.ends[position] as usize;
        List {
            slots: &self.slots[span.clone()],
            weights: &self.weights[span],
        }
    }

    /// The postings of `term`.
    pub fn list(&self, term: TermId) -> List<'_> {
        match self.terms.binary_search(&term.0) {
            Ok(position) => self.at(position),
            Err(_) => List::default(),
        }
    }
}

/// Term ids are hashes: their first bits spread them evenly over buckets that fit the cache.
const BUCKET_BITS: u32 = 10;
/// Fewer postings are sorted in one bucket.
const ONE_BUCKET: usize = 1 << 14;

/// Brings postings into buckets in order of their first bits, keeping their order within each.
fn scatter(postings: &[Posting]) -> (Vec<Posting>, Vec<usize>) {
    if postings.len() <= ONE_BUCKET {
        return (postings.to_vec(), vec![postings.len()]);
    }
    let bucket = |posting: &Posting| (posting.term >> (u32::BITS - BUCKET_BITS)) as usize;
    let mut ends = vec![0usize; 1 << BUCKET_BITS];
    for posting in postings {
        ends[bucket(posting)] += 1;
    }
    let mut start = 0;
    for end in &mut ends {
        let count = std::mem::replace(end, start);
        start += count;
    }
    let nothing = Posting {
        term: 0,
        slot: 0,
        weight: 0.0,
    };
    let mut sorted = Vec::with_capacity(postings.len());
    near::in_large_pages(&mut sorted);
    sorted.resize(postings.len(), nothing);
    for posting in postings {
        let at = &mut ends[bucket(posting)];
        sorted[*at] = *posting;
        *at += 1;
    }
    (sorted, ends)
}
