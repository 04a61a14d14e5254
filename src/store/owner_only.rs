//! Files and directories that only their owner may read, write or enter.
//!
//! A store holds everything that was said in its channels, so what the engines create has mode 0600 (files) or 0700
//! (directories) on Unix, whatever the process's umask. What was there before keeps its mode: an operator may have opened
//! it to a group on purpose. On other systems files inherit what their directory says.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::path::Path;

/// Options under which a file that is created belongs to its owner alone.
pub(super) fn file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes a file that must not be there yet.
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    file().create_new(true).open(path)
}

/// Makes a directory, and those above it that are missing.
pub(super) fn create_dir_all(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Takes everybody else's access to a file or directory away: for what an engine makes without asking us.
#[cfg(feature = "sled")]
pub(super) fn restrict(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = if path.is_dir() { 0o700 } else { 0o600 };
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    }
    let _ = path;
    Ok(())
}
