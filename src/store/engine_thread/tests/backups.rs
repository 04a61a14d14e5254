//! A backup of an engine that has archives: what goes on meanwhile, and what the copy has of it.

use std::collections::BTreeMap;

use super::*;
use crate::store::encoded::{Table, channel_prefix};

/// An engine in memory that gives one value a scan, and waits before each while it is held.
struct Kept(Arc<Shelf>);

#[derive(Default)]
struct Shelf {
    state: Mutex<Shelved>,
    changed: Condvar,
}

#[derive(Default)]
struct Shelved {
    archive: BTreeMap<Vec<u8>, Vec<u8>>,
    channels: Vec<ChannelId>,
    /// Calls that were served.
    served: Vec<&'static str>,
    /// Scans that may go on.
    free: usize,
    copy: Option<Arc<Shelf>>,
}

impl Shelf {
    fn change<T>(&self, change: impl FnOnce(&mut Shelved) -> T) -> T {
        let result = change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

impl BlockingStore for Kept {
    type Options = Arc<Shelf>;

    fn open(shelf: &Arc<Shelf>) -> Result<Self, Failure> {
        Ok(Self(shelf.clone()))
    }

    fn elsewhere(shelf: &Arc<Shelf>, _: &Path) -> Option<Arc<Shelf>> {
        let copy: Arc<Shelf> = Arc::default();
        shelf.change(|state| state.copy = Some(copy.clone()));
        Some(copy)
    }

    fn apply(&mut self, writes: &[Write]) -> Result<(), Failure> {
        self.0.change(|state| {
            state.served.push("apply");
            for change in writes.iter().flat_map(|write| &write.changes) {
                match change {
                    Change::Put { table: Table::Archive, key, value } => {
                        state.archive.insert(key.clone(), value.clone());
                    }
                    Change::DropChannel { prefix } => state.archive.retain(|key, _| !key.starts_with(prefix)),
                    _ => {}
                }
            }
        });
        Ok(())
    }

    fn load(&mut self, _: &[u8]) -> Result<Raw, Failure> {
        self.0.change(|state| state.served.push("load"));
        Ok(Raw::default())
    }

    fn scan(&mut self, scan: &Scan) -> Result<Scanned, Failure> {
        self.0.change(|state| state.served.push("scan"));
        let mut state = self.0.changed.wait_while(self.0.state.lock().unwrap(), |state| state.free == 0).unwrap();
        state.free -= 1;
        let range = state.archive.range(scan.from.clone()..scan.to.clone());
        Ok(range.take(1).map(|(key, value)| (key.clone(), value.clone().into())).collect())
    }

    fn list(&mut self) -> Result<Vec<ChannelId>, Failure> {
        Ok(self.0.change(|state| state.channels.clone()))
    }
}

fn key(n: u8) -> Vec<u8> {
    [&channel_prefix(&"a".into()).unwrap()[..], &[1, n]].concat()
}

/// A store whose archive has the keys 0, 10, 20, 30, and which copies itself up to its first scan.
fn copying() -> (Arc<Shelf>, Arc<EngineThread>, tempfile::TempDir, std::thread::JoinHandle<()>) {
    let shelf: Arc<Shelf> = Arc::default();
    shelf.change(|state| {
        state.channels = vec!["a".into()];
        state.archive = (0..4).map(|n| (key(10 * n), vec![n])).collect();
    });
    let thread = EngineThread::start::<Kept>("kept", Durability::Immediate, shelf.clone()).unwrap();
    let (thread, dir) = (Arc::new(thread), tempfile::tempdir().unwrap());
    let (copies, to) = (thread.clone(), dir.path().join("copy"));
    let backup = std::thread::spawn(move || block_on(copies.backup("backup", &to)).unwrap());
    drop(shelf.changed.wait_while(shelf.state.lock().unwrap(), |state| !state.served.ends_with(&["scan"])).unwrap());
    (shelf, thread, dir, backup)
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    runtime::Builder::new_current_thread().build().unwrap().block_on(task)
}

fn copied(shelf: &Shelf) -> BTreeMap<Vec<u8>, Vec<u8>> {
    shelf.change(|state| state.copy.clone()).unwrap().change(|copy| copy.archive.clone())
}

/// Has the thread find these requests when it has copied a part.
fn queue(thread: &EngineThread, requests: Vec<Request>) {
    let queue = thread.queue.as_ref().unwrap();
    requests.into_iter().for_each(|request| queue.try_send(request).unwrap());
}

fn write(changes: Vec<Change>) -> Request {
    let mut write = Write::new(&"a".into()).unwrap();
    write.changes = changes;
    Request::Write(write, oneshot::channel().0)
}

#[test]
fn calls_are_served_between_the_parts_of_an_archive() {
    let (shelf, thread, _dir, backup) = copying();
    queue(
        &thread,
        vec![Request::Load(Vec::new(), oneshot::channel().0), Request::Load(Vec::new(), oneshot::channel().0)],
    );
    shelf.change(|state| state.free = usize::MAX);
    backup.join().unwrap();
    let served = shelf.change(|state| state.served.clone());
    assert_eq!(served, ["load", "scan", "load", "scan", "load", "scan", "scan", "scan"]);
}

#[test]
fn what_is_archived_meanwhile_is_copied_before_and_behind_what_is() {
    let (shelf, thread, _dir, backup) = copying();
    let put = |n: u8, value: u8| Change::Put { table: Table::Archive, key: key(n), value: vec![value] };
    queue(&thread, vec![write(vec![put(0, 100), put(5, 105), put(35, 135)])]);
    // The first part is copied before it.
    shelf.change(|state| state.free = usize::MAX);
    backup.join().unwrap();
    assert_eq!(copied(&shelf), shelf.change(|state| state.archive.clone()));
    assert_eq!(copied(&shelf).len(), 6);
}

#[test]
fn a_channel_that_is_dropped_meanwhile_is_whole_in_the_copy() {
    let (shelf, thread, _dir, backup) = copying();
    let prefix = channel_prefix(&"a".into()).unwrap();
    queue(&thread, vec![write(vec![Change::DropChannel { prefix }])]);
    shelf.change(|state| state.free = usize::MAX);
    backup.join().unwrap();
    assert_eq!(shelf.change(|state| state.archive.len()), 0);
    assert_eq!(copied(&shelf).len(), 4);
}
