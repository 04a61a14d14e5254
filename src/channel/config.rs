//! Every knob of a channel, its default, and why.

use std::time::Duration;

use crate::authenticity::SharedAuthenticator;
use crate::types::{Dialect, Limits};

/// What a newcomer does about history it never had (docs/protocol.md section 5, "Joining").
///
/// A newcomer has sent, delivered and loaded nothing. Whoever has sent something gets all that follows, whatever this says.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Join {
    /// Show the first message heard at once, and fetch nothing older.
    FromNow,
    /// Show the first message heard at once, and fetch up to so many older ones in the background; they come marked as
    /// history, each at its place. The default, with 100.
    Recent(u64),
    /// Show the first message when up to so many older ones are there.
    /// With `Backfill(u64::MAX)` there is no beginning: everything that was ever sent counts, and is waited for.
    Backfill(u64),
}

impl Default for Join {
    fn default() -> Self {
        Self::Recent(100)
    }
}

/// When filter hits make a message acknowledged (docs/protocol.md section 7).
///
/// See the [example](crate::channel#example).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FilterEvidence {
    /// When the chance that all hits were accidental, times the filters tested, is at most this.
    Chance(f64),
    /// After hits in this many filters, whatever they are worth: js-waku's rule with 2.
    Hits(u32),
}

/// Options of a channel; [`Config::of`] gives those that a dialect's peers expect. All participants should share `t_min`, `t_max` and `response_groups`.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Which peers' conventions to speak; fixed for the life of a channel but for a change between `Lip109` and `JsWaku`.
    pub dialect: Dialect,
    /// What a newcomer does about history it never had.
    pub join: Join,
    /// Signs all that is sent, and lets nothing unsigned change anything (docs/protocol.md section 14). All participants need
    /// one. It is not saved. Default: none, and nothing checks who sent a message. nim-sds's dialect has no signatures.
    pub authenticator: Option<SharedAuthenticator>,

    /// Messages kept in the log; the lowest goes first. Default 1,000, as both other implementations.
    pub max_message_history: usize,
    /// Bytes of messages kept in the log. Default 32 MiB: 36 files of 900 KB do not push the conversation out.
    pub max_log_bytes: usize,
    /// Bytes of segments of large payloads ([`segment`](crate::segment)) kept in the log, which then count towards
    /// `max_message_history` once a payload and not towards `max_log_bytes`. Default: none, segments are messages like any
    /// others; a `Node` has 64 MiB.
    pub max_file_bytes: Option<usize>,
    /// Age after which a message leaves the log. Default: none.
    pub max_log_age: Option<Duration>,
    /// Age after which the content of a message is erased, here and in the archive, and no older content is taken in: since
    /// the message's time, or since it came, whichever is earlier (docs/protocol.md section 16). Default: none.
    pub max_body_age: Option<Duration>,

    /// Entries of the log's tail in a causal history. Default 2 (LIP-109).
    pub causal_history_size: usize,
    /// Heads in a causal history. Default 10: every concurrent message is named within a few sends.
    pub max_causal_heads: usize,
    /// Repair requests in one message. Default 3 (LIP-109).
    pub max_repair_requests: usize,
    /// Largest encoded message; what does not fit is trimmed (docs/protocol.md section 1). At least what a message with one
    /// repair request takes, about 100 bytes and twice the names. Default: none.
    pub max_transmit_bytes: Option<usize>,

    /// Wait before the first resend, times the response groups. Default 5 s (LIP-173).
    pub resend_interval: Duration,
    /// Longest wait between resends. Default 60 s.
    pub max_resend_interval: Duration,
    /// Resends before a message is given up. Default 5.
    pub max_resend_attempts: u32,

    /// How long a received id stays in the filter. Default 4 min: longer than a message is resent.
    pub acknowledgement_window: Duration,
    /// Bounds of the wait before a message is acknowledged, times the response groups. Default 1 to 4 s.
    pub acknowledgement_delay: (Duration, Duration),
    /// When filter hits make a message acknowledged. Default: a chance of 1e-6.
    pub filter_evidence: FilterEvidence,
    /// Share of accidental hits of our own filter in the `Lip109` dialect. Default 0.01: seeds change, so hits multiply.
    /// The peers' filters have 0.001.
    pub filter_error_rate: f64,
    /// The same of a sync message's filter where at most three others were heard within `acknowledgement_window`. Default
    /// 1e-8: one hit acknowledges, where few are there to give more.
    pub few_error_rate: f64,

    /// Sync interval while there is something new, randomised. Default 30 s.
    pub sync_interval: Duration,
    /// Sync interval to which an idle channel slows down. Default 15 min.
    pub max_sync_interval: Duration,

    /// Say by a sync message what is here when somebody is heard who lacks it. Default true.
    pub answer_laggards: bool,

    /// Compare with others what is held, and fetch all that is missing at once from one who has it
    /// (docs/protocol.md section 13). Default true, and false in [`Config::of`] other dialects; it does nothing in nim-sds's.
    /// Members with and without it get on, but only those with it catch up with each other.
    pub catch_up: bool,

    /// Something outside of this library makes sure that a message is of whom it names as its sender: encryption of a group
    /// whose members are known and sign, for one. Without it, and without `authenticator`, neither `DeliveredToAll` nor `Stable` is ever told, for a digest
    /// can be computed by anybody who holds the messages (docs/protocol.md section 15). Default false.
    pub authenticated_senders: bool,
    /// A member that keeps stability waiting for so long is named in an event. Default 10 min.
    pub stability_timeout: Duration,

    /// T_min of SDS-R at most. Default 2 s: see `docs/reliability.md` for what other values do.
    pub t_min: Duration,
    /// T_max of SDS-R at most; it keeps its proportion to T_min. Default 10 s.
    pub t_max: Duration,
    /// How far T_min may fall where answers come fast. Default 300 ms; in the peers' dialects, which have fixed waits, and
    /// wherever it is not below `t_min`, T_min stays.
    pub fastest_t_min: Duration,
    /// Messages sent besides the first one that a request asks for, of those that its sender lacks. Default 32.
    pub max_batch: usize,
    /// Response groups of SDS-R, see [`response_groups`]. Default 1.
    pub response_groups: u32,
    /// Rate of repair answers. Default 256 KiB/s.
    pub repair_bytes_per_second: u32,
    /// Running time after which a message is delivered without what it waits for, if that was asked for often enough; it is
    /// still asked for until `lost_timeout`. Default 60 s; in js-waku's dialect 12 min, in nim-sds's never.
    pub wait_timeout: Duration,
    /// Running time after which what a message waits for is given up. Default 30 min.
    pub lost_timeout: Duration,

    /// Keep every delivery until [`Input::DeliveriesTold`](super::Input::DeliveriesTold) confirms it, and deliver
    /// again after a restart what was not confirmed, within [`Limits::max_unconfirmed_bytes`]. Default false: the caller
    /// reads `deliveries_since` itself.
    pub confirm_deliveries: bool,
    /// How far a timestamp may lie in the future. Default 24 h.
    pub max_clock_drift: Duration,
    /// What a received message or a caller may cost.
    pub limits: Limits,
}

impl Config {
    /// The defaults of a dialect: those of [`Config::default`], and the times and limits that its peers live by. Timers of
    /// SDS-R must be the same in a channel; js-waku has 30 to 120 s, nim-sds 30 to 300 s. A clock of nim-sds gains a second
    /// with every message, so that it may run years ahead; and what nim-sds waits for, it waits for without end.
    #[must_use]
    pub fn of(dialect: Dialect) -> Self {
        let seconds = Duration::from_secs;
        let ours = Self { dialect, ..Self::default() };
        match dialect {
            Dialect::Lip109 => ours,
            Dialect::JsWaku => Self {
                t_min: seconds(30),
                t_max: seconds(120),
                fastest_t_min: seconds(30),
                // As many T_max as by default.
                wait_timeout: seconds(720),
                catch_up: false,
                ..ours
            },
            Dialect::NimSds => Self {
                t_min: seconds(30),
                t_max: seconds(300),
                fastest_t_min: seconds(30),
                wait_timeout: Duration::MAX,
                lost_timeout: Duration::MAX,
                max_clock_drift: seconds(10 * 365 * 24 * 60 * 60),
                catch_up: false,
                ..ours
            },
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dialect: Dialect::default(),
            join: Join::default(),
            authenticator: None,
            max_message_history: 1_000,
            max_log_bytes: 32 << 20,
            max_file_bytes: None,
            max_log_age: None,
            max_body_age: None,
            causal_history_size: 2,
            max_causal_heads: 10,
            max_repair_requests: 3,
            max_transmit_bytes: None,
            resend_interval: Duration::from_secs(5),
            max_resend_interval: Duration::from_secs(60),
            max_resend_attempts: 5,
            acknowledgement_window: Duration::from_secs(240),
            acknowledgement_delay: (Duration::from_secs(1), Duration::from_secs(4)),
            filter_evidence: FilterEvidence::Chance(1e-6),
            filter_error_rate: 0.01,
            few_error_rate: 1e-8,
            sync_interval: Duration::from_secs(30),
            max_sync_interval: Duration::from_secs(15 * 60),
            answer_laggards: true,
            catch_up: true,
            authenticated_senders: false,
            stability_timeout: Duration::from_secs(10 * 60),
            t_min: Duration::from_secs(2),
            t_max: Duration::from_secs(10),
            fastest_t_min: Duration::from_millis(300),
            max_batch: 32,
            response_groups: 1,
            repair_bytes_per_second: 256 << 10,
            wait_timeout: Duration::from_secs(60),
            lost_timeout: Duration::from_secs(30 * 60),
            confirm_deliveries: false,
            max_clock_drift: Duration::from_secs(24 * 60 * 60),
            limits: Limits::default(),
        }
    }
}

/// Response groups for a channel of about this many participants (LIP-109, "SDS-R global state").
#[must_use]
pub const fn response_groups(participants: u32) -> u32 {
    participants / 128 + 1
}

/// Response groups as the peers of a dialect count them: js-waku begins the second group at 256 participants.
#[must_use]
pub fn response_groups_in(dialect: Dialect, participants: u32) -> u32 {
    match dialect {
        Dialect::JsWaku => (participants / 128).max(1),
        _ => response_groups(participants),
    }
}

/// Why a [`Config`] is refused: the caller's fault.
///
/// See the [example](crate::channel#example).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that must be positive is zero.
    #[error("{0} must be greater than zero")]
    Zero(&'static str),
    /// A value is outside what it means.
    #[error("{name} must be {rule}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// No repair request would ever fit into a message.
    #[error("max_transmit_bytes is {max}, a message with one repair request takes {least}")]
    TransmitTooSmall {
        /// As configured.
        max: usize,
        /// The least that works, with the names in use and message ids of 64 bytes.
        least: usize,
    },
    /// The participant id is empty or too long.
    #[error("the participant id must have 1 to {max} bytes of UTF-8, it has {len}")]
    ParticipantId {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
}

impl Config {
    /// Checks that every option means something.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn validate(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        for (name, zero) in [
            ("max_message_history", self.max_message_history == 0),
            ("max_log_bytes", self.max_log_bytes == 0),
            ("max_file_bytes", self.max_file_bytes == Some(0)),
            ("max_causal_heads", self.max_causal_heads == 0),
            ("resend_interval", self.resend_interval.is_zero()),
            ("sync_interval", self.sync_interval.is_zero()),
            ("acknowledgement_window", self.acknowledgement_window.is_zero()),
            ("t_max", self.t_max.is_zero()),
            ("response_groups", self.response_groups == 0),
            ("repair_bytes_per_second", self.repair_bytes_per_second == 0),
            ("wait_timeout", self.wait_timeout.is_zero()),
            ("lost_timeout", self.lost_timeout.is_zero()),
            ("stability_timeout", self.stability_timeout.is_zero()),
            ("max_body_age", self.max_body_age.is_some_and(|age| age.is_zero())),
            ("max_log_age", self.max_log_age.is_some_and(|age| age.is_zero())),
            ("limits.max_id_bytes", limits.max_id_bytes == 0),
            ("limits.max_causal_entries", limits.max_causal_entries == 0),
            ("limits.max_content_bytes", limits.max_content_bytes == 0),
            ("limits.max_message_bytes", limits.max_message_bytes == 0),
            ("limits.max_parked", limits.max_parked == 0),
            ("limits.max_parked_bytes", limits.max_parked_bytes == 0),
            ("limits.max_outgoing", limits.max_outgoing == 0),
            ("limits.max_outgoing_bytes", limits.max_outgoing_bytes == 0),
            ("limits.max_repair_entries", limits.max_repair_entries == 0),
            ("limits.max_repair_entries_per_message", limits.max_repair_entries_per_message == 0),
            ("limits.max_unconfirmed_bytes", limits.max_unconfirmed_bytes == 0),
            ("limits.max_marks", limits.max_marks == 0),
        ] {
            if zero {
                return Err(ConfigError::Zero(name));
            }
        }
        let rules = [
            // Timers count in milliseconds: what is due after none of them would be due for ever.
            ("t_max", "at least a millisecond", self.t_max >= Duration::from_millis(1)),
            ("max_resend_interval", "at least resend_interval", self.max_resend_interval >= self.resend_interval),
            ("max_sync_interval", "at least sync_interval", self.max_sync_interval >= self.sync_interval),
            (
                "acknowledgement_delay",
                "a lower and an upper bound",
                self.acknowledgement_delay.0 <= self.acknowledgement_delay.1,
            ),
            ("filter_error_rate", "between 0.0001 and 0.5", (0.0001..=0.5).contains(&self.filter_error_rate)),
            (
                "authenticator",
                "none in nim-sds's dialect, which has no signatures",
                self.authenticator.is_none() || self.dialect.has_sync(),
            ),
            (
                "limits.max_signature_bytes",
                "at least what the authenticator signs with",
                self.authenticator
                    .as_ref()
                    .is_none_or(|authenticator| authenticator.signature_bytes() <= limits.max_signature_bytes),
            ),
            ("few_error_rate", "between 1e-9 and 0.5", (1e-9..=0.5).contains(&self.few_error_rate)),
            (
                "filter_evidence",
                "a chance between 0 and 1, or at least one hit",
                match self.filter_evidence {
                    FilterEvidence::Chance(chance) => chance > 0.0 && chance < 1.0,
                    FilterEvidence::Hits(hits) => hits > 0,
                },
            ),
            (
                "limits.max_message_bytes",
                "at least limits.max_content_bytes",
                limits.max_message_bytes >= limits.max_content_bytes,
            ),
            (
                "limits.max_causal_entries",
                "at least max_causal_heads + causal_history_size",
                limits.max_causal_entries >= self.max_causal_heads.saturating_add(self.causal_history_size),
            ),
        ];
        match rules.into_iter().find(|(_, _, kept)| !kept) {
            Some((name, rule, _)) => Err(ConfigError::OutOfRange { name, rule }),
            None => Ok(()),
        }
    }
}
