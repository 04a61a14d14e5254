//! From the manager to the channels' mailboxes.
//!
//! What: [`Router`], the manager's observer. Why not its streams: each of those has all events of all channels. How it
//! moves: it is called while a step is carried out, finds the channel's link, and hands on.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::events::ChannelEvent;
use super::link::Link;
use super::outbox::Outgoing;
use crate::channel::Event;
use crate::manager::{ManagerEvent, Observer, Transmission};
use crate::types::ChannelId;

#[derive(Default)]
pub(super) struct Router(RwLock<BTreeMap<ChannelId, Arc<Link>>>);

impl Router {
    /// Whether this channel had no link yet.
    pub(super) fn register(&self, channel: &ChannelId, link: &Arc<Link>) -> bool {
        let mut links = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if links.contains_key(channel) {
            return false;
        }
        links.insert(channel.clone(), link.clone());
        true
    }

    pub(super) fn link(&self, channel: &ChannelId) -> Option<Arc<Link>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    pub(super) fn channels(&self) -> Vec<ChannelId> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Ends this link, and forgets it unless another has its place.
    pub(super) fn remove(&self, channel: &ChannelId, link: &Arc<Link>) {
        let mut links = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if links.get(channel).is_some_and(|found| Arc::ptr_eq(found, link)) {
            links.remove(channel);
        }
        drop(links);
        link.end();
    }

    /// Ends all links.
    pub(super) fn end(&self) {
        let links = std::mem::take(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner));
        links.into_values().for_each(|link| link.end());
    }
}

impl Observer for Router {
    fn event(&self, event: &ManagerEvent) {
        if let Some(link) = self.link(event.channel())
            && let Some(event) = ChannelEvent::of(event)
        {
            if let ChannelEvent::Other(Event::MissingDependencies { missing, .. }) = &event {
                link.wanted.add(missing);
            }
            match &event {
                // Nobody can answer to what was not sent: it is waited for from then on.
                ChannelEvent::DeliveryError { request, .. } if link.outbox.has_unsent(request.message()) => {}
                _ => link.tell(event),
            }
        }
    }

    fn transmission(&self, transmission: &Transmission) {
        if let Some(link) = self.link(&transmission.channel) {
            link.outbox.put(Outgoing::of(transmission));
        }
    }
}
