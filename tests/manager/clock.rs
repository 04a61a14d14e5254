//! The three clocks, and how long each lets the timer task sleep.

use reliable_channel::channel::TransmitKind;
use reliable_channel::manager::{Clock, ManualClock, ScaledClock, SystemClock};
use reliable_channel::types::{RunningTime, WallTime};

use super::*;

const NOON: WallTime = WallTime::from_millis(1_700_000_000_000);

fn running(millis: u64) -> RunningTime {
    RunningTime::from_millis(millis)
}

fn milliseconds(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A real pause, even where tokio's time is paused.
fn pause() {
    std::thread::sleep(milliseconds(3));
}

#[test]
fn a_manual_clock_stands_still_until_it_is_moved() {
    let clock = ManualClock::new(NOON);
    let same = clock.clone();
    pause();
    assert_eq!((clock.wall(), clock.running()), (NOON, running(0)));
    clock.advance(milliseconds(1_500));
    assert_eq!((same.wall(), same.running()), (WallTime::from_millis(1_700_000_001_500), running(1_500)));
    clock.set_wall(WallTime::from_millis(7));
    assert_eq!((same.wall(), same.running()), (WallTime::from_millis(7), running(1_500)), "running time goes on");
}

#[test]
fn a_manual_clock_is_looked_at_again_before_its_deadline() {
    let clock = ManualClock::new(NOON);
    clock.advance(milliseconds(1_000));
    assert_eq!(clock.until(running(1_000)), Duration::ZERO);
    assert_eq!(clock.until(running(10)), Duration::ZERO, "long past");
    assert_eq!(clock.until(running(1_004)), milliseconds(4));
    assert_eq!(clock.until(running(60_000)), milliseconds(10), "it may be moved at any time");
}

#[tokio::test(start_paused = true)]
async fn the_system_clock_waits_for_the_rest_of_the_time() {
    let clock = SystemClock::new();
    assert_eq!(clock.running(), running(0));
    assert_eq!(clock.until(running(250)), milliseconds(250));
    tokio::time::advance(milliseconds(100)).await;
    assert_eq!((clock.running(), clock.until(running(250))), (running(100), milliseconds(150)));
    tokio::time::advance(milliseconds(200)).await;
    assert_eq!(clock.until(running(250)), Duration::ZERO);
    let before = clock.wall();
    pause();
    assert!(clock.wall() >= WallTime::from_nanos(before.as_nanos() + 3_000_000), "wall time is not tokio's");
}

#[tokio::test(start_paused = true)]
async fn a_scaled_clock_runs_both_times_faster_and_sleeps_less() {
    let before = SystemClock::new().wall();
    let clock = ScaledClock::new(60);
    let start = clock.wall();
    assert!(before <= start && start <= SystemClock::new().wall(), "it starts at the machine's time");
    assert_eq!((clock.running(), clock.until(running(60_000))), (running(0), milliseconds(1_000)));
    tokio::time::advance(milliseconds(500)).await;
    assert_eq!(clock.running(), running(30_000));
    assert_eq!(clock.wall().as_nanos() - start.as_nanos(), 30_000_000_000);
    assert_eq!(clock.until(running(60_000)), milliseconds(500));
    assert_eq!(clock.until(running(30_000)), Duration::ZERO);
    assert_eq!(clock.until(running(0)), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_factor_of_zero_is_one() {
    let clock = ScaledClock::new(0);
    tokio::time::advance(milliseconds(70)).await;
    assert_eq!((clock.running(), clock.until(running(100))), (running(70), milliseconds(30)));
}

#[tokio::test(start_paused = true)]
async fn a_manager_on_a_scaled_clock_resends_sooner() {
    let manager = opened(builder("alice").clock(Arc::new(ScaledClock::new(100)))).await;
    let mut transmissions = manager.transmissions();
    manager.start_periodic_tasks();
    let start = tokio::time::Instant::now();
    let mine = wrap(&manager, "mine").await;
    let kind = loop {
        let sent = transmissions.next().await.unwrap().unwrap();
        if sent.kind != TransmitKind::Sync {
            break sent.kind;
        }
    };
    assert_eq!(kind, TransmitKind::Resend);
    assert!(manager.outgoing(&channel()).unwrap().iter().all(|open| open.id == mine.id));
    let waited = start.elapsed();
    assert!(waited >= milliseconds(30) && waited <= milliseconds(200), "5 s, a hundred times faster: {waited:?}");
}

#[tokio::test]
async fn a_timer_notices_that_a_manual_clock_was_moved() {
    let clock = ManualClock::new(NOON);
    let manager = opened(builder("alice").clock(Arc::new(clock.clone()))).await;
    manager.start_periodic_tasks();
    wrap(&manager, "mine").await;
    pause();
    assert_eq!(manager.stats(&channel()).unwrap().resends, 0);
    clock.advance(Duration::from_secs(10));
    eventually(|| manager.stats(&channel()).unwrap().resends == 1).await;
}
