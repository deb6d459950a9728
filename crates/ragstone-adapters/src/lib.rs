//! placeholder

pub mod embed;
