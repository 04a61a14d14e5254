//! What somebody said, as it is shown: a text, or a file and where it is.
//!
//! How it moves: a delivery is shown as it comes, and a file in it is kept; what the log has is shown without reading its
//! files, but for those that a crash kept from being kept.

use reliable_channel::channel::Delivery;
use reliable_channel::reliable::Entry;
use reliable_channel::state::LogKey;
use reliable_channel::types::ParticipantId;

use super::file::{Files, Said, about};

/// One thing that was said.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) key: LogKey,
    pub(super) sender: ParticipantId,
    /// The text, or what is said of the file.
    pub(super) text: String,
    pub(super) is_file: bool,
    pub(super) late: bool,
}

impl Heard {
    /// What came now.
    pub(super) fn now(delivery: &Delivery, files: &Files) -> Self {
        let body = &delivery.body;
        let (text, is_file) = match Said::of(&body.content) {
            Said::Text(text) => (text, false),
            Said::File { name, header } => {
                let content = &body.content[header..];
                let kept = files.keep(&body.key.id, name, content);
                (kept_or_not(name, content.len() as u64, kept.map(|path| format!("in {}", path.display()))), true)
            }
        };
        let late = delivery.late || delivery.history;
        Self { key: body.key.clone(), sender: body.sender.clone(), text, is_file, late }
    }

    /// What the log has; none where that is not whole.
    pub(super) fn earlier(entry: Entry, files: &Files) -> Option<Self> {
        let (key, sender, late) = (entry.key().clone(), entry.sender().clone(), entry.is_late());
        let heard = |text, is_file| Some(Self { key: key.clone(), sender, text, is_file, late });
        let (name, header) = match Said::of(entry.beginning()) {
            Said::Text(text) if text.len() == entry.bytes() => return heard(text, false),
            Said::Text(_) => return heard(text_of(entry)?, false),
            Said::File { name, header } => (name.to_owned(), header),
        };
        let bytes = entry.bytes().saturating_sub(header) as u64;
        if entry.is_own() {
            return heard(about(&name, bytes), true);
        }
        let place = files.place(&key.id, &name);
        let kept = match (files.has(&key.id), place.exists()) {
            (true, true) => Ok(format!("in {}", place.display())),
            (true, false) => Ok("which is not there any more".to_owned()),
            (false, _) => {
                let body = entry.read()?.body;
                files.keep(&key.id, &name, &body.content[header..]).map(|path| format!("in {}", path.display()))
            }
        };
        heard(kept_or_not(&name, bytes, kept), true)
    }
}

/// What was said, without where it is.
pub(super) fn beginning(entry: Entry) -> String {
    match Said::of(entry.beginning()) {
        Said::Text(text) => text,
        Said::File { name, header } => about(name, entry.bytes().saturating_sub(header) as u64),
    }
}

fn kept_or_not(name: &str, bytes: u64, kept: anyhow::Result<String>) -> String {
    let kept = kept.unwrap_or_else(|error| format!("not kept: {error:#}"));
    format!("{}, {kept}", about(name, bytes))
}

fn text_of(entry: Entry) -> Option<String> {
    Some(String::from_utf8_lossy(&entry.read()?.body.content).into_owned())
}
