//! The real program, started as its users start it.

#![allow(clippy::unwrap_used, missing_docs)]

mod addresses;
mod answers;
mod audit;
mod chaos;
mod cli;
mod disk;
mod doctor;
mod embeddings;
mod evaluation;
mod evaluation_judge;
mod evaluation_sets;
mod fsck;
mod http;
mod keys;
mod migration;
mod model;
mod moody;
mod moving;
mod outage;
mod problems;
mod quickstart;
mod redteam;
mod settings;
mod shared;
mod shared_chaos;
mod shared_set;
mod soak;
mod streams;
mod stub;
mod support;
mod tokens;
mod upgrade;
mod vectors;
