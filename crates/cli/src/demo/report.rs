//! What a demo ends with: who has what, and whether that is what everybody should have.
//!
//! What: [`Report`], as JSON and as a table. Why it compares with what was said and not only the logs with each other:
//! five equally incomplete logs are identical too. How it moves: [`Report::new`] reads the logs once.

use std::collections::BTreeMap;
use std::fmt::Write;

use bytes::Bytes;
use reliable_channel::state::Logged;
use reliable_channel::types::MessageId;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::absence::Returned;
use super::conversation::Conversation;
use super::narrator::time;
use super::participant::Participant;
use crate::screen::{self, Screen};

/// Missing messages that are named.
const NAMED: usize = 3;

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    participants: usize,
    messages: usize,
    delivered: BTreeMap<String, usize>,
    logs_identical: bool,
    transmissions: u64,
    dropped: u64,
    duplicated: u64,
    restarts: u32,
    wire_bytes_per_message: f64,
    virtual_ms: u64,
    /// How one that was away caught up; only where one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    returned: Option<Returned>,
    #[serde(skip)]
    rows: Vec<Row>,
    #[serde(skip)]
    bytes: u64,
}

/// One participant.
#[derive(Debug)]
struct Row {
    name: String,
    messages: usize,
    sent: usize,
    restarts: u32,
    /// Of the part of the log that all have kept.
    digest: String,
    /// Messages in that part.
    kept: usize,
    /// What is wrong with the log.
    faults: Vec<String>,
}

impl Report {
    pub(super) fn new(conversation: &Conversation) -> Self {
        let logs: Vec<Vec<Logged>> = conversation.participants.iter().map(Participant::log).collect();
        let total = conversation.said.len();
        // Below this, some log has evicted what others may still have.
        let evicting = logs.iter().enumerate().filter(|(index, log)| log.len() < conversation.has(*index));
        let common = evicting.filter_map(|(_, log)| log.first()).map(|logged| logged.body.key.clone()).max();
        let rows: Vec<Row> = (0..logs.len())
            .map(|index| {
                let (participant, log) = (&conversation.participants[index], &logs[index]);
                let kept = log.iter().filter(|logged| Some(&logged.body.key) >= common.as_ref());
                let kept: Vec<&Logged> = kept.collect();
                let messages = conversation.has(index);
                let mut faults = faults(log, conversation, total - messages.min(total));
                if messages > total {
                    faults.push(format!("has {messages} messages of {total}"));
                }
                Row {
                    name: participant.name.clone(),
                    messages,
                    sent: conversation.sent(index),
                    restarts: participant.restarts,
                    digest: digest(&kept),
                    kept: kept.len(),
                    faults,
                }
            })
            .collect();
        let counts = conversation.network.counts;
        let messages = total;
        let per_message = counts.bytes as f64 / messages.max(1) as f64;
        Self {
            participants: rows.len(),
            messages,
            delivered: rows.iter().map(|row| (row.name.clone(), row.messages)).collect(),
            logs_identical: rows.windows(2).all(|pair| pair[0].digest == pair[1].digest),
            transmissions: counts.transmissions,
            dropped: counts.dropped,
            duplicated: counts.duplicated,
            restarts: rows.iter().map(|row| row.restarts).sum(),
            wire_bytes_per_message: (per_message * 10.0).round() / 10.0,
            virtual_ms: conversation.now_ms,
            returned: conversation.returned(),
            rows,
            bytes: counts.bytes,
        }
    }

    /// What keeps the logs from being identical and complete, in one line; none when they are.
    pub(super) fn fault(&self) -> Option<String> {
        let mut faults: Vec<String> =
            self.rows.iter().flat_map(|row| row.faults.iter().map(|fault| format!("{} {fault}", row.name))).collect();
        if faults.is_empty() && !self.logs_identical {
            faults.push("the logs have the same messages in different orders".to_owned());
        }
        (!faults.is_empty()).then(|| faults.join("; "))
    }

    /// The table and what it cost.
    pub(super) fn print(&self, screen: &mut Screen) {
        let width = self.rows.iter().map(|row| row.name.len()).max().unwrap_or(0).max("participant".len());
        screen.line("");
        screen.line(format!("{:width$}  delivered    sent  received  restarts  log digest", "participant"));
        for Row { name, messages, sent, restarts, digest, .. } in &self.rows {
            let (of, received) = (format!("{messages}/{}", self.messages), messages - sent);
            screen.line(format!("{name:width$}  {of:>9}  {sent:>6}  {received:>8}  {restarts:>8}  {digest}"));
        }
        screen.line("");
        screen.line(format!(
            "{} transmissions, {} bytes of wire a message; {} copies dropped, {} doubled; {} of virtual time",
            self.transmissions,
            self.bytes / self.messages.max(1) as u64,
            self.dropped,
            self.duplicated,
            time(self.virtual_ms).trim_start(),
        ));
        if self.fault().is_none() {
            let kept = self.rows.iter().map(|row| row.kept).max().unwrap_or(0);
            let part = if kept < self.messages { format!(" in the {kept} newest messages") } else { String::new() };
            screen.line(format!("All {} logs are identical{part} and complete.", self.participants));
        }
    }
}

/// What a log lacks, or has and should not; so many messages never came.
fn faults(log: &[Logged], conversation: &Conversation, lacking: usize) -> Vec<String> {
    let mut faults = Vec::new();
    let mut missing: BTreeMap<&MessageId, (&str, &Bytes)> =
        conversation.said.keys().filter_map(|id| Some((id, conversation.line(id)?))).collect();
    let mut wrong = 0_usize;
    for logged in log {
        let expected = missing.remove(&logged.body.key.id);
        let right = expected.is_some_and(|(sender, text)| {
            logged.body.sender.as_bytes() == sender.as_bytes() && logged.body.content == *text
        });
        wrong += usize::from(!right);
    }
    if lacking > 0 {
        let quote = |(sender, text): &(&str, &Bytes)| {
            format!("{sender}'s \"{}\"", screen::shortened(&String::from_utf8_lossy(text), 20))
        };
        // What was evicted is missing in the log, too; then it cannot be said which never came.
        let named: Vec<String> =
            missing.values().take(if missing.len() == lacking { NAMED } else { 0 }).map(quote).collect();
        let more = if lacking > NAMED { ", ..." } else { "" };
        faults.push(format!("lacks {lacking} of {}: {}{more}", conversation.said.len(), named.join(", ")));
    }
    if wrong > 0 {
        faults.push(format!("has {wrong} messages that nobody sent"));
    }
    faults
}

/// SHA-256 over ids and contents in log order, each after its length: the first 16 hex digits.
fn digest(log: &[&Logged]) -> String {
    let mut hash = Sha256::new();
    for logged in log {
        for part in [logged.body.key.id.as_bytes(), &logged.body.content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize()[..8].iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
