//! What was sent in several segments: how far each request has come.
//!
//! What: [`Requests`], which turns what is told of segments into what is told of requests. Why a request is delivered only
//! when one participant has all of it: many who have a part each can read nothing. How it moves: a request is added when it
//! is sent, or found again in the log after a start; what happens to its segments is counted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::events::{ChannelEvent, RequestId};
use crate::types::{MessageId, ParticipantId};

/// Segments that are followed; the request that was sent first is forgotten first.
const MAX_SEGMENTS: usize = 16_384;
/// Steps in which progress is told.
pub(super) const STEPS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Requests {
    segments: BTreeMap<MessageId, (RequestId, usize)>,
    requests: BTreeMap<RequestId, Split>,
    order: VecDeque<RequestId>,
}

/// A request of several segments.
#[derive(Clone, Debug, Default)]
pub(super) struct Split {
    /// Its messages, in order.
    pub(super) segments: Vec<MessageId>,
    /// So many of them are enough.
    needed: usize,
    sent: usize,
    refused: bool,
    failed: bool,
    /// Segments that somebody had before the channel was joined.
    before: BTreeSet<usize>,
    by: BTreeMap<ParticipantId, BTreeSet<usize>>,
    told: BTreeSet<ParticipantId>,
}

impl Split {
    /// A request of these messages, of which the first `needed` carry data. `before` says which somebody had when the channel
    /// was joined; who, is not known any more.
    pub(super) fn new(segments: Vec<MessageId>, needed: usize, before: BTreeSet<usize>) -> Self {
        Self { segments, needed, before, ..Self::default() }
    }

    /// Who has all of it. What was acknowledged before the channel was joined counts for everybody.
    pub(super) fn has_all(&self) -> impl Iterator<Item = &ParticipantId> {
        self.by.iter().filter(|(_, held)| self.is_enough(held)).map(|(by, _)| by)
    }

    /// Whether enough was acknowledged before the channel was joined.
    pub(super) fn was_delivered(&self) -> bool {
        self.before.len() >= self.needed
    }

    fn is_enough(&self, held: &BTreeSet<usize>) -> bool {
        held.union(&self.before).count() >= self.needed
    }
}

impl Requests {
    /// Follows a request, whose id is that of its last data segment.
    pub(super) fn add(&mut self, split: Split) -> Option<RequestId> {
        let id = RequestId::new(split.segments.get(split.needed.checked_sub(1)?)?.clone());
        for (index, segment) in split.segments.iter().enumerate() {
            self.segments.insert(segment.clone(), (id.clone(), index));
        }
        self.requests.insert(id.clone(), split);
        self.order.push_back(id.clone());
        while self.segments.len() > MAX_SEGMENTS
            && self.order.len() > 1
            && let Some(oldest) = self.order.pop_front()
        {
            for segment in self.requests.remove(&oldest).map(|split| split.segments).unwrap_or_default() {
                self.segments.remove(&segment);
            }
        }
        Some(id)
    }

    pub(super) fn get(&self, request: &RequestId) -> Option<&Split> {
        self.requests.get(request)
    }

    /// What is told of a segment becomes what is told of its request; anything else stays as it is.
    pub(super) fn told(&mut self, event: ChannelEvent, tell: &mut impl FnMut(ChannelEvent)) {
        let of = match &event {
            ChannelEvent::Sent { request }
            | ChannelEvent::SendError { request, .. }
            | ChannelEvent::Delivered { request, .. }
            | ChannelEvent::DeliveryError { request, .. } => self.segments.get(request.message()).cloned(),
            _ => None,
        };
        let Some((request, index)) = of else { return tell(event) };
        let Some(split) = self.requests.get_mut(&request) else { return };
        let of = split.segments.len();
        match event {
            ChannelEvent::Sent { .. } => {
                split.sent += 1;
                if split.sent.is_multiple_of(of.div_ceil(STEPS)) || split.sent == of {
                    tell(ChannelEvent::Sending { request: request.clone(), sent: split.sent, of });
                }
                if split.sent == of && !split.refused {
                    tell(ChannelEvent::Sent { request });
                }
            }
            ChannelEvent::SendError { error, .. } => {
                split.refused = true;
                tell(ChannelEvent::SendError { request, segment: Some(index), error });
            }
            ChannelEvent::Delivered { by, .. } => {
                split.by.entry(by.clone()).or_default().insert(index);
                let has_all = split.by.get(&by).is_some_and(|held| split.is_enough(held));
                if has_all && split.told.insert(by.clone()) {
                    tell(ChannelEvent::Delivered { request, by, after_error: split.failed });
                }
            }
            ChannelEvent::DeliveryError { possibly, .. } if !split.failed => {
                split.failed = true;
                tell(ChannelEvent::DeliveryError { request, possibly });
            }
            _ => {}
        }
    }
}
