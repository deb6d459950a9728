//! A set of slots of one segment as a bitmap, for the duration of one search.

use roaring::RoaringBitmap;

/// Slots per word of the bitmap.
pub const WORD: usize = 64;

/// A set of slots of one segment.
#[derive(Debug, Clone)]
pub struct SlotSet {
    words: Vec<u64>,
    /// Number of slots of the segment.
    points: usize,
}

impl SlotSet {
    /// Empty bitmap for a segment of `points` slots.
    pub fn empty(points: usize) -> Self {
        Self {
            words: vec![0; points.div_ceil(WORD)],
            points,
        }
    }

    /// Adds all slots of the segment.
    pub fn fill(&mut self) {
        self.words.fill(u64::MAX);
        let rest = self.points % WORD;
        if let Some(last) = self.words.last_mut().filter(|_| rest > 0) {
            *last = (1 << rest) - 1;
        }
    }

    /// Adds the slots for which `passes` is true.
    pub fn set_where(&mut self, passes: impl Fn(usize) -> bool) {
        for (place, word) in self.words.iter_mut().enumerate() {
            let start = place * WORD;
            for bit in 0..WORD.min(self.points - start) {
                *word |= u64::from(passes(start + bit)) << bit;
            }
        }
    }

    /// Removes slots that are not in `others`, a set of the same segment.
    pub fn intersect_set(&mut self, others: &SlotSet) {
        self.words
            .iter_mut()
            .zip(&others.words)
            .for_each(|(word, other)| *word &= other);
    }

    /// Adds the slots of `others`, a set of the same segment.
    pub fn union_set(&mut self, others: &SlotSet) {
        self.words
            .iter_mut()
            .zip(&others.words)
            .for_each(|(word, other)| *word |= other);
    }

    /// Removes the slots of `others`, a set of the same segment.
    pub fn subtract_set(&mut self, others: &SlotSet) {
        self.words
            .iter_mut()
            .zip(&others.words)
            .for_each(|(word, other)| *word &= !other);
    }

    /// Adds the slots of a bitmap.
    pub fn add_bitmap(&mut self, slots: &RoaringBitmap) {
        for_each_word(slots, |word, bits| self.words[word] |= bits);
    }

    /// Removes the slots of a bitmap.
    pub fn subtract_bitmap(&mut self, slots: &RoaringBitmap) {
        for_each_word(slots, |word, bits| self.words[word] &= !bits);
    }

    /// Removes slots that are not in the bitmap.
    pub fn intersect_bitmap(&mut self, slots: &RoaringBitmap) {
        let mut kept = vec![0; self.words.len()];
        for_each_word(slots, |word, bits| kept[word] |= bits);
        self.words.iter_mut().zip(kept).for_each(|(word, kept)| *word &= kept);
    }

    /// Removes all slots from the set.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The words of [`WORD`] slots each; the first slot is the lowest bit.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Number of slots in the set.
    pub fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let of = |(place, word): (usize, &u64)| bit_positions(*word).map(move |bit| (place * WORD) as u16 + bit);
        self.words.iter().enumerate().flat_map(of)
    }
}

/// Positions of the bits that are set, ascending.
pub fn bit_positions(mut word: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (word != 0).then(|| word.trailing_zeros() as u16);
        word &= word.wrapping_sub(1);
        bit
    })
}

/// Runs of bits that are set: first position and length, ascending.
pub fn bit_runs(mut word: u64) -> impl Iterator<Item = (usize, usize)> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let start = word.trailing_zeros();
        let length = (word >> start).trailing_ones();
        word &= !run_mask(start, length);
        Some((start as usize, length as usize))
    })
}

fn run_mask(start: u32, length: u32) -> u64 {
    (u64::MAX >> (u64::BITS - length)) << start
}

/// Calls `each` with the slots as bits of words. Slots of one document are adjacent, so there are far fewer runs than
/// slots.
fn for_each_word(slots: &RoaringBitmap, mut each: impl FnMut(usize, u64)) {
    let mut slots = slots.iter();
    while let Some(range) = slots.next_range() {
        let (mut start, end) = (*range.start(), *range.end() + 1);
        while start < end {
            let bit = start % u64::BITS;
            let length = (u64::BITS - bit).min(end - start);
            each((start / u64::BITS) as usize, run_mask(bit, length));
            start += length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_those_of_the_bitmaps() {
        let a = RoaringBitmap::from_iter([0, 1, 2, 63, 64, 65, 199].into_iter().chain(120..190));
        let b = RoaringBitmap::from_iter([1, 64, 127, 128, 198]);
        let collected = |slots: &SlotSet| slots.iter().map(u32::from).collect::<RoaringBitmap>();
        let mut slots = SlotSet::empty(200);
        slots.add_bitmap(&a);
        assert_eq!((collected(&slots), slots.count() as u64), (a.clone(), a.len()));
        slots.subtract_bitmap(&b);
        assert_eq!(collected(&slots), &a - &b);
        slots.add_bitmap(&b);
        assert_eq!(collected(&slots), &a | &b);
        slots.intersect_bitmap(&b);
        assert_eq!(collected(&slots), b);
        let mut even = SlotSet::empty(200);
        even.set_where(|slot| slot % 2 == 0);
        slots.intersect_set(&even);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [64, 128, 198]);
        slots.union_set(&even);
        assert_eq!(slots.count(), 100);
        slots.fill();
        assert_eq!(slots.count(), 200, "and none beyond the segment");
        slots.subtract_set(&even);
        assert_eq!(slots.iter().next(), Some(1));
        slots.clear();
        assert_eq!(slots.count(), 0);
    }

    #[test]
    fn runs_cover_the_bits() {
        for (word, expected) in [
            (0, vec![]),
            (u64::MAX, vec![(0, 64)]),
            (0b1011, vec![(0, 2), (3, 1)]),
            (1 << 63, vec![(63, 1)]),
            (!1, vec![(1, 63)]),
        ] {
            assert_eq!(bit_runs(word).collect::<Vec<_>>(), expected, "{word:b}");
            assert_eq!(
                bit_positions(word).count(),
                expected.iter().map(|(_, length)| length).sum::<usize>()
            );
        }
    }
}
