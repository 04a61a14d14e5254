//! How an archive's messages lie in their stream: [`Places`], [`encode`], [`decode`].
//!
//! What: a subject for each place in a channel's log; the message as the stores on disk keep it (docs/persistence.md), so that
//! what is left of an erased one stays; its rid, and its id where that is too long for a subject, in headers. How it moves: no
//! I/O is done here.

use std::sync::Arc;

use async_nats::HeaderMap;
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use reliable_channel::reconcile::Rid;
use reliable_channel::snapshot::{decode_row, encode_row};
use reliable_channel::state::{Body, LogKey, Logged, Row, RowKey};
use reliable_channel::types::{ChannelId, Lamport, MessageId, WallTime};

use crate::subject::{HASHED, base32, token_of};

const RID: &str = "Rc-Rid";
const ID: &str = "Rc-Id";

/// The subjects of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    root: String,
}

impl Places {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { root: format!("{prefix}.archive.1") }
    }

    /// All of all channels: what the stream keeps.
    pub(crate) fn all(&self) -> String {
        format!("{}.*.*.*", self.root)
    }

    /// All of a channel.
    pub(crate) fn channel(&self, channel: &ChannelId) -> String {
        format!("{}.{}.*.*", self.root, token_of(channel.as_bytes()))
    }

    /// One message. The order of subjects is that of Lamport times, and of no use otherwise.
    pub(crate) fn message(&self, channel: &ChannelId, key: &LogKey) -> String {
        let (channel, id) = (token_of(channel.as_bytes()), token_of(key.id.as_bytes()));
        format!("{}.{channel}.{:016x}.{id}", self.root, key.lamport.0)
    }
}

/// The headers of a message.
pub(crate) fn headers(key: &LogKey, rid: &Rid) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(RID, base32(&rid.0).as_str());
    if token_of(key.id.as_bytes()).starts_with(HASHED) {
        headers.insert(ID, base32(key.id.as_bytes()).as_str());
    }
    headers
}

/// The rid in these headers.
pub(crate) fn rid(headers: &HeaderMap) -> Option<Rid> {
    let rid = read(headers.get(RID)?.as_str())?;
    rid.try_into().ok().map(Rid)
}

/// The place in the log that this subject and these headers name. Whatever names none was put there by somebody else.
pub(crate) fn place(subject: &str, headers: &HeaderMap) -> Option<LogKey> {
    let mut tokens = subject.rsplit('.');
    let (id, lamport) = (tokens.next()?, tokens.next()?);
    let lamport = Lamport(u64::from_str_radix(lamport, 16).ok()?);
    let id = if id.starts_with(HASHED) { headers.get(ID)?.as_str() } else { id };
    Some(LogKey { lamport, id: MessageId::new(read(id)?) })
}

/// A message as it is kept.
pub(crate) fn encode(channel: &ChannelId, body: &Arc<Body>) -> Bytes {
    encode_row(channel, &Row::Message(Logged::new(body.clone(), WallTime::default()))).into()
}

/// The message of this place, if these bytes are one.
pub(crate) fn decode(channel: &ChannelId, key: &LogKey, bytes: Bytes) -> Option<Arc<Body>> {
    match decode_row(channel, &RowKey::body(key), bytes).ok()? {
        Row::Message(logged) => Some(logged.body),
        _ => None,
    }
}

fn read(token: &str) -> Option<Vec<u8>> {
    if token == token_of(&[]) {
        return Some(Vec::new());
    }
    BASE32_NOPAD.decode(token.to_ascii_uppercase().as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use reliable_channel::channel::erased;

    use super::*;

    fn key(id: &[u8]) -> LogKey {
        LogKey { lamport: Lamport(0x1f), id: MessageId::new(id) }
    }

    #[test]
    fn the_subjects_are_those_of_the_readme_and_name_their_place() {
        let (places, lobby) = (Places::new("rc"), ChannelId::from("lobby"));
        assert_eq!(places.all(), "rc.archive.1.*.*.*");
        assert_eq!(places.channel(&lobby), "rc.archive.1.nrxweytz.*.*");
        assert_eq!(places.message(&lobby, &key(b"ab")), "rc.archive.1.nrxweytz.000000000000001f.mfra");
        for id in [&b"ab"[..], b"\xff\x00", &[b'*'; 64], &[b'*'; 65], &[b'*'; 256]] {
            let (key, id_rid) = (key(id), Rid([7; 32]));
            let headers = headers(&key, &id_rid);
            assert_eq!(place(&places.message(&lobby, &key), &headers), Some(key));
            assert_eq!(rid(&headers), Some(id_rid));
        }
    }

    #[test]
    fn what_somebody_else_put_there_is_no_message() {
        let (lobby, key) = (ChannelId::from("lobby"), key(b"ab"));
        let (none, mut short) = (HeaderMap::new(), HeaderMap::new());
        short.insert(RID, "aaaa");
        assert_eq!((rid(&none), rid(&short)), (None, None));
        for subject in ["rc.archive.1.a.xyz.mfra", "rc.archive.1.a.1f.!!", "rc.archive.1.a.1f.1aaaa", "a", ""] {
            assert_eq!(place(subject, &none), None, "{subject}");
        }
        let mut body = Body::new(key.clone(), "alice".into(), "hello".into());
        body.causal_history = vec![reliable_channel::types::HistoryEntry::new("before")];
        for body in [Arc::new(erased(&body)), Arc::new(body)] {
            let bytes = encode(&lobby, &body);
            assert_eq!(decode(&lobby, &key, bytes.clone()), Some(body));
            assert_eq!(decode(&"other".into(), &key, bytes.clone()), None);
            assert_eq!(decode(&lobby, &self::key(b"cd"), bytes.clone()), None);
            assert_eq!(decode(&lobby, &key, bytes.slice(..bytes.len() - 1)), None);
        }
    }
}
