//! A store that fails on command, around any other.
//!
//! What: [`FaultyPersistence`] and the [`Fault`]s it can be told. Why: what a manager does when a save fails,
//! hangs or is torn has to be seen, not hoped for. How it moves: every call is counted, looked up among the
//! [`Rule`]s (the first that fits decides) and then passed on, failed, held at a gate or cut in half. No
//! runtime and no clock is needed: what hangs, hangs until [`release`](FaultyPersistence::release).

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Capabilities, Persistence, PersistenceError, PersistenceErrorKind, snapshot};
use crate::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate};
use crate::types::{ChannelId, MessageId};

/// A method of [`Persistence`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Method {
    SaveChannelMeta,
    UpdateHistory,
    LoadChannel,
    DropChannel,
    SetRetrievalHint,
    Commit,
    Flush,
    ListChannels,
}

impl Method {
    /// Whether it changes what is stored.
    #[must_use]
    pub fn writes(self) -> bool {
        !matches!(self, Self::LoadChannel | Self::Flush | Self::ListChannels)
    }

    fn verb(self) -> &'static str {
        match self {
            Self::SaveChannelMeta => "save_channel_meta",
            Self::UpdateHistory => "update_history",
            Self::LoadChannel => "load_channel",
            Self::DropChannel => "drop_channel",
            Self::SetRetrievalHint => "set_retrieval_hint",
            Self::Commit => "commit",
            Self::Flush => "flush",
            Self::ListChannels => "list_channels",
        }
    }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and nothing is done.
    Fail(PersistenceErrorKind),
    /// It is done, and fails all the same.
    FailAfterwards(PersistenceErrorKind),
    /// It waits for [`FaultyPersistence::release`], and is done then.
    Hang,
    /// A commit of which the rows are stored, and hints and meta are not, as where the trait's own
    /// [`commit`](Persistence::commit) is cut short; of another call nothing is done. Fails with `Io`.
    Tear,
}

/// Which calls a fault is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Calls of this method, or of all that write.
    pub method: Option<Method>,
    /// Calls for this channel, or for any.
    pub channel: Option<ChannelId>,
    /// Of those calls, let this many pass first.
    pub after: u64,
    /// Then this many meet the fault, or all.
    pub times: Option<u64>,
    /// What happens to them.
    pub fault: Fault,
}

impl Rule {
    /// Every write meets this fault.
    #[must_use]
    pub fn writes(fault: Fault) -> Self {
        Self { method: None, channel: None, after: 0, times: None, fault }
    }

    /// Every call of this method meets this fault.
    #[must_use]
    pub fn method(method: Method, fault: Fault) -> Self {
        Self { method: Some(method), ..Self::writes(fault) }
    }

    /// Only the `n`-th (from 1) of the calls this rule is for.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { after: n.saturating_sub(1), times: Some(1), ..self }
    }

    /// Only calls for this channel.
    #[must_use]
    pub fn channel(self, channel: impl Into<ChannelId>) -> Self {
        Self { channel: Some(channel.into()), ..self }
    }

    /// Whether this call meets the fault; counts it down.
    fn applies(&mut self, method: Method, channel: Option<&ChannelId>) -> bool {
        let mine = self.method.map_or(method.writes(), |mine| mine == method)
            && (self.channel.is_none() || self.channel.as_ref() == channel);
        if !mine || self.times == Some(0) {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times = self.times.map(|times| times - 1);
        true
    }
}

/// What a [`FaultyPersistence`] has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallCounts {
    /// Calls of each method, failed ones too.
    pub calls: BTreeMap<Method, u64>,
    /// Calls made to fail.
    pub failed: u64,
    /// Writes that succeeded.
    pub written: u64,
    /// Bytes of the values handed over to be written, as the codec encodes them.
    pub bytes: u64,
}

impl CallCounts {
    /// Calls of this method.
    #[must_use]
    pub fn of(&self, method: Method) -> u64 {
        self.calls.get(&method).copied().unwrap_or(0)
    }
}

/// Wraps a store and fails, holds or tears its calls. Clones share everything.
#[derive(Clone)]
pub struct FaultyPersistence {
    inner: Arc<dyn Persistence>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Default)]
struct Plan {
    rules: Vec<Rule>,
    crash_after: Option<u64>,
    counts: CallCounts,
    /// Raised by every release; a hanging call waits for the next.
    releases: u64,
    hanging: usize,
    wakers: Vec<Waker>,
}

impl FaultyPersistence {
    /// A wrapper that passes everything on, as yet.
    pub fn new(inner: Arc<dyn Persistence>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Adds a rule, behind those already there.
    pub fn add(&self, rule: Rule) {
        self.plan().rules.push(rule);
    }

    /// Fails every write with this kind of error, until [`heal`](Self::heal).
    pub fn fail_writes(&self, kind: PersistenceErrorKind) {
        self.add(Rule::writes(Fault::Fail(kind)));
    }

    /// After this many further writes that succeed, fails every call, as if the process had died there.
    pub fn crash_after(&self, writes: u64) {
        let mut plan = self.plan();
        plan.crash_after = Some(plan.counts.written.saturating_add(writes));
    }

    /// Takes all rules and the crash back. What hangs goes on hanging.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.rules.clear();
        plan.crash_after = None;
    }

    /// Lets what hangs go on.
    pub fn release(&self) {
        let wakers = {
            let mut plan = self.plan();
            plan.releases += 1;
            std::mem::take(&mut plan.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How many calls hang.
    #[must_use]
    pub fn hanging(&self) -> usize {
        self.plan().hanging
    }

    /// What was seen so far.
    #[must_use]
    pub fn counts(&self) -> CallCounts {
        self.plan().counts.clone()
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // Only counters and lists are changed under the lock, and whole.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call, finds its fault, and passes it on where there is none.
    async fn call<T>(
        &self,
        method: Method,
        channel: Option<&ChannelId>,
        bytes: usize,
        call: impl Future<Output = Result<T, PersistenceError>> + Send,
        torn: impl Future<Output = Result<(), PersistenceError>> + Send,
    ) -> Result<T, PersistenceError> {
        let fail = |kind| {
            self.plan().counts.failed += 1;
            Err(PersistenceError::new(method.verb(), channel, kind))
        };
        let fault = self.plan().meet(method, channel, bytes);
        match fault {
            None => {}
            Some(Fault::Hang) => self.hang().await,
            Some(Fault::Fail(kind)) => return fail(kind),
            Some(Fault::FailAfterwards(kind)) => {
                call.await?;
                return fail(kind);
            }
            Some(Fault::Tear) => {
                torn.await?;
                return fail(PersistenceErrorKind::Io);
            }
        }
        let result = call.await;
        if result.is_ok() && method.writes() {
            self.plan().counts.written += 1;
        }
        result
    }

    async fn hang(&self) {
        let before = {
            let mut plan = self.plan();
            plan.hanging += 1;
            plan.releases
        };
        let _leave = Leave(self);
        poll_fn(|context| {
            let mut plan = self.plan();
            if plan.releases > before {
                return Poll::Ready(());
            }
            plan.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Counts a hanging call out, also when its caller stops waiting.
struct Leave<'a>(&'a FaultyPersistence);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.plan().hanging -= 1;
    }
}

impl Plan {
    fn meet(&mut self, method: Method, channel: Option<&ChannelId>, bytes: usize) -> Option<Fault> {
        *self.counts.calls.entry(method).or_default() += 1;
        self.counts.bytes += bytes as u64;
        if self.crash_after.is_some_and(|writes| self.counts.written >= writes) {
            return Some(Fault::Fail(PersistenceErrorKind::Io));
        }
        self.rules.iter_mut().find_map(|rule| rule.applies(method, channel).then(|| rule.fault.clone()))
    }
}

#[async_trait]
impl Persistence for FaultyPersistence {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        let bytes = snapshot::encode_meta(channel, meta).len();
        let call = self.inner.save_channel_meta(channel, meta);
        self.call(Method::SaveChannelMeta, Some(channel), bytes, call, nothing()).await
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        let call = self.inner.update_history(channel, update);
        self.call(Method::UpdateHistory, Some(channel), history_bytes(channel, update), call, nothing()).await
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        self.call(Method::LoadChannel, Some(channel), 0, self.inner.load_channel(channel), nothing()).await
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        self.call(Method::DropChannel, Some(channel), 0, self.inner.drop_channel(channel), nothing()).await
    }

    async fn set_retrieval_hint(
        &self,
        channel: &ChannelId,
        id: &MessageId,
        hint: &Bytes,
    ) -> Result<(), PersistenceError> {
        let bytes = snapshot::encode_hint(channel, id, hint).len();
        let call = self.inner.set_retrieval_hint(channel, id, hint);
        self.call(Method::SetRetrievalHint, Some(channel), bytes, call, nothing()).await
    }

    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        let hints = commit.hints.iter().map(|(id, hint)| snapshot::encode_hint(channel, id, hint).len());
        let meta = commit.meta.as_ref().map_or(0, |meta| snapshot::encode_meta(channel, meta).len());
        let bytes = history_bytes(channel, &commit.history) + hints.sum::<usize>() + meta;
        let call = self.inner.commit(channel, commit);
        let torn = self.inner.update_history(channel, &commit.history);
        self.call(Method::Commit, Some(channel), bytes, call, torn).await
    }

    async fn flush(&self) -> Result<(), PersistenceError> {
        self.call(Method::Flush, None, 0, self.inner.flush(), nothing()).await
    }

    async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
        self.call(Method::ListChannels, None, 0, self.inner.list_channels(), nothing()).await
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

async fn nothing() -> Result<(), PersistenceError> {
    Ok(())
}

fn history_bytes(channel: &ChannelId, update: &HistoryUpdate) -> usize {
    let put =
        update.put.iter().map(|row| snapshot::row_key(&row.key()).len() + snapshot::encode_row(channel, row).len());
    let delete = update.delete.iter().map(|key| snapshot::row_key(key).len());
    put.chain(delete).sum()
}
