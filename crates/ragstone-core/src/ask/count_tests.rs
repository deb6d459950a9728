//! What a token of an answer costs, and what an answer holds in memory while it is streamed.

use std::sync::Arc;

use super::assemble::{AnswerAssembler, AnswerStep};
use super::links::LinkFilter;
use crate::counting::count_allocations;

/// A passage of the usual size.
const PASSAGE: &str = "The refund window is thirty days from delivery, and shipping to Norway is free. ";

struct Told {
    links: LinkFilter,
    assembler: AnswerAssembler,
}

impl Told {
    fn over(passages: usize) -> Self {
        let text: Arc<str> = PASSAGE.repeat(10).into();
        let texts = vec![text; passages];
        Self {
            links: LinkFilter::new([], texts.clone()),
            assembler: AnswerAssembler::new(texts),
        }
    }

    /// What goes out for a token; every claim holds.
    fn token(&mut self, token: &str) -> Vec<AnswerStep> {
        let shown = self.links.filter_text(token);
        self.assembler.push_text(&shown);
        let mut steps = Vec::new();
        while let Some(step) = self.assembler.next_step() {
            match step {
                AnswerStep::Verify(claims) => self.assembler.resolve_candidates(&vec![true; claims.len()]),
                step => steps.push(step),
            }
        }
        steps
    }
}

#[test]
fn a_token_is_one_allocation_the_text_that_goes_out() {
    let mut told = Told::over(5);
    // So many that neither the answer nor the sentence grows while it is counted.
    (0..120).for_each(|_| drop(told.token(" token")));
    for n in 0..50 {
        let shown = told.links.filter_text(" token");
        let (step, taken) = count_allocations(|| {
            told.assembler.push_text(&shown);
            told.assembler.next_step()
        });
        assert_eq!(step, Some(AnswerStep::Delta(" token".into())));
        assert_eq!(taken.allocations, 1, "token {n}");
        assert_eq!(told.assembler.next_step(), None);
    }
}

#[test]
fn a_token_without_an_address_is_not_copied() {
    let mut told = Told::over(5);
    for token in [" token", "\n\n", "- one. ", "日本"] {
        let (shown, taken) = count_allocations(|| told.links.filter_text(token).len());
        assert_eq!((shown, taken.allocations), (token.len(), 0), "{token:?}");
    }
}

#[test]
fn an_answer_holds_little_beside_its_passages() {
    let (told, taken) = count_allocations(|| {
        let mut told = Told::over(5);
        for n in 0..100 {
            // Each of these sentences is held against all passages.
            told.token(if n % 10 == 9 { " said. So" } else { " refund" });
        }
        told
    });
    assert!(taken.bytes < 24 * 1024, "{} bytes", taken.bytes);
    drop(told);
}
