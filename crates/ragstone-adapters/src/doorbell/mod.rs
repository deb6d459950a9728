//! Notifiers, which wake workers. The one of PostgreSQL is in `catalogue::postgres`, whose connection settings it
//! uses.

mod here;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod line;
#[cfg(feature = "redis")]
mod redis;

pub use here::LocalNotifier;
#[cfg(feature = "redis")]
pub use redis::{RedisNotifier, RedisUrlError};
