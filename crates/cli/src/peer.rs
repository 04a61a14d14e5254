//! `peer`: one channel, driven by another program over stdin and stdout.
//!
//! What: a line of JSON in is a command, lines of JSON out are what it led to, and a `done` closes each command. Why:
//! scripts and programs in other languages get the whole protocol without linking the library, and tests get a
//! participant whose clock stands still. How it moves: `lines` reads, `command` understands, [`session`] drives a
//! [`Channel`](reliable_channel::Channel) and carries its steps out in order: saved, transmitted, told. Nothing happens
//! by itself: whoever drives it sends `sweep` about once a second.

mod clock;
mod command;
mod help;
mod lines;
mod online;
mod session;
mod store;
mod told;

use std::path::PathBuf;
use std::time::Duration;

use reliable_channel::authenticity::SharedAuthenticator;
use reliable_channel::channel::{Config, Join};
use reliable_channel::types::{Dialect, ParticipantId};

use crate::network::{NatsArgs, UdpIfAsked};
use crate::screen::Screen;
use crate::store::StoreArgs;
use command::Request;
use help::HELP;
use lines::Lines;
use session::Session;
use told::Told;

/// Drive one channel from another program: JSON lines in, JSON lines out.
#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(crate) struct Args {
    /// The channel's id
    #[arg(long, value_name = "ID")]
    channel: String,
    /// Who this participant is
    #[arg(long, value_name = "ID")]
    sender: String,
    /// Sign what is said with the key in this file, 32 bytes, made where it is missing, and take in what is signed alone; the
    /// key becomes part of our id, as in SENDER/KEY, and others' ids must end with theirs
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Which peers' conventions to speak
    #[arg(long, default_value = "lip109", value_parser = ["lip109", "js", "nim"])]
    dialect: String,
    /// Keep the channel in a store in this directory; without one, nothing is kept
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Stop the clock at this Unix time in milliseconds; then only the command `clock` moves it
    #[arg(long, value_name = "MS")]
    now: Option<u64>,
    /// Entries of the log's tail in a causal history, besides its heads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=1_000))]
    causal: Option<u16>,
    /// Shortest wait before a repair request
    #[arg(long, value_name = "MS")]
    tmin: Option<u64>,
    /// Longest wait before a repair request or answer
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    tmax: Option<u64>,
    /// Response groups
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    groups: Option<u32>,
    /// Wait for a missing message before it is given up
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    lost: Option<u64>,
    /// Erase the contents of messages when they are as old as this; older ones are not shown
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(1..))]
    body_age: Option<u64>,
    /// In a channel without stored state, show the first message only when up to so many older ones are there; 0 shows it at
    /// once and asks for nothing older; without this, it is shown at once and 100 older ones follow as history
    #[arg(long, value_name = "N")]
    backfill: Option<u64>,
    #[command(flatten)]
    udp: UdpIfAsked,
    #[command(flatten)]
    nats: NatsArgs,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    if args.udp.asked() || args.nats.nats.is_some() {
        return online::run(args);
    }
    let (mut session, opened) = Session::open(args, None)?;
    let mut lines = Lines::new(std::io::stdin().lock());
    let mut screen = Screen::new();
    say(&mut screen, &opened)?;
    while !screen.has_failed()
        && let Some(line) = lines.next()?
    {
        let request = line.and_then(|line| command::parse(&line)).unwrap_or_else(Request::wrong);
        let (told, ended) = session.answer(request)?;
        say(&mut screen, &told)?;
        if ended {
            break;
        }
    }
    session.close()?;
    screen.end()
}

/// Everything that one command led to, written out at once.
fn say(screen: &mut Screen, told: &[Told]) -> anyhow::Result<()> {
    for told in told {
        screen.json(told)?;
    }
    screen.flush();
    Ok(())
}

impl Args {
    /// Who this participant is, and what it signs with.
    fn identity(&self) -> anyhow::Result<(ParticipantId, Option<SharedAuthenticator>)> {
        match &self.key {
            None => Ok((self.sender.as_str().into(), None)),
            Some(file) => {
                let keys = crate::key::keys(file)?;
                Ok((keys.public_key().name(&self.sender), Some(keys.into())))
            }
        }
    }

    fn dialect(&self) -> Dialect {
        match self.dialect.as_str() {
            "js" => Dialect::JsWaku,
            "nim" => Dialect::NimSds,
            _ => Dialect::Lip109,
        }
    }

    /// The dialect's options, and what the command line says.
    fn config(&self) -> Config {
        let mut config = Config::of(self.dialect());
        config.join = match self.backfill {
            None => config.join,
            Some(0) => Join::FromNow,
            Some(messages) => Join::Backfill(messages),
        };
        let millis = |ms: Option<u64>, default| ms.map_or(default, Duration::from_millis);
        config.t_min = millis(self.tmin, config.t_min);
        config.t_max = millis(self.tmax, config.t_max);
        config.lost_timeout = millis(self.lost, config.lost_timeout);
        config.max_body_age = self.body_age.map(Duration::from_millis);
        config.response_groups = self.groups.unwrap_or(config.response_groups);
        config.causal_history_size = self.causal.map_or(config.causal_history_size, usize::from);
        config
    }
}
