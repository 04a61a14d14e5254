//! A participant's key: 32 bytes in a file that nobody else may read.
//!
//! What: [`keys`] reads the file, or makes it. Why names that end with the key: two programs need to agree on nothing. How
//! it moves: made in whole beside its place and then put there, so that a crash leaves no half of a key.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use reliable_channel::authenticity::Ed25519;

use crate::store::cannot;

/// Bytes of a secret.
const BYTES: usize = 32;

/// The keys of whoever has this file, which is made where it is missing. Names of others must end with their keys.
pub(crate) fn keys(path: &Path) -> anyhow::Result<Ed25519> {
    let secret = match File::open(path) {
        Ok(file) => read(&file, path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make(path)?,
        Err(error) => return Err(error).with_context(|| format!("cannot read the key {}", path.display())),
    };
    Ok(Ed25519::self_certifying(&secret))
}

fn read(file: &File, path: &Path) -> anyhow::Result<[u8; BYTES]> {
    if file.metadata()?.is_dir() {
        bail!("{} is no key but a directory; name a file in it", path.display());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            bail!("others may read the key {}; chmod 600 ends that", path.display());
        }
    }
    let mut bytes = Vec::new();
    file.take(BYTES as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.try_into() {
        Ok(secret) => Ok(secret),
        Err(bytes) => bail!(
            "{} is no key: it has {} bytes, a key has {BYTES}; name another file, or one that is to be made",
            path.display(),
            bytes.len()
        ),
    }
}

fn make(path: &Path) -> anyhow::Result<[u8; BYTES]> {
    let mut secret = [0; BYTES];
    getrandom::fill(&mut secret).context("the system gives no random bits")?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        bail!(
            "cannot make the key {}: there is no directory {}; make it, or name another one",
            path.display(),
            dir.display()
        );
    }
    let written = || {
        // Its owner alone may read it, from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.write_all(&secret)?;
        file.as_file().sync_all()?;
        file.persist_noclobber(path).map_err(|error| error.error)
    };
    written().map_err(|error| cannot(&format!("cannot make the key {}", path.display()), error))?;
    Ok(secret)
}
