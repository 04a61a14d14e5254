//! Payloads in the place of the messages that carried them.
//!
//! How it moves: what is made of several segments takes the place, and the id, of the last data segment, which all participants
//! put in the same place. It carries the causal history of the first, which is what the whole depends on.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::channel::{Cursor, Delivery};
use crate::segment::{self, Bounds, Fate, Reassembly, Recalled};
use crate::state::{Body, LogKey, Logged};
use crate::types::{MessageId, ParticipantId};

/// A payload of the log: who sent it, when, and how it begins. Nothing of it is put together or checked before it is
/// [read](Self::read), so that a log full of files is listed at once.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use reliable_channel::reliable::Node;
/// use reliable_channel::transport::MemoryNetwork;
///
/// let node = Node::builder("alice").transport(MemoryNetwork::new().member()).build()?;
/// let (lobby, _events) = node.join("lobby").await?;
/// lobby.send("hello").await?;
/// for entry in lobby.entries()? {
///     println!("{}: {} bytes, beginning with {:?}", entry.sender(), entry.bytes(), entry.beginning());
///     let whole = entry.read().expect("it is what it was");
///     assert_eq!(whole.body.content, "hello");
/// }
/// # Ok::<(), reliable_channel::reliable::NodeError>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Entry {
    /// The message in whose place it is, with what is known of all.
    place: Logged,
    /// The message that it begins with.
    first: Arc<Body>,
    pieces: Vec<Bytes>,
    /// What the whole must have, where it is of several pieces.
    hash: Option<[u8; 32]>,
}

impl Entry {
    /// Its place in the order that all participants share, and its id.
    #[must_use]
    pub fn key(&self) -> &LogKey {
        &self.place.body.key
    }

    /// Who sent it.
    #[must_use]
    pub fn sender(&self) -> &ParticipantId {
        &self.place.body.sender
    }

    /// Whether this participant sent it.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.place.delivery.is_none()
    }

    /// Whether it came after something that stands below it.
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.place.late
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// How it begins: all of it, unless it came in segments; then what the first one carries.
    #[must_use]
    pub fn beginning(&self) -> &[u8] {
        self.pieces.first().map_or(&[], |piece| piece)
    }

    /// The message with the whole payload; none where that is not what its hash says.
    #[must_use]
    pub fn read(self) -> Option<Logged> {
        let payload = match &self.pieces[..] {
            [one] => one.clone(),
            several => several.concat().into(),
        };
        if self.hash.is_some_and(|hash| !segment::is_of(&hash, &payload)) {
            return None;
        }
        let body = whole_body(&self.place.body, &self.first, payload);
        Some(Logged { body, ..self.place })
    }

    fn of(recalled: Recalled<Logged>) -> Option<Self> {
        let Recalled { mut segments, needed, recovered } = recalled;
        let missing = segments.iter().flat_map(|(_, segment)| segment.missing.iter().cloned()).collect::<BTreeSet<_>>();
        let delivery = segments.iter().filter_map(|(_, segment)| segment.delivery).max();
        let seen = segments.iter().map(|(_, segment)| segment.seen).max()?;
        let first = segments.first()?.1.body.clone();
        let hash = segment::piece(&first.content).map(|(_, hash)| hash).filter(|_| recovered.is_none());
        let pieces = match recovered {
            Some(payload) => vec![payload],
            None => {
                let data = segments.iter().filter(|(index, _)| *index < needed);
                data.filter_map(|(_, segment)| Some(segment::piece(&segment.body.content)?.0)).collect()
            }
        };
        let (_, place) = segments.swap_remove(place_of(&segments, needed)?);
        let late = place.late || delivery != place.delivery;
        let missing = missing.into_iter().collect();
        Some(Self { place: Logged { delivery, seen, late, missing, ..place }, first, pieces, hash })
    }
}

/// The payloads of a log, in log order. What is not whole, or was erased, is left out.
pub(super) fn of_log(log: Vec<Logged>, splits: bool) -> Vec<Entry> {
    let mut reassembly = Reassembly::new(Bounds::none());
    let mut entries = Vec::new();
    for logged in log.into_iter().filter(|logged| !logged.body.is_erased()) {
        let body = logged.body.clone();
        let recalled = match splits {
            true => reassembly.recall(&body.sender, &body.content, logged),
            false => Some(Recalled { segments: vec![(0, logged)], needed: 1, recovered: Some(body.content.clone()) }),
        };
        entries.extend(recalled.and_then(Entry::of));
    }
    // One that was recovered from parity may stand before what was taken meanwhile.
    entries.sort_by(|one, other| one.key().cmp(other.key()));
    entries
}

/// What makes up the payload with this id in a log: all its segments, or it alone.
pub(super) fn parts_of(log: &[Logged], id: &MessageId) -> Vec<MessageId> {
    let hash = |logged: &Logged| segment::piece(&logged.body.content).map(|(_, hash)| hash);
    let one = log.iter().find(|logged| logged.body.key.id == *id);
    let Some((one, whole)) = one.and_then(|one| Some((one, hash(one)?))) else { return vec![id.clone()] };
    let parts = log.iter().filter(|logged| logged.body.sender == one.body.sender && hash(logged) == Some(whole));
    parts.map(|logged| logged.body.key.id.clone()).collect()
}

/// What these deliveries make whole, with what of the log was delivered before them.
pub(super) fn of_deliveries(mut log: Vec<Logged>, deliveries: Vec<Delivery>) -> Vec<Delivery> {
    let numbers: BTreeSet<u64> = deliveries.iter().map(|delivery| delivery.number).collect();
    let before = |number| !numbers.contains(&number);
    log.retain(|logged| !logged.body.is_erased() && logged.delivery.is_some_and(before));
    log.sort_by_key(|logged| logged.delivery);
    let mut reassembly = Reassembly::new(Bounds::none());
    for logged in log {
        let delivery = delivered(&logged);
        let body = logged.body;
        reassembly.recall(&body.sender, &body.content, delivery);
    }
    let whole = |delivery: Delivery| {
        let body = delivery.body.clone();
        match reassembly.take(&body.sender, &body.content, delivery).fate {
            Fate::Whole { payload, segments, needed } => whole_delivery(payload, segments, needed),
            _ => None,
        }
    };
    deliveries.into_iter().filter_map(whole).collect()
}

/// The delivery of a message that was told before.
pub(super) fn delivered(logged: &Logged) -> Delivery {
    Delivery {
        number: logged.delivery.unwrap_or_default(),
        incarnation: 0,
        body: logged.body.clone(),
        position: crate::channel::Position::Newest,
        late: logged.late,
        missing: logged.missing.clone(),
        history: false,
        from_member: true,
        below_stable: logged.below_stable,
    }
}

/// The delivery of a payload: that of its last data segment, at the cursor of whichever came last.
pub(super) fn whole_delivery(payload: Bytes, mut segments: Vec<(usize, Delivery)>, needed: usize) -> Option<Delivery> {
    let missing = segments.iter().flat_map(|(_, segment)| segment.missing.iter().cloned()).collect::<BTreeSet<_>>();
    let completed = segments.iter().map(|(_, segment)| segment.cursor()).max_by_key(|cursor| cursor.number)?;
    let first = segments.first()?.1.body.clone();
    let (_, place) = segments.swap_remove(place_of(&segments, needed)?);
    let Cursor { incarnation, number } = completed;
    // Where it is complete only now, what stands behind it was told before.
    let late = place.late || number != place.number;
    let body = whole_body(&place.body, &first, payload);
    let missing = missing.into_iter().filter(|id| *id != body.key.id).collect();
    Some(Delivery { number, incarnation, body, late, missing, ..place })
}

/// The last data segment, or, if that was recovered, the last one there is.
fn place_of<T>(segments: &[(usize, T)], needed: usize) -> Option<usize> {
    segments.iter().rposition(|(index, _)| *index < needed).or(segments.len().checked_sub(1))
}

fn whole_body(place: &Arc<Body>, first: &Arc<Body>, payload: Bytes) -> Arc<Body> {
    if place.content == payload {
        return place.clone();
    }
    Arc::new(Body { causal_history: first.causal_history.clone(), content: payload, ..Body::clone(place) })
}
