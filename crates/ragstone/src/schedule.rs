//! Schedules of automatic work: cron patterns, read in UTC.

use std::str::FromStr;

use chrono::DateTime;
use croner::Cron;
use time::OffsetDateTime;

/// A parsed cron pattern, such as `*/15 * * * *`.
#[derive(Debug, Clone)]
pub struct CronSchedule(Cron);

/// The text, cut to 100 characters, is no cron pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no schedule in cron's form, such as */15 * * * *")]
pub struct ScheduleError(String);

impl FromStr for CronSchedule {
    type Err = ScheduleError;
    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let wrong = || ScheduleError(text.chars().take(100).collect());
        text.parse().map(Self).map_err(|_| wrong())
    }
}

impl CronSchedule {
    /// Whether an occurrence lies after `last` and not after `now`.
    pub fn is_due(&self, last: OffsetDateTime, now: OffsetDateTime) -> bool {
        let next = DateTime::from_timestamp(last.unix_timestamp(), 0)
            .and_then(|last| self.0.find_next_occurrence(&last, false).ok());
        next.is_some_and(|next| next.timestamp() <= now.unix_timestamp())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn moments_are_found_once() {
        let check = |pattern: &str, last: OffsetDateTime, now: OffsetDateTime, due: bool| {
            let schedule: CronSchedule = pattern.parse().unwrap();
            assert_eq!(schedule.is_due(last, now), due, "{pattern} {last} {now}");
        };
        let midnight = datetime!(2026-03-01 0:00 UTC);
        let at = |minutes: i64| midnight + time::Duration::minutes(minutes);
        check("*/15 * * * *", at(0), at(14), false);
        check("*/15 * * * *", at(0), at(15), true);
        check("*/15 * * * *", at(15), at(16), false);
        check("0 3 * * *", at(0), at(179), false);
        check("0 3 * * *", at(0), at(1_000), true);
        check("0 0 31 2 *", at(0), at(1_000_000), false);
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for wrong in ["", "often", "99 * * * *", "* * *", "* * * * * * * *"] {
            assert!(wrong.parse::<CronSchedule>().is_err(), "{wrong}");
        }
    }
}
