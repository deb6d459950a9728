//! Where documents come from, beyond uploads.

#[cfg(feature = "web")]
pub mod folder;
#[cfg(feature = "web")]
pub mod guard;
