//! Retrieval by recipe.
mod porter;
