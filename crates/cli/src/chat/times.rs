//! When something was said, as a clock on the wall shows it.
//!
//! Messages carry the time of their order: milliseconds since 1970, as their sender's clock had it, or a little more where
//! they answer to something later.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use reliable_channel::types::Lamport;

#[derive(Clone, Debug)]
pub(super) struct Times {
    zone: TimeZone,
    /// Of this day, the time says enough.
    today: Date,
}

impl Times {
    /// Where this system is, and on what day.
    pub(super) fn here() -> Self {
        let now = Zoned::now();
        Self { zone: now.time_zone().clone(), today: now.date() }
    }

    /// Hours and minutes, after the day if it is another one.
    pub(super) fn of(&self, time: Lamport) -> String {
        let Some(time) = i64::try_from(time.0).ok().and_then(|time| Timestamp::from_millisecond(time).ok()) else {
            return "--:--".to_owned();
        };
        let time = time.to_zoned(self.zone.clone());
        let shape = match time.date() {
            date if date == self.today => "%H:%M",
            date if date.year() == self.today.year() => "%b %d %H:%M",
            _ => "%Y-%m-%d %H:%M",
        };
        time.strftime(shape).to_string()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::date;
    use jiff::tz::Offset;

    use super::*;

    /// On the first day there is, in Greenwich.
    pub(in crate::chat) fn first_day() -> Times {
        Times { zone: TimeZone::UTC, today: date(1970, 1, 1) }
    }

    #[test]
    fn another_day_is_named_and_the_zone_counts() {
        let times = Times { zone: TimeZone::fixed(Offset::constant(2)), today: date(2026, 11, 28) };
        let of = |time: i64| times.of(Lamport(time as u64 * 1_000));
        assert_eq!(of(1_795_860_000), "12:00");
        assert_eq!(of(1_795_860_000 - 12 * 3_600 - 1), "Nov 27 23:59");
        assert_eq!(of(0), "1970-01-01 02:00");
        assert_eq!(times.of(Lamport(u64::MAX)), "--:--");
    }
}
