//! Values as they stand in rows: words, JSON, times. What both SQL catalogues write alike.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use time::{Date, OffsetDateTime};

/// A value that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DamagedValue(pub String);

/// A value that cannot be: which, and why.
pub fn damaged_value(what: &str, why: impl std::fmt::Display) -> DamagedValue {
    DamagedValue(format!("{what}: {why}"))
}

/// A value of an enum without fields, stored as its name in JSON without quotes.
pub fn read_enum<T: DeserializeOwned>(text: String, column: &str) -> Result<T, DamagedValue> {
    serde_json::from_value(text.into()).map_err(|error| damaged_value(column, error))
}

/// The name of an enum's value, as it stands in a row.
pub fn write_enum<T: Serialize>(value: &T) -> Result<String, DamagedValue> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        other => Err(damaged_value("word", format!("{other:?}"))),
    }
}

/// What a JSON column holds.
pub fn read_json<T: DeserializeOwned>(text: &str, column: &str) -> Result<T, DamagedValue> {
    serde_json::from_str(text).map_err(|error| damaged_value(column, error))
}

/// A value as it stands in a JSON column.
pub fn write_json<T: Serialize>(value: &T) -> Result<String, DamagedValue> {
    serde_json::to_string(value).map_err(|error| damaged_value("json", error))
}

/// A name that was checked when it came in.
pub fn read_name<T: TryFrom<String, Error: std::fmt::Display>>(text: String, column: &str) -> Result<T, DamagedValue> {
    T::try_from(text).map_err(|error| damaged_value(column, error))
}

/// A time that a row has as nanoseconds since 1970.
pub fn read_instant(nanoseconds: i64, column: &str) -> Result<OffsetDateTime, DamagedValue> {
    OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into()).map_err(|error| damaged_value(column, error))
}

/// A time as it stands in a row.
pub fn to_nanoseconds(at: OffsetDateTime) -> Result<i64, DamagedValue> {
    i64::try_from(at.unix_timestamp_nanos()).map_err(|error| damaged_value("time", error))
}

/// A steady time as it stands in a row.
pub fn steady_nanoseconds(time: Duration) -> Result<i64, DamagedValue> {
    i64::try_from(time.as_nanos()).map_err(|error| damaged_value("time", error))
}

/// A steady time that a row has.
pub fn read_steady(nanoseconds: i64) -> Duration {
    Duration::from_nanos(nanoseconds.max(0).unsigned_abs())
}

/// The number of a day: days since 1970.
pub fn day_number(day: Date) -> i64 {
    i64::from(day.to_julian_day()) - i64::from(time::macros::date!(1970 - 01 - 01).to_julian_day())
}

/// Days of spending that are kept beside the newest: a writer whose clock is behind still finds its own.
pub const KEPT_DAYS: i64 = 1;

/// The setting that holds the pepper of API keys.
pub const PEPPER: &str = "api_key_pepper";

/// The first eight bytes of a statistics delta are its chunks ([`super::sums::encode`]).
pub fn read_chunk_count(bytes: &[u8]) -> Result<u64, DamagedValue> {
    let bytes = bytes
        .try_into()
        .map_err(|_| damaged_value("statistics", "shorter than their head"))?;
    Ok(u64::from_le_bytes(bytes))
}
