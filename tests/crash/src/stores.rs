//! The stores under test, by name.
//!
//! What: [`Backend`] and [`Store`]. Why one enum: campaigns know stores by the trait alone, and close them in one way.
//! How it moves: [`Backend::open`] where the campaign says, [`Store::close`] at its end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use reliable_channel::store::{Durability, Persistence, PersistenceError};
use serde::{Deserialize, Serialize};

/// A store compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    #[cfg(feature = "redb")]
    Redb,
    #[cfg(feature = "sled")]
    Sled,
    #[cfg(feature = "sqlite")]
    Sqlite,
}

/// When a write counts as done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Mode {
    /// Nothing acknowledged is lost.
    #[default]
    Immediate,
    /// Either crash may lose the last 20 ms.
    Batched,
    /// A power cut may lose what the system had not written.
    Buffered,
}

/// An open store.
pub struct Store {
    pub persistence: Arc<dyn Persistence>,
    close: Box<dyn FnOnce() -> Closing>,
}

type Closing = std::pin::Pin<Box<dyn Future<Output = Result<(), PersistenceError>>>>;

impl Backend {
    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    pub fn open(self, dir: &Path, mode: Mode) -> Result<Store, PersistenceError> {
        let durability = match mode {
            Mode::Immediate => Durability::Immediate,
            Mode::Batched => Durability::Batched { max_delay: Duration::from_millis(20) },
            Mode::Buffered => Durability::OsBuffered,
        };
        macro_rules! store {
            ($kind:ty) => {{
                let store = Arc::new(<$kind>::open_with(dir, durability)?);
                let persistence: Arc<dyn Persistence> = store.clone();
                Ok(Store { persistence, close: Box::new(move || Box::pin(async move { store.close().await })) })
            }};
        }
        match self {
            #[cfg(feature = "redb")]
            Self::Redb => store!(reliable_channel::store::RedbPersistence),
            #[cfg(feature = "sled")]
            Self::Sled => store!(reliable_channel::store::SledPersistence),
            #[cfg(feature = "sqlite")]
            Self::Sqlite => store!(reliable_channel::store::SqlitePersistence),
        }
    }
}

impl Mode {
    /// How rounds in this mode are called.
    pub fn group(self, of: &str) -> String {
        match self {
            Self::Immediate => of.to_owned(),
            mode => format!("{of}, {}", mode.name()),
        }
    }

    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

impl Store {
    pub async fn close(self) -> Result<(), PersistenceError> {
        (self.close)().await
    }
}
