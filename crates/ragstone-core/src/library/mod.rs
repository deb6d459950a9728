//! The only road to stored text: a scope goes in, admitted passages come out.
//!
//! Invariant: every hit is checked against the catalogue (published generation, tombstone, ACL) before its text is
//! read, and only this module makes `ScopedQuery` and `Admitted`.

mod passage;

pub use passage::{Passage, Ranks, Sentence};
