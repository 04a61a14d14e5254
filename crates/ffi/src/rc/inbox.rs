//! Where a manager's events go: to the host's callback, or to a queue that it asks.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::manager::{ManagerEvent, Observer, Transmission};
use reliable_channel::types::ChannelId;
use tokio::runtime::Handle;
use tracing::warn;

use crate::events::Events;
use crate::foreign::is_inside;
use crate::queue::Next;
use crate::rc::event::Told;
use crate::rc::hear::{EventFd, Hearer};
use crate::rc::polled::Polled;
use crate::runtime::run_apart;

/// Where events go.
pub(crate) enum Inbox {
    /// Until they are asked for.
    Polled(Polled<Told, EventFd>),
    /// To a callback, on threads of the runtime.
    Called(Arc<Events<Hearer, Told>>, Handle),
}

impl Inbox {
    pub(crate) fn new(hearer: Option<Hearer>, runtime: &Handle) -> Self {
        match hearer {
            None => Self::Polled(Polled::new()),
            Some(hearer) => {
                let events = Events::new();
                events.hear(Some(hearer), false);
                Self::Called(Arc::new(events), runtime.clone())
            }
        }
    }

    pub(crate) fn tell(&self, told: Told) {
        let bytes = told.bytes();
        let (events, runtime) = match self {
            Self::Polled(polled) => return polled.push(told, bytes),
            Self::Called(events, runtime) => (events, runtime),
        };
        if events.push(told, bytes) {
            let emptied = events.clone();
            let work = move || {
                emptied.empty(|hearer, next| {
                    hearer.tell(match next {
                        Next::Event(told) => told,
                        Next::GivenUp(count) => Told::Missed(count),
                    });
                });
            };
            if !run_apart(runtime, work) {
                warn!("the system gives no thread for callbacks: events wait for the next one");
                events.not_started();
            }
        }
    }

    /// Nothing is told any more. A callback in progress is waited for, but from inside one.
    pub(crate) fn close(&self) {
        match self {
            Self::Polled(polled) => polled.close(),
            Self::Called(events, _) => events.close(!is_inside()),
        }
    }
}

/// Hears a manager without a transport.
impl Observer for Inbox {
    fn event(&self, event: &ManagerEvent) {
        self.tell(Told::Manager(event.clone()));
    }

    fn transmission(&self, transmission: &Transmission) {
        let Transmission { channel, bytes, .. } = transmission;
        self.tell(Told::Transmit(ChannelId::clone(channel), Bytes::clone(bytes)));
    }
}
