//! Between the channel and its reader: segments become payloads, and what is told of segments is told of requests.
//!
//! What: [`Parts`]. Why it waits when a channel is opened: what the log has of payloads that are not whole must be known before
//! the next segment comes. How it moves: events wait until [`Parts::open`] has read the log, then each passes through.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::events::{ChannelEvent, RequestId};
use super::requests::{Requests, STEPS, Split};
use super::segmentation::Segmentation;
use super::wholes;
use crate::channel::{Delivery, Event};
use crate::segment::{Bounds, Fate, Reassembly, Recalled};
use crate::state::Logged;
use crate::types::MessageId;

#[derive(Debug, Default)]
pub(super) struct Parts {
    splits: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was told before the log was read.
    early: Option<Vec<ChannelEvent>>,
    incoming: Reassembly<Delivery>,
    requests: Requests,
}

impl Parts {
    pub(super) fn new(segmentation: &Segmentation) -> Self {
        let incoming = Reassembly::new(segmentation.bounds());
        let state = State { early: Some(Vec::new()), incoming, requests: Requests::default() };
        Self { splits: segmentation.splits(), state: Mutex::new(state) }
    }

    /// Whether segments are looked for.
    pub(super) fn splits(&self) -> bool {
        self.splits
    }

    /// Takes in what the log has: segments of payloads that are not whole, and own requests. `has` says whether somebody has an
    /// own message.
    pub(super) fn open(&self, log: Vec<Logged>, has: impl Fn(&MessageId) -> bool, tell: &mut impl FnMut(ChannelEvent)) {
        let mut requests = Vec::new();
        let (mut own, mut others) = (Reassembly::new(Bounds::none()), Vec::new());
        for logged in log.into_iter().filter(|logged| self.splits && !logged.body.is_erased()) {
            let body = &logged.body;
            if logged.delivery.is_some() {
                others.push(logged);
            } else if let Some(Recalled { segments, needed, .. }) =
                own.recall(&body.sender, &body.content, body.key.id.clone())
                && segments.len() > 1
            {
                let ids: Vec<MessageId> = segments.into_iter().map(|(_, id)| id).collect();
                let before = (0..).zip(&ids).filter(|(_, id)| has(id)).map(|(index, _)| index).collect();
                requests.push(Split::new(ids, needed, before));
            }
        }
        others.sort_by_key(|logged| logged.delivery);
        let mut state = self.lock();
        for split in requests {
            state.requests.add(split);
        }
        let early = state.early.take().unwrap_or_default();
        let told_now: BTreeSet<u64> = early.iter().filter_map(number).collect();
        for logged in others.iter().filter(|logged| logged.delivery.is_none_or(|number| !told_now.contains(&number))) {
            state.incoming.recall(&logged.body.sender, &logged.body.content, wholes::delivered(logged));
        }
        early.into_iter().for_each(|event| state.pass(event, tell));
    }

    /// Passes on what becomes of an event.
    pub(super) fn pass(&self, event: ChannelEvent, tell: &mut impl FnMut(ChannelEvent)) {
        if !self.splits {
            return tell(event);
        }
        let mut state = self.lock();
        match &mut state.early {
            Some(early) => early.push(event),
            None => state.pass(event, tell),
        }
    }

    /// Follows a request of several segments.
    pub(super) fn add(&self, split: Split) -> Option<RequestId> {
        self.lock().requests.add(split)
    }

    pub(super) fn request(&self, request: &RequestId) -> Option<Split> {
        self.lock().requests.get(request).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock panics halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(event: &ChannelEvent) -> Option<u64> {
    match event {
        ChannelEvent::Received(delivery) => Some(delivery.number),
        _ => None,
    }
}

impl State {
    fn pass(&mut self, event: ChannelEvent, tell: &mut impl FnMut(ChannelEvent)) {
        match event {
            ChannelEvent::Received(delivery) => self.received(delivery, tell),
            ChannelEvent::Other(Event::EphemeralReceived { id, sender, content }) => {
                // Nothing of it is kept, so it is whole or nothing.
                let event = match Reassembly::default().take(&sender, &content, ()).fate {
                    Fate::Whole { payload, .. } => {
                        ChannelEvent::Other(Event::EphemeralReceived { id, sender, content: payload })
                    }
                    Fate::Refused(why) => ChannelEvent::SegmentRefused { id, sender, why },
                    _ => ChannelEvent::SegmentRefused { id, sender, why: "it is not kept and not whole" },
                };
                tell(event);
            }
            other => self.requests.told(other, tell),
        }
    }

    fn received(&mut self, delivery: Delivery, tell: &mut impl FnMut(ChannelEvent)) {
        let body = delivery.body.clone();
        let taken = self.incoming.take(&body.sender, &body.content, delivery);
        taken.abandoned.into_iter().for_each(|abandoned| tell(ChannelEvent::Abandoned(abandoned)));
        match taken.fate {
            Fate::Whole { payload, segments, needed } => {
                let whole = wholes::whole_delivery(payload, segments, needed);
                whole.into_iter().for_each(|delivery| tell(ChannelEvent::Received(delivery)));
            }
            Fate::Kept(progress) if progress.held.is_multiple_of(progress.needed.div_ceil(STEPS)) => {
                tell(ChannelEvent::Receiving { sender: body.sender.clone(), progress });
            }
            Fate::Refused(why) => {
                let (id, sender) = (body.key.id.clone(), body.sender.clone());
                tell(ChannelEvent::SegmentRefused { id, sender, why });
            }
            Fate::Kept(_) | Fate::Surplus => {}
        }
    }
}
