//! Search indexes: storage and retrieval of chunks by vector and by words.

#[cfg(feature = "sqlite")]
pub mod embedded;
#[cfg(any(feature = "sqlite", feature = "qdrant"))]
mod fit;
#[cfg(feature = "qdrant")]
pub mod qdrant;
#[cfg(any(feature = "sqlite", feature = "qdrant"))]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(
        dead_code,
        reason = "only the embedded index scans; the other one scores what it found"
    )
)]
mod vectors;
