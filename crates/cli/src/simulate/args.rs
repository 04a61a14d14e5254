//! What one can ask `simulate` for, what is refused, and the command that repeats one seed of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum as _;
use reliable_channel::channel::{Channel, Context};
use reliable_channel::sim::group::Group;
use reliable_channel::sim::{Burst, EPOCH_MS};
use reliable_channel::types::{Dialect, RunningTime, WallTime};

/// Packets that are lost together under `--bursty-loss`, on average.
const BURST_PACKETS: f64 = 10.0;

/// Options that a mixed world, which draws everything, would not heed.
const OF_A_GROUP: [&str; 30] = [
    "participants",
    "messages",
    "loss",
    "bursty_loss",
    "duplicate",
    "reorder",
    "pause",
    "rate",
    "burst",
    "bytes",
    "history",
    "max_transmit_bytes",
    "groups",
    "mixed_settings",
    "partition",
    "rejoin",
    "archive",
    "late_joiner",
    "leave",
    "crash",
    "no_resend",
    "catch_up",
    "no_catch_up",
    "t_min",
    "t_max",
    "idle",
    "tail",
    "patience",
    "dialect",
    "plot",
];

/// Many participants in one simulated channel, everything from one seed. Exit code 0 only if every seed ends with the same
/// log everywhere and no invariant broken. All channels have the default options, but for what is asked for here.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    reliable-channel simulate --participants 20 --messages 200 --loss 0.3 --seed 1 --seeds 10\n  \
    reliable-channel simulate --participants 20 --loss 0.1 --rejoin 900 --json")]
pub struct Args {
    /// Number of participants.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub participants: u32,
    /// Messages sent, each by a random participant.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub messages: u32,
    /// Chance that a packet is lost on its way to a receiver, from 0 to below 1.
    #[arg(long, default_value_t = 0.1, value_parser = share, allow_negative_numbers = true)]
    pub loss: f64,
    /// The losses come in bursts of 10 packets on average (Gilbert-Elliott), as many in all as --loss says.
    #[arg(long)]
    pub bursty_loss: bool,
    /// Chance that a packet arrives twice, from 0 to below 1.
    #[arg(long, default_value_t = 0.0, value_parser = share, allow_negative_numbers = true)]
    pub duplicate: f64,
    /// Longest delay of a packet in milliseconds; the shortest is 10.
    #[arg(long, value_name = "MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(0..=DAY_MS))]
    pub reorder: u64,
    /// Milliseconds from one message to the next.
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(0..=DAY_MS))]
    pub pause: u64,
    /// Messages a second, instead of --pause.
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with_all = ["pause", "burst"], allow_negative_numbers = true)]
    pub rate: Option<f64>,
    /// The first participant sends so many messages at once, and everybody else is silent.
    #[arg(long, value_name = "N", conflicts_with_all = ["messages", "pause"], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub burst: Option<u32>,
    /// Bytes of content of each message.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub bytes: u32,
    /// Messages that every log keeps, instead of the default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub history: Option<u32>,
    /// Largest packet that anybody sends, in bytes.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..))]
    pub max_transmit_bytes: Option<u32>,
    /// Response groups, instead of what is recommended for so many participants.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub groups: Option<u32>,
    /// Each participant has settings of its own: half to twice the others' times and log.
    #[arg(long)]
    pub mixed_settings: bool,
    /// Everybody signs, and every application knows who the members are: report when messages had come to all of them and
    /// were stable, and what that costs beside the same run without. With --mixed: worlds of members that join and leave.
    #[arg(long)]
    pub members: bool,
    /// Cut the first participant off until this many milliseconds after the last message.
    #[arg(long, value_name = "MS")]
    pub partition: Option<u64>,
    /// Half-way the first participant is cut off; the others send so many messages more, and it returns to the second half.
    #[arg(long, value_name = "MISSED", conflicts_with_all = ["partition", "burst"], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rejoin: Option<u32>,
    /// The last participant has an archive: it keeps all that was said, and sends what the logs have no more.
    #[arg(long)]
    pub archive: bool,
    /// One more participant opens the channel after so many messages.
    #[arg(long, value_name = "AT", conflicts_with = "rejoin")]
    pub late_joiner: Option<u32>,
    /// So many participants leave for good right after the last message.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub leave: u32,
    /// Drop a random participant and open it from its store after every so many messages.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u32).range(1..))]
    pub crash: Option<u32>,
    /// Nobody sends a message again: repair alone must do.
    #[arg(long)]
    pub no_resend: bool,
    /// Everybody compares what it holds with others, and fetches what it missed at once.
    #[arg(long, conflicts_with = "no_catch_up")]
    pub catch_up: bool,
    /// Nobody does, whatever the default is: what was missed comes by repair alone.
    #[arg(long)]
    pub no_catch_up: bool,
    /// T_min of repair in milliseconds, instead of the default.
    #[arg(long, value_name = "MS")]
    pub t_min: Option<u64>,
    /// T_max of repair in milliseconds, instead of the default.
    #[arg(long, value_name = "MS")]
    pub t_max: Option<u64>,
    /// Let this much virtual time pass in silence after convergence, in milliseconds, and count what is sent.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    pub idle: Option<u64>,
    /// Report when the last message before silence had reached everybody.
    #[arg(long)]
    pub tail: bool,
    /// Give up when logs differ for so many virtual milliseconds after the last message.
    #[arg(long, value_name = "MS", default_value_t = 2 * 60 * 60 * 1_000)]
    pub patience: u64,
    /// Wire dialect of all participants, with the options its peers expect.
    #[arg(long, value_enum, default_value_t = Spoken::Lip109)]
    pub dialect: Spoken,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// Instead of a group: worlds of crashes, partitions, wrong clocks and hostile members, drawn from the seed alone.
    #[arg(long, conflicts_with_all = OF_A_GROUP)]
    pub mixed: bool,
    /// With --mixed: every member signs what it says, and strangers forge, lie and replay all the time.
    #[arg(long, requires = "mixed", conflicts_with = "members")]
    pub signed: bool,
    /// One JSON object per seed.
    #[arg(long)]
    pub json: bool,
    /// Draw delivered fraction, delivery latency, and transmissions against loss.
    #[arg(long, value_name = "SVG")]
    pub plot: Option<PathBuf>,
}

/// Members that a set has at most.
const MAX_MEMBERS: u32 = 1_024;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// The names of dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Spoken {
    Lip109,
    Js,
    Nim,
}

impl From<Spoken> for Dialect {
    fn from(spoken: Spoken) -> Self {
        match spoken {
            Spoken::Lip109 => Self::Lip109,
            Spoken::Js => Self::JsWaku,
            Spoken::Nim => Self::NimSds,
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..1.0).contains(&value) { Ok(value) } else { Err("must be at least 0 and below 1".to_owned()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.001..=1_000.0).contains(&value) { Ok(value) } else { Err("must be between 0.001 and 1000".to_owned()) }
}

impl Args {
    /// Refuses what means nothing.
    pub fn check(&self) -> anyhow::Result<()> {
        let group = self.group(self.seed, self.loss);
        if self.leave >= self.participants {
            bail!("--leave {}: of {} participants at least one must stay", self.leave, self.participants);
        }
        if self.members && (self.participants > MAX_MEMBERS || self.dialect == Spoken::Nim) {
            bail!("--members is for up to {MAX_MEMBERS} participants, not of nim-sds: it has no sync messages");
        }
        if let Some(at) = self.late_joiner.filter(|at| *at as usize >= group.messages) {
            bail!("--late-joiner {at}: it comes before one of the {} messages, or not at all", group.messages);
        }
        if self.rejoin.is_some() && self.messages < 2 {
            bail!("--rejoin needs --messages 2 at least: half before, half after");
        }
        let max = group.config.limits.max_content_bytes;
        if group.content_bytes > max {
            bail!("--bytes {}: a message has at most {max} bytes", group.content_bytes);
        }
        if let Some(path) = &self.plot
            && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            bail!("--plot {}: there is no folder {}", path.display(), folder.display());
        }
        // What the channel itself refuses, with the longest name that will be in use.
        let name = format!("p{}", self.participants);
        let context = Context::new(WallTime::from_millis(EPOCH_MS), RunningTime::from_millis(0), self.seed);
        Channel::new("sim", name, std::sync::Arc::new(group.config), &context)?;
        Ok(())
    }

    /// What is measured under this seed and loss.
    pub fn group(&self, seed: u64, loss: f64) -> Group {
        let messages = self.burst.unwrap_or(self.messages) as usize;
        let mut group = Group::new(seed, self.participants as usize, messages, loss).speaking(self.dialect.into());
        if self.bursty_loss {
            group.network.loss = 0.0;
            group.network.burst = Some(in_bursts(loss));
        }
        group.network.duplicate = self.duplicate;
        group.network.delay_ms = (10.min(self.reorder), self.reorder);
        group.pause = self.rate.map_or(Duration::from_millis(self.pause), |rate| Duration::from_secs_f64(1.0 / rate));
        group.burst = self.burst.is_some();
        group.content_bytes = self.bytes as usize;
        group.mixed_settings = self.mixed_settings;
        (group.signed, group.members) = (self.members, self.members);
        group.cut_off = self.partition.map(Duration::from_millis);
        group.rejoin = self.rejoin.map(|missed| missed as usize);
        group.archive = self.archive;
        group.late_joiner = self.late_joiner.map(|at| at as usize);
        group.leave = self.leave as usize;
        group.restart_every = self.crash.map(|every| every as usize);
        group.idle = self.idle.map(Duration::from_millis);
        group.patience = Duration::from_millis(self.patience);
        let config = &mut group.config;
        config.max_message_history = self.history.map_or(config.max_message_history, |history| history as usize);
        config.max_transmit_bytes = self.max_transmit_bytes.map(|bytes| bytes as usize);
        config.response_groups = self.groups.unwrap_or(config.response_groups);
        config.t_min = self.t_min.map_or(config.t_min, Duration::from_millis);
        config.t_max = self.t_max.map_or(config.t_max, Duration::from_millis);
        if self.no_resend {
            config.max_resend_attempts = 0;
        }
        config.catch_up = (config.catch_up || self.catch_up) && !self.no_catch_up;
        group
    }

    /// What differs from the defaults, as it was written, but for seeds and output.
    pub fn parameters(&self) -> String {
        let mut command = format!("--participants {}", self.participants);
        match self.burst {
            Some(burst) => command += &format!(" --burst {burst}"),
            None => command += &format!(" --messages {}", self.messages),
        }
        command += &format!(" --loss {}", self.loss);
        let set = [
            (self.duplicate > 0.0, "duplicate", self.duplicate.to_string()),
            (self.reorder != 50, "reorder", self.reorder.to_string()),
            (self.pause != 1_000, "pause", self.pause.to_string()),
            (self.bytes != 50, "bytes", self.bytes.to_string()),
            (self.leave > 0, "leave", self.leave.to_string()),
            (self.patience != 2 * 60 * 60 * 1_000, "patience", self.patience.to_string()),
        ];
        let given = |name, value: Option<u64>| (value.is_some(), name, value.unwrap_or(0).to_string());
        let options = [
            (self.rate.is_some(), "rate", self.rate.unwrap_or(0.0).to_string()),
            given("history", self.history.map(u64::from)),
            given("max-transmit-bytes", self.max_transmit_bytes.map(u64::from)),
            given("groups", self.groups.map(u64::from)),
            given("partition", self.partition),
            given("rejoin", self.rejoin.map(u64::from)),
            given("late-joiner", self.late_joiner.map(u64::from)),
            given("crash", self.crash.map(u64::from)),
            given("t-min", self.t_min),
            given("t-max", self.t_max),
            given("idle", self.idle),
        ];
        for (_, name, value) in set.into_iter().chain(options).filter(|(is_set, ..)| *is_set) {
            command += &format!(" --{name} {value}");
        }
        let flags = [
            (self.bursty_loss, "bursty-loss"),
            (self.mixed_settings, "mixed-settings"),
            (self.members, "members"),
            (self.archive, "archive"),
            (self.no_resend, "no-resend"),
            (self.catch_up, "catch-up"),
            (self.no_catch_up, "no-catch-up"),
            (self.tail, "tail"),
        ];
        for (_, name) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            command += &format!(" --{name}");
        }
        if self.dialect != Spoken::Lip109
            && let Some(dialect) = self.dialect.to_possible_value()
        {
            command += &format!(" --dialect {}", dialect.get_name());
        }
        command
    }

    /// The command that repeats a seed.
    pub fn replay(&self, seed: u64) -> String {
        format!("reliable-channel simulate {} --seed {seed}", self.parameters())
    }
}

/// A link that is good or bad, loses everything while it is bad, and so much in all.
fn in_bursts(loss: f64) -> Burst {
    let ends = 1.0 / BURST_PACKETS;
    Burst { begins: (ends * loss / (1.0 - loss)).min(1.0), ends, loss: 1.0 }
}
