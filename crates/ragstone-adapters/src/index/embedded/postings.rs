//! Posting lists of one segment: for each term the slots that contain it, with weights.
//!
//! Invariant: terms are ascending, and so are the slots of each term.

use ragstone_core::rank::TermId;

use crate::index::vectors::near;

/// Number of postings that are sorted in one run.
const RUN: usize = 1 << 19;

/// Posting lists of all terms, concatenated.
#[derive(Debug, Default)]
pub struct Postings {
    terms: Vec<u32>,
    /// End of each term's postings.
    ends: Vec<u32>,
    slots: Vec<u16>,
    weights: Vec<f32>,
}

/// Slots and weights of one term.
#[derive(Debug, Clone, Copy, Default)]
pub struct PostingList<'a> {
    /// Slots in ascending order.
    pub slots: &'a [u16],
    /// Weight of the term in each slot.
    pub weights: &'a [f32],
}

/// One posting that is not sorted yet.
#[derive(Debug, Clone, Copy)]
struct Posting {
    term: u32,
    slot: u16,
    weight: f32,
}

impl Posting {
    fn new((term, weight): (TermId, f32), slot: u16) -> Self {
        Self {
            term: term.0,
            slot,
            weight,
        }
    }
}

/// Builder of posting lists.
#[derive(Debug, Default)]
pub struct PostingsBuilder {
    postings: Vec<Posting>,
    /// Number of postings in sorted runs. Sorting all at once would need fresh memory, which costs more than the
    /// sorting.
    sorted: usize,
}

impl PostingsBuilder {
    /// Appends the terms of a slot; slots must be ascending.
    pub fn push(&mut self, terms: impl Iterator<Item = (TermId, f32)>, slot: u16) {
        self.postings.extend(terms.map(|term| Posting::new(term, slot)));
        while self.postings.len() - self.sorted >= RUN {
            self.sort_until(self.sorted + RUN);
        }
    }

    fn sort_until(&mut self, end: usize) {
        // The sort is stable, so the slots of a term stay in order.
        radsort::sort_by_key(&mut self.postings[self.sorted..end], |posting| posting.term);
        self.sorted = end;
    }

    /// Builds the lists; equal terms of a slot are summed.
    pub fn build(mut self) -> Postings {
        self.sort_until(self.postings.len());
        let mut built = Postings::with_capacity(self.postings.len());
        let mut runs: Vec<&[Posting]> = self.postings.chunks(RUN).collect();
        while let Some(term) = runs.iter().filter_map(|run| Some(run.first()?.term)).min() {
            for run in &mut runs {
                while let Some((posting, rest)) = run.split_first()
                    && posting.term == term
                {
                    built.push(term, posting.slot, posting.weight);
                    *run = rest;
                }
            }
        }
        built.shrink_to_fit();
        built
    }
}

impl Postings {
    fn with_capacity(postings: usize) -> Self {
        let mut slots = Vec::with_capacity(postings);
        let mut weights = Vec::with_capacity(postings);
        near::advise_large_pages(&mut slots);
        near::advise_large_pages(&mut weights);
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

    fn shrink_to_fit(&mut self) {
        self.terms.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.slots.shrink_to_fit();
        self.weights.shrink_to_fit();
    }

    /// Merges several parts; each comes with the new slot of each of its slots (`None` if removed), ascending over all
    /// parts.
    pub fn merge_parts(parts: &[(&Postings, &[Option<u16>])]) -> Self {
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
                    merged.append_remapped(term, part.list_at(at[n]), slots);
                    at[n] += 1;
                }
            }
        }
        merged.shrink_to_fit();
        merged
    }

    fn append_remapped(&mut self, term: u32, list: PostingList<'_>, slots: &[Option<u16>]) {
        for (slot, weight) in list.slots.iter().zip(list.weights) {
            if let Some(slot) = slots[usize::from(*slot)] {
                self.push(term, slot, *weight);
            }
        }
    }

    fn list_at(&self, position: usize) -> PostingList<'_> {
        let start = position.checked_sub(1).map_or(0, |before| self.ends[before]);
        let span = start as usize..self.ends[position] as usize;
        PostingList {
            slots: &self.slots[span.clone()],
            weights: &self.weights[span],
        }
    }

    /// Posting list of `term`, empty if no slot contains it.
    pub fn postings_of(&self, term: TermId) -> PostingList<'_> {
        match self.terms.binary_search(&term.0) {
            Ok(position) => self.list_at(position),
            Err(_) => PostingList::default(),
        }
    }
}
