//! Catalogues: the databases of documents and jobs.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod cursor;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod ended;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod moved;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod stored;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sums;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod value;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod version;
