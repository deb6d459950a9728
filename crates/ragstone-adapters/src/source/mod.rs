//! Sources of documents, besides uploads.

#[cfg(feature = "s3")]
pub mod bucket;
#[cfg(feature = "confluence")]
pub mod confluence;
#[cfg(feature = "web")]
pub mod folder;
#[cfg(feature = "web")]
pub mod guard;
#[cfg(feature = "web")]
pub mod web;
