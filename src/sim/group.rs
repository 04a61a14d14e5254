//! A group measured: so many participants, so many messages, so much loss, until every log is the same.
//!
//! How it moves: [`run`] lets a conversation take place, with what the [`Group`] asks for on the way (somebody is away, comes
//! late, or leaves), then waits until all logs are the same, then until nothing is waited for any more.

mod count;
mod report;
mod settings;
mod stage;

use std::time::Duration;

use crate::channel::Config;
use crate::types::Dialect;

use super::Network;

pub use report::{LateJoiner, Leave, Rejoin, Report, Tail};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Group {
    /// Everything random comes from this.
    pub seed: u64,
    /// Number of participants, all founding members.
    pub participants: usize,
    /// Messages sent, each by a random participant.
    pub messages: usize,
    /// Time from one message to the next.
    pub pause: Duration,
    /// All messages are sent at once, by the first participant; everybody else is silent.
    pub burst: bool,
    /// Bytes of content of each message, at least 1.
    pub content_bytes: usize,
    /// How the network misbehaves, to the end.
    pub network: Network,
    /// Options of every channel.
    pub config: Config,
    /// Each member has settings of its own, drawn from the seed: log length, times, causal history.
    pub mixed_settings: bool,
    /// Cut a participant off from the first message until this long after the last.
    pub cut_off: Option<Duration>,
    /// Everybody signs, with 64 bytes each time.
    pub signed: bool,
    /// All applications know who the members are: the founders.
    pub members: bool,
    /// Half-way a participant is cut off; the others send so many messages more, and it returns to the second half.
    pub rejoin: Option<usize>,
    /// The last participant has an archive of all that was said.
    pub archive: bool,
    /// Another participant opens the channel after so many messages.
    pub late_joiner: Option<usize>,
    /// So many participants leave for good right after the last message.
    pub leave: usize,
    /// Drop and open again a random participant after every so many messages.
    pub restart_every: Option<usize>,
    /// After all logs are the same, let this much time pass and count what is sent.
    pub idle: Option<Duration>,
    /// Give up when logs differ for this long after the last message.
    pub patience: Duration,
}

impl Group {
    /// A group with default options: one message a second, 50 bytes each.
    #[must_use]
    pub fn new(seed: u64, participants: usize, messages: usize, loss: f64) -> Self {
        let groups = crate::channel::response_groups(u32::try_from(participants).unwrap_or(u32::MAX));
        Self {
            seed,
            participants,
            messages,
            pause: Duration::from_secs(1),
            burst: false,
            content_bytes: 50,
            network: Network { loss, ..Network::default() },
            config: Config { response_groups: groups, ..Config::default() },
            mixed_settings: false,
            cut_off: None,
            signed: false,
            members: false,
            rejoin: None,
            archive: false,
            late_joiner: None,
            leave: 0,
            restart_every: None,
            idle: None,
            patience: Duration::from_secs(2 * 60 * 60),
        }
    }

    /// The same group in a dialect, with the options that its peers expect.
    #[must_use]
    pub fn speaking(mut self, dialect: Dialect) -> Self {
        let Config { join, response_groups, .. } = self.config;
        self.config = Config { join, response_groups, ..Config::of(dialect) };
        self
    }

    /// The longest that one message may wait until it is acknowledged or given up: every resend at its latest.
    fn resend_schedule(&self) -> Duration {
        let Config { resend_interval, response_groups, max_resend_interval, max_resend_attempts, .. } = self.config;
        let wait = resend_interval.saturating_mul(response_groups).max(max_resend_interval);
        // What is possibly acknowledged waits twice as long, and jitter adds an eighth.
        (wait.saturating_mul(9) / 4).saturating_mul(max_resend_attempts.saturating_add(1)).min(self.patience)
    }
}

/// Lets a group live until every log is the same.
#[must_use]
pub fn run(group: &Group) -> Report {
    let mut stage = stage::Stage::new(group);
    stage.talk();
    stage.part();
    let converged = stage.converge();
    stage.report(converged)
}
