//! Implementations of Ragstone's seams: parsers, embedders, indexes, chat models, catalogues.
//!
//! Invariant: nothing here reads the environment or looks for paths by itself; the caller passes in what a part needs.

pub mod archive;
pub mod blob;
pub mod cache;
pub mod catalogue;
pub mod chat;
pub mod data_dir;
pub mod disk_reserve;
pub mod doorbell;
pub mod embed;
pub mod index;
#[cfg(feature = "openai")]
pub mod openai;
pub mod parse;
#[cfg(any(feature = "openai", feature = "web"))]
mod retry_after;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "only SQLite's rows are held in memory")
)]
mod shared_values;
pub mod source;
#[cfg(feature = "sqlite")]
pub mod sqlite;

/// The features that this library was built with, by their names in its Cargo.toml.
pub const FEATURES: &[&str] = &[
    #[cfg(feature = "pdf")]
    "pdf",
    #[cfg(feature = "office")]
    "office",
    #[cfg(feature = "epub")]
    "epub",
    #[cfg(feature = "mail")]
    "mail",
    #[cfg(feature = "local-embedder")]
    "local-embedder",
    #[cfg(feature = "openai")]
    "openai",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "postgres")]
    "postgres",
    #[cfg(feature = "qdrant")]
    "qdrant",
    #[cfg(feature = "redis")]
    "redis",
    #[cfg(feature = "s3")]
    "s3",
    #[cfg(feature = "web")]
    "web",
    #[cfg(feature = "confluence")]
    "confluence",
];

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: ragstone_core::counting::CountingAllocator = ragstone_core::counting::CountingAllocator;
