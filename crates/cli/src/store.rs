//! Which store a command works on: options shared by all commands that have one.
//!
//! What: [`StoreArgs`], to be flattened into a command's options, and [`Kind`]. Why: engine and durability are chosen the
//! same way everywhere. How it moves: a command that writes opens with [`StoreArgs::open`]; one that only looks finds out
//! by the files what lies in a directory ([`Kind::find`]).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use reliable_channel::state::ChannelData;
use reliable_channel::store::{
    Archive, Durability, Persistence, PersistenceError, PersistenceErrorKind, RedbPersistence, SledPersistence,
    SqlitePersistence,
};
use reliable_channel::types::ChannelId;

/// The longest a write waits for its sync with `--durability batched`.
const BATCH_WINDOW: Duration = Duration::from_millis(50);

/// What to do about a full disk.
const NO_SPACE: &str = "there is no space left; make some, or choose a directory on another disk";

/// A store, and itself as an archive.
pub(crate) type Both = (Arc<dyn Persistence>, Arc<dyn Archive>);

/// Options of a command that writes to a store.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct StoreArgs {
    /// The engine that keeps the data
    #[arg(long, value_enum, default_value_t = Kind::Redb, value_name = "ENGINE")]
    pub(crate) store: Kind,
    /// When a write counts as done; of the engines only sqlite keeps "os"
    #[arg(long, value_enum, default_value_t = Promise::Immediate, value_name = "WHEN")]
    durability: Promise,
}

/// The bundled engines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Pure Rust, loud about damage
    Redb,
    /// Pure Rust; see docs/persistence.md for what it survives
    Sled,
    /// C, compiled in; smallest files
    Sqlite,
}

/// [`Durability`] by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Promise {
    /// A power cut loses nothing
    Immediate,
    /// A crash loses at most the last 50 ms
    Batched,
    /// A process crash loses nothing, a power cut the newest
    Os,
}

impl StoreArgs {
    /// Opens the store in this directory, making it where there is none.
    pub(crate) fn open(self, dir: &Path) -> Result<Arc<dyn Persistence>, PersistenceError> {
        self.open_with_archive(dir).map(|(store, _)| store)
    }

    /// The same store as a store and as an archive.
    pub(crate) fn open_with_archive(self, dir: &Path) -> Result<Both, PersistenceError> {
        self.store.open(dir, Some(self.durability()))
    }

    fn durability(self) -> Durability {
        match self.durability {
            Promise::Immediate => Durability::Immediate,
            Promise::Batched => Durability::Batched { max_delay: BATCH_WINDOW },
            Promise::Os => Durability::OsBuffered,
        }
    }
}

impl Kind {
    const ALL: [Self; 3] = [Self::Redb, Self::Sled, Self::Sqlite];

    /// What `--store` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
            Self::Sqlite => "sqlite",
        }
    }

    /// The file or directory that makes a directory a store of this kind.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Redb => "channels.redb",
            Self::Sled => "channels.sled",
            Self::Sqlite => "channels.sqlite",
        }
    }

    /// What lies in this directory.
    pub(crate) fn all_in(dir: &Path) -> Vec<Self> {
        Self::ALL.into_iter().filter(|kind| dir.join(kind.file()).exists()).collect()
    }

    /// The store in this directory, if there is one; of several, the wanted one, which `option` names.
    pub(crate) fn find(dir: &Path, wanted: Option<Self>, option: &str) -> anyhow::Result<Option<Self>> {
        let (found, shown) = (Self::all_in(dir), dir.display());
        let files = || found.iter().map(|kind| kind.file()).collect::<Vec<_>>().join(", ");
        match (wanted, &found[..]) {
            (_, []) => Ok(None),
            (Some(wanted), found) if found.contains(&wanted) => Ok(Some(wanted)),
            (Some(wanted), [other, ..]) => {
                bail!("{shown} has no {}, but {}; try {option} {}", wanted.file(), files(), other.name())
            }
            (None, [only]) => Ok(Some(*only)),
            (None, _) => bail!("{shown} has several stores: {}; say which with {option}", files()),
        }
    }

    /// Opens the store in this directory, making it where there is none; without a durability for looking only.
    pub(crate) fn open(self, dir: &Path, durability: Option<Durability>) -> Result<Both, PersistenceError> {
        fn both<S: Persistence + Archive>(store: S) -> Both {
            let store = Arc::new(store);
            (store.clone(), store)
        }
        Ok(match (self, durability) {
            (Self::Redb, Some(durability)) => both(RedbPersistence::open_with(dir, durability)?),
            (Self::Redb, None) => both(RedbPersistence::open_read_only(dir)?),
            (Self::Sled, Some(durability)) => both(SledPersistence::open_with(dir, durability)?),
            (Self::Sled, None) => both(SledPersistence::open_read_only(dir)?),
            (Self::Sqlite, Some(durability)) => both(SqlitePersistence::open_with(dir, durability)?),
            (Self::Sqlite, None) => both(SqlitePersistence::open_read_only(dir)?),
        })
    }

    /// Copies the store in a directory, which is only read, to a new one.
    pub(crate) async fn backup(self, dir: &Path, to: &Path) -> Result<(), PersistenceError> {
        match self {
            Self::Redb => RedbPersistence::open_read_only(dir)?.backup(to).await,
            Self::Sled => SledPersistence::open_read_only(dir)?.backup(to).await,
            Self::Sqlite => SqlitePersistence::open_read_only(dir)?.backup(to).await,
        }
    }
}

/// A channel as the store in this directory has it, its rows counted; an error concerns this channel only.
pub(crate) async fn load(store: &dyn Persistence, dir: &Path, channel: &ChannelId) -> anyhow::Result<ChannelData> {
    let data = store.load_channel(channel).await.map_err(|error| explain(dir, &error))?;
    match data.check() {
        Ok(()) => Ok(data),
        Err(mismatch) => bail!("the store in {} is damaged: channel {channel}: {mismatch}", dir.display()),
    }
}

/// What the system has against a directory, and what to do; nothing for what no other directory would mend.
fn obstacle(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            Some("there is a file of that name, or above it; choose a directory, or a name for a new one")
        }
        io::ErrorKind::PermissionDenied => {
            Some("this user has no right to it; choose another directory, or let its owner give the right")
        }
        io::ErrorKind::ReadOnlyFilesystem => Some("nothing can be written there; choose another directory"),
        io::ErrorKind::NotFound => Some("no directory can be made there; choose another one"),
        io::ErrorKind::InvalidFilename => Some("its name is too long, or not one; choose another directory"),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Some(NO_SPACE),
        _ => None,
    }
}

/// What the system does not let happen, with what to do about it where that is known.
pub(crate) fn cannot(what: &str, error: io::Error) -> anyhow::Error {
    match obstacle(&error) {
        Some(obstacle) => anyhow!("{what}: {obstacle}"),
        None => anyhow::Error::new(error).context(what.to_owned()),
    }
}

/// Whether something can be written in this directory, which the store has tried to make, too.
fn tried(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    tempfile::tempfile_in(dir).map(drop)
}

/// What keeps somebody from a store, in one line.
pub(crate) fn explain(dir: &Path, error: &PersistenceError) -> anyhow::Error {
    let shown = dir.display();
    let is_io = matches!(error.kind, PersistenceErrorKind::Io);
    if let Some(obstacle) = is_io.then(|| tried(dir).err()).flatten().as_ref().and_then(obstacle) {
        return anyhow!("cannot use the store in {shown}: {obstacle}");
    }
    let cause = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    let of = error.channel.as_ref().map(|channel| format!("channel {channel}: ")).unwrap_or_default();
    match &error.kind {
        PersistenceErrorKind::Locked => anyhow!("the store in {shown} is in use; look again when its owner has ended"),
        PersistenceErrorKind::StorageFull => anyhow!("cannot use the store in {shown}: {of}{NO_SPACE}"),
        PersistenceErrorKind::Corrupt { what } => anyhow!("the store in {shown} is damaged: {of}{what}"),
        PersistenceErrorKind::UnknownVersion { .. } => anyhow!("cannot read the store in {shown}: {of}{}", error.kind),
        PersistenceErrorKind::Unsupported if error.verb == "open" => {
            anyhow!("this engine cannot keep that durability: \"os\" is kept by SQLite alone, --store sqlite")
        }
        kind => anyhow!("cannot use the store in {shown}: {of}{kind}{cause}"),
    }
}
