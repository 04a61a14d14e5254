//! A limit on how much a node sends, which holds across restarts.
//!
//! What: [`RateLimit`] has the options, [`Ledger`] keeps the count, and [`Pacer`] makes whoever publishes wait. How it moves:
//! each attempt to publish anything takes a permit first; [`Pace`] says who may go, this file waits and saves.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::debug;

use super::NodeError;
use super::pace::{Lease, Pace, Priority, Ticket, Turn};
use crate::manager::Clock;

/// The longest wait without a look at the clock, which may be set.
const LOOK: Duration = Duration::from_secs(1);
/// First line of a ledger's file.
const HEADER: &str = "reliable-channel rate limit 1";

/// How many messages a node sends in an epoch, everything counted: what is sent again, answers, sync messages, and what the
/// network refused. Epochs are counted from 1970, as those of RLN. What is too much waits for the next one: own content goes
/// first, then acknowledgements and what others asked for, then catch-up.
///
/// The count outlives a restart by a [`Ledger`]. Without one, nothing is sent before the next epoch has begun.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use reliable_channel::reliable::{LedgerFile, Node, RateLimit};
/// use reliable_channel::transport::MemoryNetwork;
///
/// # let folder = tempfile::tempdir()?;
/// let limit = RateLimit::new(100, Duration::from_secs(600)).kept_by(LedgerFile::new(folder.path().join("sent")));
/// let node = Node::builder("alice").transport(MemoryNetwork::new().member()).rate_limit(limit).build()?;
/// # let _ = node;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "options do nothing by themselves"]
pub struct RateLimit {
    messages: u32,
    epoch: Duration,
    ledger: Option<Arc<dyn Ledger>>,
}

impl RateLimit {
    /// So many messages in an epoch of so many whole seconds; all members of a network have the same epochs.
    pub fn new(messages: u32, epoch: Duration) -> Self {
        Self { messages, epoch, ledger: None }
    }

    /// Keeps the count there, so that a restart neither forgets it nor has to wait for the next epoch. A tenth of the quota is
    /// saved as spent at a time; of that, a restart forfeits what was not.
    pub fn kept_by(mut self, ledger: impl Ledger) -> Self {
        self.ledger = Some(Arc::new(ledger));
        self
    }
}

/// Where the count of a [`RateLimit`] is kept. Each node has its own.
///
/// See the [example](RateLimit).
pub trait Ledger: Send + Sync + 'static {
    /// What was saved last, if anything was.
    ///
    /// # Errors
    /// Where that cannot be told: then the node is not built.
    fn load(&self) -> io::Result<Option<Lease>>;

    /// Keeps this instead, for good once it returns. Called on a thread of the runtime, at most eleven times an epoch.
    ///
    /// # Errors
    /// Where it may not be kept: then nothing is sent, and it is tried again after a second.
    fn save(&self, lease: Lease) -> io::Result<()>;
}

/// A [`Ledger`] in a file of its own, which is replaced as a whole.
///
/// See the [example](RateLimit).
#[derive(Clone, Debug)]
pub struct LedgerFile(PathBuf);

impl LedgerFile {
    /// In this file, in a directory that is there.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

impl Ledger for LedgerFile {
    fn load(&self) -> io::Result<Option<Lease>> {
        let text = match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            text => text?,
        };
        let lease = || {
            let (epoch, spent) = text.strip_prefix(HEADER)?.trim().split_once(' ')?;
            Some(Lease { epoch: epoch.parse().ok()?, spent: spent.parse().ok()? })
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("{} is damaged", self.0.display()));
        lease().map(Some).ok_or_else(damaged)
    }

    fn save(&self, lease: Lease) -> io::Result<()> {
        let mut part = self.0.clone().into_os_string();
        part.push(".part");
        let mut file = fs::File::create(&part)?;
        writeln!(file, "{HEADER}\n{} {}", lease.epoch, lease.spent)?;
        file.sync_all()?;
        fs::rename(&part, &self.0)?;
        #[cfg(unix)]
        if let Some(folder) = self.0.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Gives permits to publish, one for each attempt.
#[derive(Default)]
pub(super) struct Pacer(Option<Limited>);

struct Limited {
    pace: Mutex<Pace>,
    ledger: Option<Arc<dyn Ledger>>,
    clock: Arc<dyn Clock>,
    changed: Notify,
}

impl Pacer {
    /// A pacer under this limit, by this clock.
    pub(super) fn new(limit: RateLimit, clock: Arc<dyn Clock>) -> Result<Self, NodeError> {
        let RateLimit { messages, epoch, ledger } = limit;
        if messages == 0 || epoch.as_secs() == 0 {
            return Err(NodeError::RateLimit("it needs at least a message and a second".to_owned()));
        }
        let counted = match &ledger {
            Some(ledger) => ledger.load().map_err(|error| NodeError::RateLimit(error.to_string()))?,
            // What an earlier run sent in this epoch is not known.
            None => Some(Lease { epoch: Pace::epoch_of(epoch.as_secs(), clock.wall()), spent: messages }),
        };
        let pace = Mutex::new(Pace::new(messages, epoch.as_secs(), counted));
        Ok(Self(Some(Limited { pace, ledger, clock, changed: Notify::new() })))
    }

    pub(super) fn is_limited(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until something of this priority may be published, once.
    pub(super) async fn permit(&self, priority: Priority) {
        let Some(limited) = &self.0 else { return };
        let waiting = Waiting { limited, ticket: limited.lock().ask(priority) };
        loop {
            let mut changed = std::pin::pin!(limited.changed.notified());
            changed.as_mut().enable();
            match limited.turn(waiting.ticket) {
                Turn::Go => return,
                Turn::Behind => changed.await,
                Turn::Wait(time) => {
                    let _ = tokio::time::timeout(time.min(LOOK), changed).await;
                }
            }
        }
    }
}

impl Limited {
    fn turn(&self, ticket: Ticket) -> Turn {
        self.lock().turn(ticket, self.clock.wall(), |lease| {
            let saved = self.ledger.as_ref().map_or(Ok(()), |ledger| ledger.save(lease));
            if let Err(error) = &saved {
                debug!(%error, "the count of what was sent is not saved");
            }
            saved.is_ok()
        })
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        // Nothing under this lock panics halfway.
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A ticket that is given back.
struct Waiting<'a> {
    limited: &'a Limited,
    ticket: Ticket,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limited.lock().give_up(self.ticket);
        self.limited.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_in_a_file_gives_back_what_was_saved_last_and_never_guesses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sent");
        let ledger = LedgerFile::new(&path);
        assert_eq!(ledger.load().unwrap(), None);
        for lease in [Lease { epoch: 5, spent: 10 }, Lease { epoch: 6, spent: 0 }] {
            ledger.save(lease).unwrap();
            assert_eq!(ledger.load().unwrap(), Some(lease));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "reliable-channel rate limit 1\n6 0\n");
        for damaged in ["", "6 0", "reliable-channel rate limit 2\n6 0\n", "reliable-channel rate limit 1\n6"] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(ledger.load().unwrap_err().kind(), io::ErrorKind::InvalidData, "{damaged:?}");
        }
    }
}
