//! A network of the host's: functions that it gives, and those by which it hands in what arrives.
#![allow(unsafe_code, non_camel_case_types, reason = "names and types that C programs know")]

use std::ffi::{c_int, c_void};
use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::transport::{CallbackTransport, Incoming, PeerAddr, Topic, TransportError};

use crate::foreign::UserData;
use crate::rc::calls::{rc_manager, with};
use crate::rc::code::Failed;
use crate::rc::code::rc_code::{self, *};
use crate::rc::types::rc_bytes;
use crate::sync::{Condvar, Mutex, MutexGuard, PoisonError, lock};

/// What `publish` answers: the network takes it.
pub const RC_PUBLISHED: c_int = 0;
/// What `publish` answers: not now; it is tried again.
pub const RC_PUBLISH_LATER: c_int = 1;
/// What `publish` answers: this message never.
pub const RC_PUBLISH_NEVER: c_int = 2;

/// A network of the host's: a broadcast, which may lose, double and reorder. What it is given belongs to the library and is
/// gone when it returns.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct rc_transport {
    /// The largest message in bytes that it carries.
    pub max_bytes: usize,
    /// Sends these bytes to all who want this topic; where `to` is not empty, to the one who was named so to `rc_receive` at
    /// least. Answers `RC_PUBLISHED`, `RC_PUBLISH_LATER` or `RC_PUBLISH_NEVER`. Called from threads of the library, one at a
    /// time for each channel; it may call the library, but for `rc_close`, and it may block, which delays that channel alone.
    pub publish:
        Option<unsafe extern "C" fn(topic: rc_bytes, to: rc_bytes, bytes: rc_bytes, user_data: *mut c_void) -> c_int>,
    /// From now on this topic is wanted (1), or not any more (0); NULL where that does not matter. It must not call the
    /// library, nor block.
    pub wanted: Option<unsafe extern "C" fn(topic: rc_bytes, wanted: c_int, user_data: *mut c_void)>,
    /// Passed along.
    pub user_data: *mut c_void,
}

/// A host's network, as it was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Callbacks {
    max_bytes: usize,
    publish: unsafe extern "C" fn(rc_bytes, rc_bytes, rc_bytes, *mut c_void) -> c_int,
    wanted: Option<unsafe extern "C" fn(rc_bytes, c_int, *mut c_void)>,
    user_data: UserData,
}

impl Callbacks {
    pub(crate) fn new(transport: rc_transport) -> Result<Self, Failed> {
        let rc_transport { max_bytes, publish, wanted, user_data } = transport;
        let publish = publish.ok_or_else(|| Failed::new(RC_ERR_ARGUMENT, "a transport must publish"))?;
        Ok(Self { max_bytes, publish, wanted, user_data: UserData(user_data) })
    }

    /// It as a transport of the library, whose host is called as long as the gate is open.
    pub(crate) fn transport(self, gate: &Arc<Gate>) -> CallbackTransport {
        let (publishing, wanting) = (gate.clone(), gate.clone());
        CallbackTransport::new(
            self.max_bytes,
            move |topic, to, bytes| {
                // Others go on meanwhile, whatever the host does.
                let published = || tokio::task::block_in_place(|| self.publish(topic, to, &bytes));
                let closed = || Err(TransportError::Unavailable("the manager was closed".into()));
                publishing.pass(published).unwrap_or_else(closed).map(|()| None)
            },
            move |topic, wanted| wanting.pass(|| self.want(topic, wanted)).unwrap_or_default(),
        )
    }

    fn publish(self, topic: &Topic, to: Option<&PeerAddr>, bytes: &Bytes) -> Result<(), TransportError> {
        let to = to.map_or(rc_bytes::EMPTY, |to| rc_bytes::of(to.as_bytes()));
        let (topic, bytes) = (rc_bytes::of(topic.as_bytes()), rc_bytes::of(bytes));
        // SAFETY: the host gave a function of this type, to be called from any thread; what is shown is alive until it returns.
        match unsafe { (self.publish)(topic, to, bytes, self.user_data.0) } {
            RC_PUBLISHED => Ok(()),
            RC_PUBLISH_LATER => Err(TransportError::Unavailable("the host takes nothing now".into())),
            other => Err(TransportError::Refused(format!("the host answered {other}"))),
        }
    }

    fn want(self, topic: &Topic, wanted: bool) {
        let Some(call) = self.wanted else { return };
        // SAFETY: as above.
        unsafe { call(rc_bytes::of(topic.as_bytes()), c_int::from(wanted), self.user_data.0) };
    }
}

/// Who calls the host passes it, until it is closed.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<(bool, usize)>,
    /// A call has ended.
    ended: Condvar,
}

impl Gate {
    fn pass<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        {
            let mut state = self.lock();
            let (closed, inside) = &mut *state;
            if *closed {
                return None;
            }
            *inside += 1;
        }
        let answer = call();
        self.lock().1 -= 1;
        self.ended.notify_all();
        Some(answer)
    }

    /// Nobody passes any more, and nobody is inside when it returns.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.0 = true;
        while state.1 > 0 {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (bool, usize)> {
        lock(&self.state)
    }
}

/// Hands in what the host's network brought for a topic. `from` is where an answer reaches its sender, and comes back as
/// `publish`'s `to`; empty where that is not known. What nobody wants any more, or is no message, is passed over: the network is
/// not at fault for it. `RC_ERR_TRANSPORT_MODE` without a transport.
///
/// # Safety
/// The arguments are as `rc_bytes` says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rc_receive(
    manager: *mut rc_manager,
    topic: rc_bytes,
    from: rc_bytes,
    bytes: rc_bytes,
) -> rc_code {
    with(manager, |client| {
        // SAFETY: the caller's promise.
        let topic = unsafe { topic.copy() }?;
        // SAFETY: the caller's promise.
        let from = unsafe { from.copy() }?;
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes.copy() }?;
        let incoming = Incoming::new(bytes);
        let incoming = if from.is_empty() { incoming } else { incoming.sent_by(PeerAddr::new(from)) };
        client.network()?.receive(&Topic::new(topic), &incoming);
        Ok(RC_OK)
    })
}

/// The host's network carries messages of this size now. A channel cuts messages to the size of when it was joined: leave it and
/// join it again to use more. What the network carries no longer is refused, and `RC_EVENT_SEND_ERROR` tells it.
#[unsafe(no_mangle)]
pub extern "C" fn rc_transport_max_bytes(manager: *mut rc_manager, max_bytes: usize) -> rc_code {
    with(manager, |client| {
        client.network()?.set_max_bytes(max_bytes);
        Ok(RC_OK)
    })
}
