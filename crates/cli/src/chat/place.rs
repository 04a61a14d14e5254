//! Who chats here, and where it is kept.
//!
//! What: [`Place`], a name and a store. Why a name of its own for each terminal: a sender id is one device's, and two
//! terminals are two. How it moves: what is asked for is opened; without a name, the first of the user's places that no
//! other chat has open. A place keeps its name in a file beside the store.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use reliable_channel::store::{Durability, Persistence, PersistenceError, PersistenceErrorKind};
use sha2::{Digest as _, Sha256};

use crate::store::{Kind, explain};

/// The file with the name.
const NAME: &str = "name";
/// Bytes of a name as a part of a path, beside what stands before it: file systems take 255 in all.
const LONGEST: usize = 200;
/// Chats without a name at the same time.
const MAX_UNNAMED: u32 = 100;

pub(super) struct Place {
    pub(super) name: String,
    pub(super) dir: PathBuf,
    pub(super) store: Arc<dyn Persistence>,
}

impl Place {
    /// The place of this name, in this directory; what is not given is chosen.
    pub(super) fn find(name: Option<&str>, dir: Option<&Path>) -> anyhow::Result<Self> {
        match (name, dir) {
            (_, Some(dir)) => Self::open(dir, name)?.map_err(|error| explain(dir, &error)),
            (Some(name), None) => {
                let dir = root()?.join(format!("name-{}", encoded(name)));
                Self::open(&dir, Some(name))?.map_err(|error| match error.kind {
                    PersistenceErrorKind::Locked => {
                        anyhow::anyhow!("{name} chats in another terminal already; choose another --name")
                    }
                    _ => explain(&dir, &error),
                })
            }
            (None, None) => Self::unnamed(&root()?),
        }
    }

    /// The first place that no other chat has open.
    fn unnamed(root: &Path) -> anyhow::Result<Self> {
        for number in 1..=MAX_UNNAMED {
            let dir = root.join(number.to_string());
            match Self::open(&dir, None)? {
                Ok(place) => return Ok(place),
                Err(error) if matches!(error.kind, PersistenceErrorKind::Locked) => {}
                Err(error) => return Err(explain(&dir, &error)),
            }
        }
        bail!("{MAX_UNNAMED} chats are open already; choose a --name")
    }

    /// Opens a directory. The inner error is the store's.
    fn open(dir: &Path, wanted: Option<&str>) -> anyhow::Result<Result<Self, PersistenceError>> {
        let store = match Kind::Redb.open(dir, Some(Durability::Immediate)) {
            Ok((store, _)) => store,
            Err(error) => return Ok(Err(error)),
        };
        let file = dir.join(NAME);
        let kept = fs::read_to_string(&file).ok().map(|kept| kept.trim().to_owned()).filter(|kept| !kept.is_empty());
        let name = match (kept, wanted) {
            (Some(kept), Some(wanted)) if kept != wanted => {
                bail!("{} is {kept}'s; leave out --name, or choose another --data", dir.display())
            }
            (Some(kept), _) => return Ok(Ok(Self { name: kept, dir: dir.to_owned(), store })),
            (None, Some(wanted)) => wanted.to_owned(),
            (None, None) => invented()?,
        };
        fs::write(&file, &name).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Ok(Self { name, dir: dir.to_owned(), store }))
    }
}

/// Where the user's chats are.
fn root() -> anyhow::Result<PathBuf> {
    let of = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) { of("LOCALAPPDATA") } else { of("XDG_DATA_HOME") };
    let data = data.or_else(|| of("HOME").map(|home| home.join(".local/share")));
    Ok(data.context("there is no home directory to keep it in; choose one with --data")?.join("reliable-channel/chat"))
}

/// The user's name and some random digits: in a network there are many of a name.
fn invented() -> anyhow::Result<String> {
    let user = ["USER", "LOGNAME", "USERNAME"].into_iter().find_map(|variable| env::var(variable).ok());
    let user: String = user.unwrap_or_default().chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let mut random = [0; 2];
    getrandom::fill(&mut random).context("no random digits")?;
    Ok(format!("{}-{}", if user.is_empty() { "somebody" } else { &user }, hex::encode(random)))
}

/// A name as a part of a path; of a long one its beginning, and a hash in place of the rest.
fn encoded(name: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let shown = |byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") };
    let whole: String = name.bytes().map(shown).collect();
    if whole.len() <= LONGEST {
        return whole;
    }
    format!("{}%{}", &whole[..LONGEST / 2], hex::encode(&Sha256::digest(name)[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chats_without_a_name_have_places_of_their_own_and_find_them_again() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (Place::unnamed(root.path()).unwrap(), Place::unnamed(root.path()).unwrap());
        let names = (one.name.clone(), two.name.clone());
        assert_ne!(names.0, names.1);
        assert_ne!(one.dir, two.dir);
        drop((one, two));
        let (one, two) = (Place::unnamed(root.path()).unwrap(), Place::unnamed(root.path()).unwrap());
        assert_eq!((one.name.clone(), two.name.clone()), names);
    }

    #[test]
    fn a_place_keeps_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("new");
        drop(Place::find(Some("alice/phone"), Some(&dir)).unwrap());
        assert_eq!(Place::find(None, Some(&dir)).unwrap().name, "alice/phone");
        let other = Place::find(Some("bob"), Some(&dir)).err().unwrap().to_string();
        assert!(other.contains("is alice/phone's; leave out --name"), "{other}");
    }

    #[test]
    fn no_name_leaves_the_folder() {
        assert_eq!(encoded("alice/phone"), "alice%2fphone");
        assert_eq!(encoded("../ü"), "..%2f%c3%bc");
        let (one, other) = ("ü".repeat(80), "ü".repeat(81));
        assert_eq!(encoded(&one).len(), 100 + 1 + 32);
        assert_ne!(encoded(&one), encoded(&other));
    }
}
