//! Half a million operations of 64 tasks on 640 channels, on the memory store: processor time of each, and memory along the
//! way. `cargo bench --all-features --bench load`; `-- CHANNELS TASKS OPERATIONS` for other sizes.
//!
//! Every second operation wraps a message, the next takes in one that acknowledges it. Logs of 20 messages are full after a
//! few, and their stubs soon after: from then on memory must not grow. Processor time, other than time, says little of what
//! else the machine does.

#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods)]

mod fixtures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fixtures::{EPOCH, content, message};
use reliable_channel::ReliabilityManager;
use reliable_channel::channel::Config;
use reliable_channel::manager::ManualClock;
use reliable_channel::store::MemoryPersistence;
use reliable_channel::types::{ChannelId, Dialect, MessageId, WallTime};
use reliable_channel::wire;
use tap::Tap as _;

fn main() {
    let numbers: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let [channels, tasks, operations] = numbers[..] else { return run(640, 64, 500_000) };
    run(channels, tasks, operations);
}

fn run(channels: usize, tasks: usize, operations: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let clock = ManualClock::new(WallTime::from_millis(EPOCH));
    let config = Config::default().tap_mut(|it| it.max_message_history = 20);
    let _entered = runtime.enter();
    let builder =
        ReliabilityManager::builder("alice_01").config(config).persistence(Arc::new(MemoryPersistence::new()));
    let manager = builder.clock(Arc::new(clock.clone())).seed(1).build().unwrap();
    let names: Vec<ChannelId> = (0..channels).map(|number| format!("chan{number:04}").into()).collect();
    runtime.block_on(async {
        for channel in &names {
            manager.ensure_channel(channel).await.unwrap();
        }
    });
    let rounds = (operations / 2 / channels).max(4);
    let (mut lamport, mut last) = (EPOCH, Duration::ZERO);
    let (began, mut done) = (Instant::now(), 0);
    for quarter in 0..4 {
        let before = processor_time();
        for _ in 0..rounds / 4 {
            clock.advance(Duration::from_millis(500));
            lamport += 500;
            runtime.block_on(async {
                let parts = names.chunks(channels.div_ceil(tasks)).map(<[ChannelId]>::to_vec);
                let work: Vec<_> = parts.map(|part| tokio::spawn(converse(manager.clone(), part, lamport))).collect();
                for task in work {
                    task.await.unwrap();
                }
            });
            done += 2 * channels;
        }
        last = processor_time().saturating_sub(before);
        let each = last.as_secs_f64() * 1e6 / (rounds / 4 * 2 * channels) as f64;
        println!("quarter {quarter}: {each:.2} us of processor an operation, {} MB resident", resident_mb());
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / done as f64;
    println!("{channels} channels, {tasks} tasks: {done} operations, {each:.2} us each, last quarter {last:?}");
}

async fn converse(manager: ReliabilityManager, channels: Vec<ChannelId>, lamport: u64) {
    for channel in channels {
        let own: MessageId = manager.wrap_outgoing(&channel, content()).await.unwrap().id;
        let mut answer = message(&format!("{lamport:064}"), lamport + 1, [own]);
        answer.channel = channel;
        let packet = wire::encode(&answer, Dialect::Lip109).unwrap();
        manager.unwrap_received(packet).await.unwrap();
    }
}

/// User and system time of the process: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks: u64 = stat.split(' ').skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Resident memory, in pages of 4 KiB.
fn resident_mb() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4 / 1_024
}
