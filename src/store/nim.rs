//! Reads what nim-sds saved of a channel.
//!
//! What: [`import`], from a nim-sds `ChannelMeta` or `ChannelData` blob to our [`ChannelData`]. Why: a participant that
//! changes over keeps its log, what is unacknowledged and what waits. How it moves: the blob is parsed whole, strictly;
//! each message becomes one row, and what nim copies along (filters, cached answers) is left behind. So are requests for
//! messages that are here: nim goes on asking for what arrived and waits, and a channel does not.
//!
//! nim-sds writes its buffers one after the other without a length or a checksum, so that a blob cut between two
//! entries reads like a whole one, and nim loads it as such. Nothing in the bytes can tell: [`import`] takes the length
//! that the blob must have, from wherever the caller knows it, and says [`Doubt::MayBeCutShort`] where nobody knows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use crate::state::{
    Body, ChannelData, ChannelMeta, LogKey, Logged, Outgoing, Parked, Request, Response, Row, RowCounts,
};
use crate::types::{ChannelId, Dialect, HistoryEntry, Lamport, MessageId, ParticipantId, WallTime};

/// The one version of these blobs.
const SCHEMA: u64 = 1;
/// nim's Lamport time counts seconds, ours milliseconds.
const MS_PER_SECOND: u64 = 1_000;

/// Which of nim's two blobs.
///
/// See the [example](crate::store#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Snapshot<'a> {
    /// `ChannelMeta`: clock and buffers, without the history.
    Meta(&'a [u8]),
    /// `ChannelData`: a `ChannelMeta`, then the history.
    Data(&'a [u8]),
}

/// What was read.
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The channel that its messages name; `None` when there is no message.
    pub channel: Option<ChannelId>,
    /// Ready for [`Persistence::commit`](super::Persistence::commit).
    pub data: ChannelData,
    /// What the caller should know.
    pub doubts: Vec<Doubt>,
}

/// What cannot be told from the blob, or could not be taken over.
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Doubt {
    /// No length was given: entries at the end of the blob may be missing.
    MayBeCutShort,
    /// A message without content, which nim makes of a sync message; left out.
    WithoutContent(MessageId),
    /// An answer to a repair request for a message that is not in the history; left out.
    AnswerWithoutMessage(MessageId),
}

/// Why a blob was refused. Nothing of it was taken over.
///
/// See the [example](crate::store#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The blob has another length than it must have.
    #[error("{found} bytes, expected {expected}: cut short or not this snapshot")]
    Length {
        /// As the caller said.
        expected: usize,
        /// As it is.
        found: usize,
    },
    /// Not the encoding of such a blob.
    #[error("not a snapshot of nim-sds: {0}")]
    Malformed(String),
    /// A field that nim always writes is not there.
    #[error("field {0} is missing")]
    Missing(&'static str),
    /// Another version of the blob.
    #[error("schema version {0} is not known")]
    UnknownVersion(u64),
    /// A Lamport time below zero or beyond ours.
    #[error("lamport time {0} is out of range")]
    Lamport(i64),
    /// Messages of two channels in one blob.
    #[error("messages of channels {0} and {1}")]
    TwoChannels(ChannelId, ChannelId),
}

/// Reads a blob. `own` is this participant, whose messages have no delivery number; `length` is what the blob's length
/// must be, where the caller knows.
///
/// # Errors
/// [`ImportError`]; nothing is guessed.
pub fn import(snapshot: Snapshot<'_>, own: &ParticipantId, length: Option<usize>) -> Result<Imported, ImportError> {
    let (Snapshot::Meta(blob) | Snapshot::Data(blob)) = snapshot;
    let malformed = |error: prost::DecodeError| ImportError::Malformed(error.to_string());
    if let Some(expected) = length.filter(|expected| *expected != blob.len()) {
        return Err(ImportError::Length { expected, found: blob.len() });
    }
    let (meta, history) = match snapshot {
        Snapshot::Meta(blob) => (wire::Meta::decode(blob).map_err(malformed)?, Vec::new()),
        Snapshot::Data(blob) => {
            let data = wire::Data::decode(blob).map_err(malformed)?;
            (data.meta.ok_or(ImportError::Missing("meta"))?, data.history)
        }
    };
    match meta.schema.ok_or(ImportError::Missing("schema version"))? {
        SCHEMA => {}
        other => return Err(ImportError::UnknownVersion(other)),
    }
    let mut reader = Reader { own, channel: None, rows: BTreeMap::new(), doubts: Vec::new(), deliveries: 0 };
    if length.is_none() {
        reader.doubts.push(Doubt::MayBeCutShort);
    }
    let clock = lamport(meta.lamport.ok_or(ImportError::Missing("lamport timestamp"))?)?;
    reader.history(history)?;
    reader.outgoing(meta.outgoing)?;
    reader.incoming(meta.incoming)?;
    reader.repair(meta.requests, meta.responses)?;
    Ok(reader.finish(clock))
}

struct Reader<'a> {
    own: &'a ParticipantId,
    channel: Option<ChannelId>,
    rows: BTreeMap<crate::state::RowKey, Row>,
    doubts: Vec<Doubt>,
    deliveries: u64,
}

impl Reader<'_> {
    fn history(&mut self, messages: Vec<wire::Message>) -> Result<(), ImportError> {
        let bodies = messages.into_iter().map(|message| self.body(message)).collect::<Result<Vec<_>, _>>()?;
        for body in bodies.into_iter().flatten() {
            self.log(body);
        }
        Ok(())
    }

    /// A message that was delivered or sent. nim's order is that of arrival, and with it ours of delivery.
    fn log(&mut self, body: Arc<Body>) {
        let own = self.own;
        let deliveries = &mut self.deliveries;
        self.rows.entry(crate::state::RowKey::body(&body.key)).or_insert_with(|| {
            let delivery = (body.sender != *own).then(|| {
                *deliveries += 1;
                *deliveries
            });
            let seen = WallTime::from_millis(body.key.lamport.0);
            Row::Message(Logged { delivery, ..Logged::new(body, seen) })
        });
    }

    fn outgoing(&mut self, entries: Vec<wire::Outgoing>) -> Result<(), ImportError> {
        for entry in entries {
            let message = entry.message.ok_or(ImportError::Missing("message of an outgoing entry"))?;
            let sent = WallTime::from_millis(entry.sent_ms.unwrap_or_default());
            if let Some(body) = self.body(message)? {
                let outgoing = Row::Outgoing(Outgoing {
                    key: body.key.clone(),
                    first_sent: sent,
                    last_sent: sent,
                    next_due: sent,
                    attempts: u32::try_from(entry.attempts.unwrap_or_default()).unwrap_or(u32::MAX),
                    failed: false,
                    uncertain: None,
                    filters_heard_at_send: 0,
                    evidence: vec![],
                });
                self.log(body);
                self.rows.insert(outgoing.key(), outgoing);
            }
        }
        Ok(())
    }

    fn incoming(&mut self, entries: Vec<wire::Incoming>) -> Result<(), ImportError> {
        for entry in entries {
            let message = entry.message.ok_or(ImportError::Missing("message of an incoming entry"))?;
            if let Some(body) = self.body(message)? {
                // One that is delivered waits no more.
                self.rows.entry(crate::state::RowKey::body(&body.key)).or_insert_with(|| {
                    let seen = WallTime::from_millis(body.key.lamport.0);
                    Row::Parked(Parked { body, seen, parked_at_age_ms: 0 })
                });
            }
        }
        Ok(())
    }

    fn repair(&mut self, requests: Vec<wire::Request>, responses: Vec<wire::Response>) -> Result<(), ImportError> {
        let here = self.bodies().map(|body| body.key.id.clone()).collect::<BTreeSet<_>>();
        for request in requests {
            let timed = request.timed.ok_or(ImportError::Missing("entry of a repair request"))?;
            let entry = history_entry(timed.entry.ok_or(ImportError::Missing("entry of a repair request"))?)?;
            if here.contains(&entry.id) {
                continue;
            }
            let due = WallTime::from_millis(timed.due_ms.unwrap_or_default());
            let row = Row::Request(Request { entry, due, sent: 0, heard: 0, since_age_ms: 0, named_at_age_ms: 0 });
            self.rows.insert(row.key(), row);
        }
        for response in responses {
            let id = MessageId::new(response.id.ok_or(ImportError::Missing("id of a repair answer"))?);
            let due_ms = response.timed.and_then(|timed| timed.due_ms).unwrap_or_default();
            let logged = |row: &Row| matches!(row, Row::Message(logged) if logged.body.key.id == id);
            if self.rows.values().any(logged) {
                let row = Row::Response(Response { id, due: WallTime::from_millis(due_ms) });
                self.rows.insert(row.key(), row);
            } else {
                self.doubts.push(Doubt::AnswerWithoutMessage(id));
            }
        }
        Ok(())
    }

    /// The messages read so far, delivered or parked.
    fn bodies(&self) -> impl Iterator<Item = &Body> {
        self.rows.values().filter_map(|row| match row {
            Row::Message(logged) => Some(&*logged.body),
            Row::Parked(parked) => Some(&*parked.body),
            _ => None,
        })
    }

    /// A message's lasting part; `None` without content. nim-sds 0.4 leaves out what is 0 or empty.
    fn body(&mut self, message: wire::Message) -> Result<Option<Arc<Body>>, ImportError> {
        let id = MessageId::new(message.id.ok_or(ImportError::Missing("message id"))?);
        let channel = ChannelId::new(message.channel.ok_or(ImportError::Missing("channel id"))?);
        match &self.channel {
            Some(known) if *known != channel => return Err(ImportError::TwoChannels(known.clone(), channel)),
            _ => self.channel = Some(channel),
        }
        let lamport = lamport(message.lamport.unwrap_or_default())?;
        let content = message.content.unwrap_or_default();
        if content.is_empty() {
            self.doubts.push(Doubt::WithoutContent(id));
            return Ok(None);
        }
        let causal_history = message.history.into_iter().map(history_entry).collect::<Result<_, _>>()?;
        let sender = ParticipantId::new(message.sender.unwrap_or_default());
        Ok(Some(Arc::new(Body { causal_history, ..Body::new(LogKey { lamport, id }, sender, content) })))
    }

    fn finish(self, clock: Lamport) -> Imported {
        let rows: Vec<Row> = self.rows.into_values().collect();
        let mut counts = RowCounts::default();
        let (mut oldest, mut newest, mut highest) = (None, None, Lamport(0));
        for row in &rows {
            match row {
                Row::Message(logged) => {
                    counts.messages += 1;
                    oldest.get_or_insert_with(|| logged.body.key.clone());
                    newest = Some(logged.body.key.clone());
                    highest = highest.max(logged.body.key.lamport);
                }
                Row::Parked(_) => counts.parked += 1,
                Row::Outgoing(_) => counts.outgoing += 1,
                Row::Request(_) => counts.requests += 1,
                Row::Response(_) => counts.responses += 1,
                Row::Stub(_) | Row::Mark(_) | Row::Incarnation(_) | Row::Member(_) => {}
            }
        }
        let meta = ChannelMeta {
            dialect: Dialect::NimSds,
            lamport: clock.max(highest),
            highest_received: highest,
            next_delivery: self.deliveries + 1,
            told: self.deliveries,
            counts,
            oldest,
            newest,
            ..ChannelMeta::default()
        };
        let data = ChannelData { meta: Some(meta), rows, hints: vec![] };
        Imported { channel: self.channel, data, doubts: self.doubts }
    }
}

fn lamport(seconds: i64) -> Result<Lamport, ImportError> {
    let milliseconds = u64::try_from(seconds).ok().and_then(|seconds| seconds.checked_mul(MS_PER_SECOND));
    milliseconds.map(Lamport).ok_or(ImportError::Lamport(seconds))
}

fn history_entry(entry: wire::Entry) -> Result<HistoryEntry, ImportError> {
    let id = MessageId::new(entry.id.ok_or(ImportError::Missing("id of a history entry"))?);
    // nim writes an empty field for what it does not know.
    let known = |bytes: Option<Bytes>| bytes.filter(|bytes| !bytes.is_empty());
    Ok(HistoryEntry { id, hint: known(entry.hint), sender: known(entry.sender).map(ParticipantId::new) })
}

/// nim's protobuf, as its vectors show it.
mod wire {
    use bytes::Bytes;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Data {
        #[prost(message, optional, tag = "1")]
        pub(super) meta: Option<Meta>,
        #[prost(message, repeated, tag = "2")]
        pub(super) history: Vec<Message>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Meta {
        #[prost(uint64, optional, tag = "1")]
        pub(super) schema: Option<u64>,
        #[prost(int64, optional, tag = "2")]
        pub(super) lamport: Option<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(super) outgoing: Vec<Outgoing>,
        #[prost(message, repeated, tag = "4")]
        pub(super) incoming: Vec<Incoming>,
        #[prost(message, repeated, tag = "5")]
        pub(super) requests: Vec<Request>,
        #[prost(message, repeated, tag = "6")]
        pub(super) responses: Vec<Response>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Message {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(super) id: Option<Bytes>,
        #[prost(int64, optional, tag = "2")]
        pub(super) lamport: Option<i64>,
        #[prost(message, repeated, tag = "3")]
        pub(super) history: Vec<Entry>,
        #[prost(bytes = "bytes", optional, tag = "4")]
        pub(super) channel: Option<Bytes>,
        #[prost(bytes = "bytes", optional, tag = "5")]
        pub(super) content: Option<Bytes>,
        #[prost(bytes = "bytes", optional, tag = "7")]
        pub(super) sender: Option<Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Entry {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(super) id: Option<Bytes>,
        #[prost(bytes = "bytes", optional, tag = "2")]
        pub(super) hint: Option<Bytes>,
        #[prost(bytes = "bytes", optional, tag = "3")]
        pub(super) sender: Option<Bytes>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Outgoing {
        #[prost(message, optional, tag = "1")]
        pub(super) message: Option<Message>,
        #[prost(uint64, optional, tag = "2")]
        pub(super) sent_ms: Option<u64>,
        #[prost(uint64, optional, tag = "3")]
        pub(super) attempts: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Incoming {
        #[prost(message, optional, tag = "1")]
        pub(super) message: Option<Message>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Request {
        #[prost(message, optional, tag = "2")]
        pub(super) timed: Option<TimedRequest>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimedRequest {
        #[prost(message, optional, tag = "1")]
        pub(super) entry: Option<Entry>,
        #[prost(uint64, optional, tag = "2")]
        pub(super) due_ms: Option<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Response {
        #[prost(bytes = "bytes", optional, tag = "1")]
        pub(super) id: Option<Bytes>,
        #[prost(message, optional, tag = "2")]
        pub(super) timed: Option<TimedResponse>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TimedResponse {
        #[prost(uint64, optional, tag = "3")]
        pub(super) due_ms: Option<u64>,
    }
}
