//! Files in a conversation: how one travels, and where one that comes is kept.
//!
//! What: [`sealed`] makes a payload of a file, [`Said::of`] tells a file from a text, and [`Files`] keeps what was received.
//! Why a directory for each: a file has the name that its sender gave it, and none takes another one's place. How it moves:
//! read, sent as any payload, told apart by its first byte, which no text has, and written whole before it has its name.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use reliable_channel::types::{ChannelId, MessageId};
use sha2::{Digest as _, Sha256};

use crate::screen::plain;

/// What a file begins with. No text does: 0xff is no byte of UTF-8.
const MAGIC: &[u8] = b"\xfffile\x01";
/// Bytes of a name, so that its length is one byte.
const MAX_NAME: usize = 255;
/// Bytes of the name of a file that is kept; more are cut away before its ending.
const MAX_KEPT_NAME: usize = 120;
/// Bytes that what was received may take in all.
const MAX_KEPT: u64 = 1 << 30;
/// The beginning of the name of what is not whole yet.
const PART: &str = ".part-";

/// The command that sends a file.
pub(super) const COMMAND: &str = "/file";

/// What a line asks to be sent, if it is that command: a path, which may be empty.
pub(super) fn asked(line: &str) -> Option<&str> {
    let path = line.strip_prefix(COMMAND)?;
    (path.is_empty() || path.starts_with(char::is_whitespace)).then(|| unquoted(path.trim()))
}

/// Terminals put quotes around what is dropped on them.
fn unquoted(path: &str) -> &str {
    let inner = |quote| path.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).unwrap_or(path)
}

/// What is said of the file at this path, and its payload. It is refused before it is read where it is larger than `max` bytes.
pub(super) fn sealed(path: &str, max: usize) -> anyhow::Result<(String, Vec<u8>)> {
    if path.is_empty() {
        bail!("say which file, as: {COMMAND} photo.jpg");
    }
    let path = match path.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((rest, home)) => home.join(rest),
        None => PathBuf::from(path),
    };
    let shown = path.display();
    let found = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!("there is no file {shown}"),
        found => found.with_context(|| format!("cannot read {shown}"))?,
    };
    if found.is_dir() {
        bail!("{shown} is a directory; pack it into one file");
    }
    if !found.is_file() {
        bail!("{shown} is no file");
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = head(&name, MAX_NAME);
    let mut payload = [MAGIC, &[name.len() as u8], name.as_bytes()].concat();
    let room = max.saturating_sub(payload.len()) as u64;
    let too_large = |bytes| anyhow!("{shown} is too large: {}, and at most {} can be sent", size(bytes), size(room));
    if found.len() > room {
        return Err(too_large(found.len()));
    }
    let file = fs::File::open(&path).with_context(|| format!("cannot read {shown}"))?;
    let read = file.take(room + 1).read_to_end(&mut payload).with_context(|| format!("cannot read {shown}"))?;
    if read as u64 > room {
        // It grew.
        return Err(too_large(read as u64));
    }
    Ok((about(name, read as u64), payload))
}

/// A file of this name and so many bytes.
pub(super) fn about(name: &str, bytes: u64) -> String {
    format!("{name}, {}", size(bytes))
}

/// What a payload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    Text(String),
    /// A file, of which the name and where the content begins.
    File {
        name: &'a str,
        header: usize,
    },
}

impl<'a> Said<'a> {
    /// What a payload is that begins so.
    pub(super) fn of(beginning: &'a [u8]) -> Self {
        Self::file(beginning).unwrap_or_else(|| Self::Text(String::from_utf8_lossy(beginning).into_owned()))
    }

    fn file(beginning: &'a [u8]) -> Option<Self> {
        let (length, rest) = beginning.strip_prefix(MAGIC)?.split_first()?;
        let name = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
        Some(Self::File { name, header: MAGIC.len() + 1 + name.len() })
    }
}

/// Where what is received is kept.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
    channel: ChannelId,
}

impl Files {
    /// In this directory, which is made when it is needed. What an earlier run left unfinished goes.
    pub(super) fn new(dir: PathBuf, channel: ChannelId) -> Self {
        for unfinished in entries(&dir).filter(|path| path.file_name().is_some_and(is_part)) {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(unfinished);
        }
        Self { dir, channel }
    }

    /// Where the file of this name that a message carried is kept.
    pub(super) fn place(&self, id: &MessageId, name: &str) -> PathBuf {
        self.folder(id).join(safe(name))
    }

    /// Whether it was kept, whether or not its user has left it there.
    pub(super) fn has(&self, id: &MessageId) -> bool {
        self.folder(id).exists()
    }

    /// Keeps a file that came, unless it was kept before.
    pub(super) fn keep(&self, id: &MessageId, name: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
        let place = self.place(id, name);
        if self.has(id) {
            return Ok(place);
        }
        let taken: u64 = entries(&self.dir).flat_map(|folder| entries(&folder)).map(|file| length(&file)).sum();
        if taken.saturating_add(content.len() as u64) > MAX_KEPT {
            bail!("{} has {} already; remove what you do not need", self.dir.display(), size(taken));
        }
        self.write(id, name, content).with_context(|| format!("cannot write to {}", self.dir.display()))?;
        Ok(place)
    }

    /// All of it is written before it has its name.
    fn write(&self, id: &MessageId, name: &str, content: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let part = tempfile::Builder::new().prefix(PART).tempdir_in(&self.dir)?;
        let mut file = fs::File::create_new(part.path().join(safe(name)))?;
        file.write_all(content)?;
        file.sync_all()?;
        drop(file);
        fs::rename(part.path(), self.folder(id))?;
        // It has another name now.
        let _ = part.keep();
        Ok(())
    }

    fn folder(&self, id: &MessageId) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update((self.channel.len() as u64).to_be_bytes());
        hash.update(self.channel.as_bytes());
        hash.update(id.as_bytes());
        self.dir.join(hex::encode(&hash.finalize()[..8]))
    }
}

fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    // One that is not there has none.
    fs::read_dir(dir).into_iter().flatten().filter_map(|entry| entry.ok().map(|entry| entry.path()))
}

fn is_part(name: &std::ffi::OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(PART))
}

fn length(file: &Path) -> u64 {
    fs::symlink_metadata(file).map_or(0, |about| about.len())
}

/// A name that means a file in the directory it is put into, on any system.
fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept = |c: char| if c.is_control() || "<>:\"|?*".contains(c) { '_' } else { c };
    let name: String = plain(last).chars().map(kept).collect();
    let name = name.trim().trim_start_matches('.').trim_end_matches(['.', ' ']);
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let reserved = ["con", "prn", "aux", "nul", "conin$", "conout$"];
    let first = stem.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered =
        first.len() >= 4 && ["com", "lpt"].iter().any(|device| first.starts_with(device)) && first.chars().count() == 4;
    let before = if name.is_empty() || reserved.contains(&&*first) || numbered { "file_" } else { "" };
    let name = match ending.len() {
        1..=16 if name.len() > MAX_KEPT_NAME => format!("{}.{ending}", head(stem, MAX_KEPT_NAME - 1 - ending.len())),
        _ => head(name, MAX_KEPT_NAME).to_owned(),
    };
    format!("{before}{name}")
}

/// So many bytes of a text at most.
fn head(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or_default()]
}

/// Bytes, as people say them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} bytes"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Files {
        Files::new(dir.join("files"), "lobby".into())
    }

    #[test]
    fn a_line_asks_for_a_file_only_with_the_whole_word() {
        assert_eq!(asked("/file a b.txt "), Some("a b.txt"));
        assert_eq!(asked("/file '/home/me/my photo.jpg'"), Some("/home/me/my photo.jpg"));
        assert_eq!(asked("/file"), Some(""));
        for text in ["/files are here", " /file a", "file a", "/etc/passwd"] {
            assert_eq!(asked(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_is_never_taken_for_a_text_nor_a_text_for_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("n\u{e4}me.txt");
        fs::write(&path, "content").unwrap();
        let (about, payload) = sealed(path.to_str().unwrap(), 1_000).unwrap();
        assert_eq!(about, "n\u{e4}me.txt, 7 bytes");
        let Said::File { name, header } = Said::of(&payload) else { panic!("a text") };
        assert_eq!((name, &payload[header..]), ("n\u{e4}me.txt", &b"content"[..]));
        // All that a line of text can be.
        let same = String::from_utf8_lossy(&payload).into_owned();
        assert_eq!(Said::of(same.as_bytes()), Said::Text(same.clone()));
        // What breaks the rules of a file is shown as any other bytes are.
        for broken in [&payload[..6], &payload[..9], b"\xfffile\x02\x01a", b"\xfffile\x01\x01\xff"] {
            assert!(matches!(Said::of(broken), Said::Text(_)), "{broken:?}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_told_in_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("large"), [0; 2_000]).unwrap();
        let why = |path: &str| sealed(path, 1_000).unwrap_err().to_string();
        assert_eq!(why(""), "say which file, as: /file photo.jpg");
        assert_eq!(why(&at("none")), format!("there is no file {}", at("none")));
        assert_eq!(why(&at("")), format!("{} is a directory; pack it into one file", at("")));
        assert_eq!(
            why(&at("large")),
            format!("{} is too large: 2.0 kB, and at most 988 bytes can be sent", at("large"))
        );
        assert!(sealed(&at("large"), 2_012).is_ok());
        if cfg!(unix) {
            assert_eq!(why("/dev/null"), "/dev/null is no file");
        }
    }

    #[test]
    fn no_name_leaves_its_folder_or_hides() {
        let cases = [
            ("photo.jpg", "photo.jpg"),
            ("../../.bashrc", "bashrc"),
            ("/etc/passwd", "passwd"),
            ("C:\\windows\\a.exe", "a.exe"),
            ("..", "file_"),
            ("", "file_"),
            ("a\u{202e}gpj.exe\n", "a gpj.exe"),
            ("nul.txt", "file_nul.txt"),
            ("com1", "file_com1"),
            ("a:b", "a_b"),
            ("end. . ", "end"),
        ];
        for (name, expected) in cases {
            assert_eq!(safe(name), expected, "{name:?}");
        }
        let long = format!("{}.jpeg", "\u{e4}".repeat(200));
        assert!(safe(&long).len() <= MAX_KEPT_NAME && safe(&long).ends_with("\u{e4}.jpeg"));
        assert!(safe(&"x".repeat(500)).len() <= MAX_KEPT_NAME);
    }

    #[test]
    fn none_takes_the_place_of_another_and_what_its_user_removed_does_not_come_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = files(dir.path());
        let (one, two) = ("one".into(), "two".into());
        let first = files.keep(&one, "a.txt", b"first").unwrap();
        let second = files.keep(&two, "a.txt", b"second").unwrap();
        assert_eq!(files.keep(&one, "a.txt", b"third").unwrap(), first);
        assert_eq!((fs::read(&first).unwrap(), fs::read(&second).unwrap()), (b"first".to_vec(), b"second".to_vec()));
        assert!(first.starts_with(dir.path()) && first.ends_with("a.txt"));
        fs::remove_file(&first).unwrap();
        files.keep(&one, "a.txt", b"first").unwrap();
        assert!(!first.exists() && files.has(&one));
    }

    #[test]
    fn what_a_crash_left_unfinished_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let kept = files(dir.path()).keep(&"one".into(), "a.txt", b"a").unwrap();
        let part = dir.path().join("files/.part-x");
        fs::create_dir(&part).unwrap();
        fs::write(part.join("b.txt"), "b").unwrap();
        let files = files(dir.path());
        assert!(!part.exists() && kept.exists());
        assert!(files.has(&"one".into()) && !files.has(&"two".into()));
    }
}
