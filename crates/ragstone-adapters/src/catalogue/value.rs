//! Conversion of column values (enum names, JSON, times) that both SQL catalogues share.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{Date, OffsetDateTime};

/// Error for an invalid value in a column.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DamagedValue(pub String);

/// Error for the invalid value `what`, with the reason.
pub fn damaged_value(what: &str, why: impl std::fmt::Display) -> DamagedValue {
    DamagedValue(format!("{what}: {why}"))
}

/// Reads an enum without fields, stored as its JSON name without quotes.
pub fn read_enum<T: DeserializeOwned>(text: String, column: &str) -> Result<T, DamagedValue> {
    serde_json::from_value(text.into()).map_err(|error| damaged_value(column, error))
}

/// Name of an enum's value for a column.
pub fn write_enum<T: Serialize>(value: &T) -> Result<String, DamagedValue> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(damaged_value("word", format!("{other:?}"))),
    }
}

/// Parses a JSON column.
pub fn read_json<T: DeserializeOwned>(text: &str, column: &str) -> Result<T, DamagedValue> {
    serde_json::from_str(text).map_err(|error| damaged_value(column, error))
}

/// Encodes a value for a JSON column.
pub fn write_json<T: Serialize>(value: &T) -> Result<String, DamagedValue> {
    serde_json::to_string(value).map_err(|error| damaged_value("json", error))
}

/// Reads a name, which was validated when it was stored.
pub fn read_name<T: TryFrom<String, Error: std::fmt::Display>>(text: String, column: &str) -> Result<T, DamagedValue> {
    T::try_from(text).map_err(|error| damaged_value(column, error))
}

/// Reads a time stored as nanoseconds since 1970.
pub fn read_instant(nanoseconds: i64, column: &str) -> Result<OffsetDateTime, DamagedValue> {
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into()).map_err(|error| damaged_value(column, error))
}

/// A time as nanoseconds since 1970.
pub fn to_nanoseconds(at: OffsetDateTime) -> Result<i64, DamagedValue> {
    i64::try_from(at.unix_timestamp_nanos()).map_err(|error| damaged_value("time", error))
}

/// A steady time as nanoseconds.
pub fn steady_nanoseconds(time: Duration) -> Result<i64, DamagedValue> {
    i64::try_from(time.as_nanos()).map_err(|error| damaged_value("time", error))
}

/// Reads a steady time stored as nanoseconds.
pub fn read_steady(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.max(0).unsigned_abs())
}

/// Number of a day since 1970-01-01.
pub fn day_number(day: Date) -> i64 {
    i64::from(day.to_julian_day()) - i64::from(time::macros::date!(1970 - 01 - 01).to_julian_day())
}

/// Days of usage retained besides the newest, so that a writer whose clock is behind still finds its own.
pub const KEPT_DAYS: i64 = 1;

/// Name of the setting that holds the pepper of API keys.
pub const PEPPER: &str = "api_key_pepper";

/// Number of chunks in a statistics delta: its first eight bytes ([`super::sums::encode_delta`]).
pub fn read_chunk_count(bytes: &[u8]) -> Result<u64, DamagedValue> {
    let bytes = bytes
        .try_into()
        .map_err(|_| damaged_value("statistics", "shorter than their head"))?;
    Ok(u64::from_le_bytes(bytes))
}
