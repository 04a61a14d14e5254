//! When to send a sync message (docs/protocol.md sections 7 and 9).
//!
//! Three reasons: received messages must be acknowledged, repair requests are due, or nothing was heard or sent for a
//! while. How it moves: the channel reports traffic and content here; [`Schedule::due`] says whether it is time.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::types::{HistoryEntry, MessageId, ParticipantId, RunningTime, millis};

use super::Config;

/// Messages waiting for acknowledgement whose mention by others is watched for.
const MAX_WATCHED: usize = 256;
/// Turns without news before the interval grows: the last message before a silence may be lost several times.
const QUIET_TURNS: u32 = 6;
/// At most one sync a second is sent for repair requests.
const REQUEST_SYNC_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Acknowledgement {
    due: RunningTime,
    /// Messages to acknowledge, with their senders.
    messages: BTreeMap<MessageId, ParticipantId>,
    /// More than are watched: others' mentions cannot cancel it.
    more: bool,
}

/// The sync schedule.
#[derive(Debug)]
pub(super) struct Schedule {
    acknowledgement: Option<Acknowledgement>,
    periodic: RunningTime,
    interval: Duration,
    /// Something was heard or sent since the last periodic turn.
    traffic: bool,
    /// Content was heard or sent since the last periodic turn.
    news: bool,
    /// Periodic turns since then.
    quiet_turns: u32,
    requests_allowed: RunningTime,
}

impl Schedule {
    pub(super) fn new(config: &Config, now: RunningTime, random: u64) -> Self {
        let interval = config.sync_interval;
        Self {
            acknowledgement: None,
            periodic: now.after(randomised(interval, random)),
            interval,
            traffic: false,
            news: false,
            quiet_turns: 0,
            requests_allowed: now,
        }
    }

    /// Content was received, or a known message again: it must be acknowledged. `random` picks the moment, once.
    pub(super) fn must_acknowledge(
        &mut self,
        id: &MessageId,
        sender: &ParticipantId,
        config: &Config,
        now: RunningTime,
        random: u64,
    ) {
        let (min, max) = config.acknowledgement_delay;
        let waiting = self.acknowledgement.get_or_insert_with(|| {
            let span = millis(max.saturating_sub(min));
            let wait = min.saturating_add(Duration::from_millis(random % span.saturating_add(1)));
            Acknowledgement {
                due: now.after(wait.saturating_mul(config.response_groups)),
                messages: BTreeMap::new(),
                more: false,
            }
        });
        if waiting.messages.len() < MAX_WATCHED {
            waiting.messages.insert(id.clone(), sender.clone());
        } else {
            waiting.more = waiting.more || !waiting.messages.contains_key(id);
        }
    }

    /// What is to be acknowledged, as far as it is watched.
    pub(super) fn to_acknowledge(&self) -> impl Iterator<Item = &MessageId> {
        self.acknowledgement.iter().flat_map(|waiting| waiting.messages.keys())
    }

    /// A causal history of `by` names this message: it need not be acknowledged once more.
    pub(super) fn acknowledged_by(&mut self, id: &MessageId, by: &ParticipantId) {
        let Some(waiting) = &mut self.acknowledgement else { return };
        if waiting.messages.get(id).is_some_and(|sender| sender != by) {
            waiting.messages.remove(id);
            if waiting.messages.is_empty() && !waiting.more {
                self.acknowledgement = None;
            }
        }
    }

    /// Something that acknowledges was sent.
    pub(super) fn sent(&mut self, content: bool, config: &Config, now: RunningTime, random: u64) {
        self.acknowledgement = None;
        self.traffic(content, config, now, random);
    }

    /// Content was sent where its filter does not suffice: what it does not name is still to be acknowledged.
    pub(super) fn sent_naming(&mut self, named: &[HistoryEntry], config: &Config, now: RunningTime, random: u64) {
        self.acknowledgement.take_if(|waiting| {
            named.iter().for_each(|entry| drop(waiting.messages.remove(&entry.id)));
            waiting.messages.is_empty() && !waiting.more
        });
        self.traffic(true, config, now, random);
    }

    /// Something was heard or sent.
    pub(super) fn traffic(&mut self, content: bool, config: &Config, now: RunningTime, random: u64) {
        self.traffic = true;
        if content {
            self.news = true;
            if self.interval > config.sync_interval {
                self.interval = config.sync_interval;
                self.periodic = self.periodic.min(now.after(randomised(self.interval, random)));
            }
        }
    }

    /// Whether there was content lately: turns are as short as they get.
    pub(super) fn is_brisk(&self, config: &Config) -> bool {
        self.interval <= config.sync_interval
    }

    /// Begins with short intervals once more.
    pub(super) fn begin_anew(&mut self, config: &Config, now: RunningTime, random: u64) {
        (self.interval, self.quiet_turns) = (config.sync_interval, 0);
        self.periodic = now.after(randomised(self.interval, random));
    }

    /// A sync message with repair requests was sent.
    pub(super) fn requests_sent(&mut self, now: RunningTime) {
        self.requests_allowed = now.after(REQUEST_SYNC_INTERVAL);
    }

    /// Whether a sync message is due; `requests` is the lowest T_req.
    pub(super) fn due(&self, now: RunningTime, requests: Option<RunningTime>) -> bool {
        let acknowledge = self.acknowledgement.as_ref().is_some_and(|waiting| waiting.due <= now);
        let request = requests.is_some_and(|due| due.max(self.requests_allowed) <= now);
        let quiet = self.periodic <= now && !self.traffic;
        acknowledge || request || quiet
    }

    /// Ends what was due, whether or not there was anything to say, and takes the periodic turn when its time has come.
    /// Comes after the sync message of this turn, which is no traffic of the next.
    pub(super) fn turn(&mut self, config: &Config, now: RunningTime, random: u64) {
        self.acknowledgement.take_if(|waiting| waiting.due <= now);
        if self.periodic <= now {
            if self.news {
                (self.interval, self.quiet_turns) = (config.sync_interval, 0);
            } else {
                self.quiet_turns = self.quiet_turns.saturating_add(1);
            }
            if self.quiet_turns >= QUIET_TURNS {
                self.interval = self.interval.saturating_mul(2).min(config.max_sync_interval);
            }
            self.periodic = now.after(randomised(self.interval, random));
            (self.traffic, self.news) = (false, false);
        }
    }

    /// When [`due`](Self::due) must be asked again.
    pub(super) fn next_due(&self, requests: Option<RunningTime>) -> RunningTime {
        let requests = requests.map(|due| due.max(self.requests_allowed));
        let acknowledgement = self.acknowledgement.as_ref().map(|waiting| waiting.due);
        [requests, acknowledgement].into_iter().flatten().fold(self.periodic, RunningTime::min)
    }
}

/// Three to five quarters of an interval.
fn randomised(interval: Duration, random: u64) -> Duration {
    let quarter = millis(interval) / 4;
    Duration::from_millis((3 * quarter).saturating_add(random % (2 * quarter + 1)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_watched_is_still_acknowledged_after_content_that_does_not_name_it() {
        let (config, now) = (Config::default(), RunningTime::default());
        let mut schedule = Schedule::new(&config, now, 0);
        let ids: Vec<MessageId> = (0..=MAX_WATCHED).map(|number| MessageId::from(number.to_string())).collect();
        for id in &ids {
            schedule.must_acknowledge(id, &ParticipantId::from("bob"), &config, now, 0);
        }
        let named: Vec<HistoryEntry> = ids[..MAX_WATCHED].iter().cloned().map(HistoryEntry::new).collect();
        schedule.sent_naming(&named, &config, now, 0);
        assert!(schedule.due(now.after(config.acknowledgement_delay.1), None));
    }
}
