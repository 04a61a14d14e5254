//! Store load of damaged data: a redb file with changed bytes gives an error or what was in it; no panic leaves the
//! library, and looking does not write.
//!
//! Input: which image (1 byte: cleanly closed, or as a crash leaves it), then seven bytes for each damage
//! ([`Damage`]). A damaged page number can make redb 4.4 take up to 4 GiB for one page before it sees that the file is
//! shorter: found here, not to be helped from outside of redb. How it moves: an image is made once, damaged in a copy, and opened for reading, then for writing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once, OnceLock};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;

use crate::state::{
    Body, ChannelData, ChannelMeta, Commit, HistoryUpdate, LogKey, Logged, Mark, MarkKind, Parked, Request, Row,
    RowCounts, Stub,
};
use crate::store::{Persistence, PersistenceErrorKind, RedbPersistence};
use crate::types::{HistoryEntry, Lamport, WallTime};

const MAX_DAMAGES: usize = 32;
const PAGE: usize = 4_096;
const FILE: &str = "channels.redb";
const CHANNELS: [&str; 2] = ["a", "b"];
/// Commits to each channel.
const COMMITS: u64 = 6;

/// One damage. `page` counts the pages that are not empty, so that none hits nothing.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Damage {
    what: u8,
    page: u8,
    offset: u16,
    value: [u8; 3],
}

/// The body of the target `store`.
pub fn store(data: &[u8]) {
    let mut input = Unstructured::new(data);
    let Ok(which) = input.arbitrary::<u8>() else { return };
    let images = images();
    let mut file = images.files[usize::from(which % 2)].clone();
    let mut lost_writes = false;
    for _ in 0..MAX_DAMAGES {
        if input.is_empty() {
            break;
        }
        let Ok(damage) = input.arbitrary::<Damage>() else { break };
        lost_writes |= damage.is_lost_write();
        damage.apply(&images.used, &mut file);
    }
    let dir = Scratch::new();
    fs::write(dir.0.join(FILE), &file).expect("the scratch directory can be written");
    let may_be = |loaded: &ChannelData, states: &[ChannelData]| {
        is_told(loaded) || was_so(loaded, states) || (lost_writes && loaded.is_empty())
    };
    look(&may_be, || RedbPersistence::open_read_only(&dir.0));
    let after = fs::read(dir.0.join(FILE)).expect("the file is still there");
    assert!(after == file, "looking has written");
    look(&may_be, || RedbPersistence::open(&dir.0));
}

/// Opens and reads everything; what is read of each channel must be what it `may_be`.
fn look(
    may_be: &impl Fn(&ChannelData, &[ChannelData]) -> bool,
    open: impl Fn() -> Result<RedbPersistence, crate::store::PersistenceError>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime needs nothing");
    let told = |kind: &PersistenceErrorKind| {
        let engine_died = matches!(kind, PersistenceErrorKind::Closed | PersistenceErrorKind::Locked);
        assert!(!engine_died, "{kind:?}");
    };
    let store = match quiet(open) {
        Ok(store) => store,
        Err(error) => return told(&error.kind),
    };
    for (channel, states) in CHANNELS.into_iter().zip(&images().states) {
        match runtime.block_on(store.load_channel(&channel.into())) {
            Ok(loaded) => assert!(may_be(&loaded, states), "{channel} was never so: {loaded:?}"),
            // A panic of the engine has closed it: every further call opens it again, after a pause.
            Err(error) => return told(&error.kind),
        }
    }
    // A damaged key may name a channel that never was, or hide one.
    if let Err(error) = runtime.block_on(store.list_channels()) {
        told(&error.kind);
    }
}

/// A channel tells that its meta is gone ([`Event::StateMended`](crate::channel::Event::StateMended)); a store
/// cannot, for rows may be saved before any meta.
fn is_told(loaded: &ChannelData) -> bool {
    loaded.meta.is_none() && !loaded.is_empty()
}

/// These metas do not count hints, and a message is fetched without them as well: one whose key is damaged may be missing.
fn was_so(loaded: &ChannelData, states: &[ChannelData]) -> bool {
    states.iter().any(|state| {
        state.meta == loaded.meta
            && state.rows == loaded.rows
            && loaded.hints.iter().all(|hint| state.hints.contains(hint))
    })
}

impl Damage {
    /// A page is replaced by another whole one, perhaps by what it was before: then even everything may be gone, for redb
    /// holds pages against the checksums of them that it keeps only when it repairs.
    fn is_lost_write(self) -> bool {
        self.what % 8 == 4
    }

    fn apply(self, used: &[usize], file: &mut Vec<u8>) {
        let start = used[usize::from(self.page) % used.len()] * PAGE;
        let at = start + usize::from(self.offset) % PAGE;
        let [value, more, _] = self.value;
        let Some(page) = file.get_mut(start..start + PAGE) else { return };
        let within = at - start;
        match self.what % 8 {
            0 => page[within] ^= value.max(1),
            1 => page[within] = value,
            2 => page[within..].iter_mut().take(usize::from(more) + 1).for_each(|byte| *byte = value),
            3 => page.fill(value),
            4 => {
                let other = used[usize::from(value) % used.len()] * PAGE;
                if other + PAGE <= file.len() {
                    file.copy_within(other..other + PAGE, start);
                }
            }
            5 => page[within..].iter_mut().zip(self.value).for_each(|(byte, value)| *byte = value),
            6 => file.truncate(at.max(1)),
            _ => file.extend(std::iter::repeat_n(value, usize::from(more) * 64)),
        }
    }
}

/// What is damaged, and all that may be read from it.
struct Images {
    files: [Vec<u8>; 2],
    /// Pages that are not empty.
    used: Vec<usize>,
    /// For each channel its data after each commit: a damaged header may lead to an older commit, never elsewhere.
    states: Vec<Vec<ChannelData>>,
}

fn images() -> &'static Images {
    static IMAGES: OnceLock<Images> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime needs nothing");
        let dir = Scratch::new();
        let read = || fs::read(dir.0.join(FILE)).expect("the store has made its file");
        let store = RedbPersistence::open(&dir.0).expect("the scratch directory can be written");
        let mut states = vec![Vec::new(); CHANNELS.len()];
        for count in 1..=COMMITS {
            for (channel, states) in CHANNELS.into_iter().zip(&mut states) {
                let data = saved(channel, count);
                let commit = Commit {
                    meta: data.meta.clone(),
                    history: HistoryUpdate { put: data.rows.clone(), delete: Vec::new() },
                    hints: data.hints.clone(),
                };
                runtime.block_on(store.commit(&channel.into(), &commit)).expect("there is room for a commit");
                states.push(data);
            }
        }
        let crashed = read();
        runtime.block_on(store.close()).expect("a whole store closes");
        let closed = read();
        let pages = |file: &[u8]| file.chunks(PAGE).map(|page| page.iter().any(|byte| *byte != 0)).collect::<Vec<_>>();
        let used = pages(&closed).into_iter().zip(pages(&crashed)).map(|(a, b)| a || b).enumerate();
        let used = used.filter_map(|(page, used)| used.then_some(page)).collect();
        Images { files: [closed, crashed], used, states }
    })
}

/// A channel after `count` commits: every kind of row that needs no other.
fn saved(channel: &str, count: u64) -> ChannelData {
    let key = |lamport, id: String| LogKey { lamport: Lamport(lamport), id: id.into() };
    let body = |at: u64| {
        Arc::new(Body {
            causal_history: vec![HistoryEntry::new(format!("{channel}{}", at.saturating_sub(1)))],
            ..Body::new(key(100 + at, format!("{channel}{at}")), "bob".into(), vec![at as u8; 300].into())
        })
    };
    let seen = WallTime::from_millis(1_700_000_000_000);
    let logged = |at: u64| Logged {
        body: body(at),
        delivery: Some(at),
        seen,
        late: false,
        below_floor: false,
        missing: Vec::new(),
        below_stable: false,
    };
    let mut rows: Vec<Row> = vec![Row::Stub(Stub { key: key(1, "stub".into()), sender: "bob".into() })];
    rows.extend((1..=count).map(|at| Row::Message(logged(at))));
    rows.push(Row::Parked(Parked { body: body(99), seen, parked_at_age_ms: 0 }));
    let entry = HistoryEntry::new("missing");
    rows.push(Row::Request(Request { entry, due: seen, sent: 0, heard: 0, since_age_ms: 0, named_at_age_ms: 0 }));
    rows.push(Row::Mark(Mark { id: "lost".into(), kind: MarkKind::Lost, sequence: 0 }));
    let counts = RowCounts { messages: count, parked: 1, stubs: 1, requests: 1, marks: 1, ..RowCounts::default() };
    let meta = ChannelMeta {
        next_delivery: count + 1,
        counts,
        oldest: Some(body(1).key.clone()),
        newest: Some(body(count).key.clone()),
        ..ChannelMeta::default()
    };
    let hints = vec![(body(1).key.id.clone(), Bytes::from_static(b"where"))];
    ChannelData { meta: Some(meta), rows, hints }
}

/// A directory in memory, where the system has such, that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = base.join(format!("reliable-channel-fuzz-{}-{count}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary directory can be written");
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left behind is in the system's temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    static IN_LIBRARY: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Panics that the library catches are not to be seen by the panic hook: a fuzzer's aborts the process.
fn quiet<T>(call: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let engine = std::thread::current().name() == Some(FILE);
            if !engine && !IN_LIBRARY.get() {
                hook(panic);
            }
        }));
    });
    IN_LIBRARY.set(true);
    let result = call();
    IN_LIBRARY.set(false);
    result
}
