//! The targets of `docs/reliability.md` hold: bounds on groups measured in the simulator, under a few seeds each.
//!
//! The table there has a thousand seeds; these are few, so that whoever makes the library slower or noisier learns it
//! from the ordinary tests. Every bound is the target itself, not what was measured, which is far below.
#![cfg(feature = "testing")]

use std::time::Duration;

use reliable_channel::channel::{Config, Join};
use reliable_channel::sim::group::{self, Group, Report};
use reliable_channel::types::Dialect;

/// The sync interval, in milliseconds.
const S: u32 = 30_000;
const MESSAGES: usize = 200;

/// A report of a group in which everything went as it must.
#[track_caller]
fn whole(group: &Group) -> Report {
    let report = group::run(group);
    let seed = report.seed;
    assert!(report.violations.is_empty(), "seed {seed}: {}", report.violations[0]);
    assert!(report.converged, "seed {seed}: logs differ");
    assert!((report.delivered_fraction - 1.0).abs() < 1e-9, "seed {seed}: {}", report.delivered_fraction);
    report
}

#[test]
fn the_sync_interval_is_the_one_the_targets_count_in() {
    assert_eq!(Config::default().sync_interval, Duration::from_millis(u64::from(S)));
}

#[test]
fn twenty_members_at_10_percent_loss_keep_the_targets() {
    for seed in 1..=10 {
        let report = whole(&Group::new(seed, 20, MESSAGES, 0.1));
        assert_eq!(report.never_acknowledged, 0, "seed {seed}");
        assert_eq!(report.acknowledged_ms.len(), MESSAGES, "seed {seed}");
        let slowest = Report::percentile(&report.acknowledged_ms, 1.0);
        assert!(slowest <= S, "seed {seed}: first acknowledgement after {slowest} ms");
        assert!(report.gaps_found_ms.len() > 100, "seed {seed}: there were gaps to find");
        let found = Report::percentile(&report.gaps_found_ms, 0.9);
        assert!(found <= 3 * S, "seed {seed}: 90% of gaps found after {found} ms");
        assert!(report.converged_after_ms <= u64::from(6 * S), "seed {seed}: {} ms", report.converged_after_ms);
    }
}

#[test]
fn an_idle_group_of_twenty_sends_at_most_ten_messages_an_hour_each() {
    let idle = Some(Duration::from_secs(4 * 60 * 60));
    let report = whole(&Group { idle, ..Group::new(1, 20, 50, 0.1) });
    let sent = report.idle_per_member_and_hour.unwrap_or(f64::MAX);
    assert!(sent > 0.0 && sent <= 10.0, "{sent} an hour");
}

#[test]
fn a_member_cut_off_for_ten_minutes_catches_up() {
    for seed in 1..=3 {
        // 200 messages pass in 200 s, then 400 s more.
        let cut_off = Some(Duration::from_secs(400));
        let mut group = Group { cut_off, ..Group::new(seed, 20, MESSAGES, 0.1) };
        // It has heard nothing yet, and is a newcomer: by default it would have the newest 100.
        group.config.join = Join::Backfill(u64::MAX);
        let report = whole(&group);
        let slowest = Report::percentile(&report.delivery_ms, 1.0);
        assert!(slowest >= 600_000, "seed {seed}: it had the first message after {slowest} ms already");
    }
}

#[test]
fn at_30_percent_loss_repair_does_without_resends() {
    for seed in 1..=3 {
        // Among five somebody always acknowledges before a resend is due; among two not.
        let mut group = Group::new(seed, 2, MESSAGES, 0.3);
        assert!(whole(&group).resends > 0, "seed {seed}: there is something to do without");
        group.config.max_resend_attempts = 0;
        assert_eq!(whole(&group).resends, 0, "seed {seed}");
    }
}

/// `cargo test --release --features testing --test targets -- --ignored`
#[test]
#[ignore = "20 s of processor time in the test profile"]
fn a_thousand_members_at_30_percent_loss_make_no_storm() {
    let report = whole(&Group::new(1, 1_000, MESSAGES, 0.3));
    assert!(report.repaired > 100, "{} messages were missing somewhere", report.repaired);
    assert!(report.repairs < 10 * report.repaired, "{} rebroadcasts of {}", report.repairs, report.repaired);
}

/// What each keeps of more messages than a log has room for is the same.
#[test]
fn logs_of_more_messages_than_a_channel_keeps_agree_where_they_overlap() {
    for dialect in [Dialect::Lip109, Dialect::JsWaku] {
        let messages = Config::of(dialect).max_message_history + 200;
        let pause = Duration::from_millis(20);
        whole(&Group { pause, ..Group::new(1, 3, messages, 0.0).speaking(dialect) });
    }
}

#[test]
fn logs_of_more_bytes_than_a_channel_keeps_agree_where_they_overlap() {
    let content_bytes = 80_000;
    let messages = Config::default().max_log_bytes / content_bytes + 20;
    whole(&Group { content_bytes, ..Group::new(1, 3, messages, 0.0) });
}

/// Logs agree long before the last messages are acknowledged in a group of two: those count, too.
#[test]
fn acknowledgements_are_counted_after_the_logs_agree() {
    for seed in 1..=5 {
        let report = whole(&Group::new(seed, 2, MESSAGES, 0.1));
        assert_eq!(report.acknowledged_ms.len() + report.never_acknowledged, MESSAGES, "seed {seed}");
        assert!(report.never_acknowledged <= 2, "seed {seed}: {} never acknowledged", report.never_acknowledged);
    }
}

/// docs/deviations.md: in nim-sds's dialect a silent group asks for nothing. That is told by `converged` alone.
#[test]
fn a_silent_nim_group_breaks_no_invariant() {
    let report = group::run(&Group::new(1, 8, 60, 0.1).speaking(Dialect::NimSds));
    assert!(!report.converged);
    assert!(report.violations.is_empty(), "{}", report.violations[0]);
}

#[test]
fn a_member_that_was_away_is_shown_what_it_missed() {
    let group = Group { rejoin: Some(100), ..Group::new(1, 5, 20, 0.1) };
    let report = whole(&group);
    let rejoin = report.rejoin.as_ref().expect("a member was away");
    assert_eq!((rejoin.missed, rejoin.delivered, rejoin.lost), (100, 100, 0), "{rejoin:?}");
    assert!(rejoin.logs_identical && rejoin.first_shown_ms <= rejoin.all_ms, "{rejoin:?}");
    assert_eq!(report.messages, 120);
}

#[test]
fn what_a_log_does_not_keep_cannot_be_had_and_the_rest_can() {
    let mut group = Group { rejoin: Some(100), ..Group::new(1, 5, 20, 0.0) };
    group.config.max_message_history = 50;
    let report = group::run(&group);
    assert!(report.converged && report.violations.is_empty(), "{:?}", report.violations);
    let rejoin = report.rejoin.expect("a member was away");
    assert!(rejoin.logs_identical && (1..=50).contains(&rejoin.delivered), "{rejoin:?}");
}

#[test]
fn those_who_stay_recover_what_one_of_them_has() {
    let mut missing = 0;
    for seed in 1..=20 {
        let report = group::run(&Group { leave: 3, ..Group::new(seed, 8, 60, 0.3) });
        assert!(report.converged && report.violations.is_empty(), "seed {seed}: {:?}", report.violations);
        let leave = report.leave.expect("members left");
        assert_eq!((leave.members, leave.recovered), (3, leave.missing - leave.gone), "seed {seed}: {leave:?}");
        missing += leave.missing;
    }
    assert!(missing > 20, "{missing}: in few of the runs was there something to recover");
}

#[test]
fn the_last_message_before_silence_reaches_everybody() {
    for seed in 1..=5 {
        let report = whole(&Group::new(seed, 3, 10, 0.3));
        assert!(report.tail.all_ms.is_some_and(|ms| ms >= 10), "seed {seed}: {:?}", report.tail);
    }
}

/// Requests never left where a packet had no room for heads, filter and requests together.
#[test]
fn small_packets_deliver_everything() {
    for max in [400, 800, 1_200] {
        for participants in [4, 20] {
            let mut group = Group::new(1, participants, 100, 0.1);
            group.config.max_transmit_bytes = Some(max);
            whole(&group);
        }
    }
}

/// Section 7 of docs/protocol.md: a sync message names what is to be acknowledged.
#[test]
fn two_members_acknowledge_within_seconds() {
    for (loss, most) in [(0.0, 4_000), (0.1, 12_000), (0.3, 30_000)] {
        let mut times = Vec::new();
        for seed in 1..=10 {
            let report = whole(&Group::new(seed, 2, MESSAGES, loss));
            assert_eq!(report.never_acknowledged, 0, "seed {seed}");
            times.extend(report.acknowledged_ms);
        }
        times.sort_unstable();
        let found = Report::percentile(&times, 0.99);
        println!("loss {loss}: {found} ms");
        assert!(found <= most, "at {loss}: 99% within {found} ms, not {most}");
    }
}

#[test]
fn twenty_members_at_30_percent_loss_deliver_fast_and_small() {
    let report = whole(&Group::new(1, 20, MESSAGES, 0.3));
    let (half, most) = (Report::percentile(&report.delivery_ms, 0.5), Report::percentile(&report.delivery_ms, 0.99));
    let bytes = report.bytes / MESSAGES as u64;
    println!("p50 {half} ms, p99 {most} ms, {bytes} bytes a message");
    assert!(half <= 250 && most <= 7_000 && bytes <= 3_000, "p50 {half} ms, p99 {most} ms, {bytes} bytes a message");
}
