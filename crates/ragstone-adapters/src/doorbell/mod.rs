//! Doorbells: how workers are woken. The one of PostgreSQL stands with its catalogue, whose way to the server it uses.

mod here;
#[cfg(any(feature = "postgres", feature = "redis"))]
pub(crate) mod line;
#[cfg(feature = "redis")]
mod redis;

pub use here::LocalNotifier;
#[cfg(feature = "redis")]
pub use redis::{RedisNotifier, RedisUrlError};
