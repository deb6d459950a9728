//! Retrieval and answers by recipe: lexical scores, their fusion with cosines, late interaction, sentences to quote.
//! Pure functions over text and numbers.
//!
//! Invariant: knows nothing about indexes, models or stores; equal input gives equal output in every process.

pub mod analyzer;
mod porter;
mod stop_words;

#[cfg(test)]
mod oracle;
