//! `demo`: the main job, in one command.
//!
//! What: several participants, each a real [`ReliabilityManager`](reliable_channel::manager::ReliabilityManager) with
//! a store on disk, over a network that loses, doubles and reorders what they send. Why: whoever doubts the library
//! can watch it, with text of their own. How it moves: lines are read first, a [`Conversation`] is run in virtual time,
//! and the [`Report`] says whether everybody has everything.

mod absence;
mod accident;
mod conversation;
mod narrator;
mod network;
mod participant;
mod report;
mod script;

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use reliable_channel::channel::Config;
use reliable_channel::manager::ManualClock;
use reliable_channel::types::WallTime;

use crate::screen::{self, Screen};
use crate::store::{StoreArgs, cannot};
use conversation::Conversation;
use narrator::Narrator;
use network::Network;
use participant::{Common, Participant};
use report::Report;
use script::Script;

/// Wall time at which every demo begins, so that the same seed gives the same run: November 2023.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// Virtual time after the last line in which everybody must have everything. At a loss of 0.9 one message in a hundred
/// is asked for and answered at the first attempt, so that some take hours.
const PATIENCE_MS: u64 = 24 * 60 * 60 * 1_000;
/// Above this loss the default options give up, now and then, what the demo waits for.
const MOST_LOSS_BY_DEFAULT: f64 = 0.6;

/// Several participants chat over a network that drops, duplicates and reorders; all end with the same log.
///
/// Messages come from stdin when something is piped in: a line is a message, `bob: hello` is said by bob where bob is
/// a participant, all other lines are said in turns. All options are the library's defaults, a log of 1,000 messages
/// among them, but above a loss of 0.6 everybody is more patient. Without input, a short script is played,
/// and then one participant is away for 500 messages and catches up. Midway one participant
/// is cut off for a while, and one crashes and comes back from its store. Time is virtual, so that it ends in seconds.
/// The exit code is 0 only when all logs are identical and complete.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  printf 'hi\\nbob: how are you?\\n' | reliable-channel demo --participants 5 --loss 0.4"
)]
pub(crate) struct Args {
    /// How many take part, 2 to 26: alice, bob, carol, dave, erin, p6, ...
    #[arg(long, default_value_t = 3, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u8).range(2..=26))]
    participants: u8,
    /// Chance that a transmission does not reach a participant, 0.0 to 0.9
    #[arg(long, default_value_t = 0.3, value_name = "P", value_parser = loss, allow_negative_numbers = true)]
    loss: f64,
    /// Repeats a run: the same seed and input give the same result [default: a new one, which is printed]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<u64>,
    /// Keep the stores in this directory, which must be new or empty: one sub-directory for each participant
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
    /// Print one JSON object instead of the conversation
    #[arg(long)]
    json: bool,
}

/// The user ended the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

fn loss(text: &str) -> Result<f64, String> {
    let loss: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=0.9).contains(&loss) { Ok(loss) } else { Err(format!("{text} is not in 0.0..=0.9")) }
}

pub(crate) fn run(args: Args) -> anyhow::Result<()> {
    let names = script::names(usize::from(args.participants));
    if let Some(dir) = &args.data {
        check_empty(dir)?;
    }
    let config = options(args.loss);
    let script = script::read(&names, conversation::AWAY, config.limits.max_content_bytes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = play(&args, &names, script, config) => outcome,
            Ok(()) = tokio::signal::ctrl_c() => Err(Interrupted.into()),
        }
    });
    // What still runs after an interruption is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn play(args: &Args, names: &[String], script: Script, config: Config) -> anyhow::Result<()> {
    // A seed that can be typed again.
    let seed = args.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000);
    let temporary = match &args.data {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("cannot make a temporary directory")?),
    };
    let root = match (&args.data, &temporary) {
        (Some(dir), _) => dir.as_path(),
        (None, Some(dir)) => dir.path(),
        (None, None) => bail!("no directory for the stores"),
    };

    let mut screen = (!args.json).then(Screen::new);
    match &mut screen {
        None if args.seed.is_none() => screen::note(&format!("seed {seed}")),
        None => {}
        Some(screen) => {
            let (count, loss, watched) = (names.len(), args.loss, &names[0]);
            screen.line(format!("{count} participants, {} messages, loss {loss}, seed {seed}", script.lines.len()));
            screen.line(format!("as {watched} sees it, in virtual time:"));
        }
    }
    let clock = ManualClock::new(WallTime::from_millis(EPOCH_MS));
    let common = Common { config, clock: clock.clone(), store: args.store, messages: script.lines.len(), seed };
    let person = |(index, name): (usize, &String)| {
        let common = Common { seed: seed.wrapping_mul(31).wrapping_add(index as u64), ..common.clone() };
        Participant::new(name.clone(), root.join(name), common, index == 0)
    };
    let people = names.iter().enumerate().map(person).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    let mut narrator = Narrator::new(screen, script.lines.len() * names.len(), width);
    let mut conversation = Conversation::new(people, Network::new(names.len(), args.loss, seed), clock, script);
    let outcome = conversation.run(PATIENCE_MS, &mut narrator).await;
    let screen = narrator.end();
    outcome?;

    let report = Report::new(&conversation);
    for participant in &mut conversation.participants {
        participant.shut_down().await?;
    }
    let mut screen = match screen {
        Some(mut screen) => {
            report.print(&mut screen);
            if let Some(dir) = &args.data {
                let example = dir.join(&names[0]);
                screen.line(format!("To look into a store: reliable-channel inspect --data {}", example.display()));
            }
            screen
        }
        None => {
            let mut screen = Screen::new();
            screen.line(serde_json::to_string(&report)?);
            screen
        }
    };
    screen.flush();
    if let Some(fault) = report.fault() {
        let input = "with the same input";
        bail!(
            "not converged: {fault}; again, {input}: reliable-channel demo --participants {} --loss {} --seed {seed}",
            args.participants,
            args.loss
        );
    }
    screen.end()
}

/// The options that everybody gets, unless so much is lost that waiting must be longer.
fn options(loss: f64) -> Config {
    let mut config = Config::default();
    if loss <= MOST_LOSS_BY_DEFAULT {
        return config;
    }
    config.lost_timeout = 2 * Duration::from_millis(PATIENCE_MS);
    config.max_resend_attempts = 20;
    config.max_sync_interval = 2 * config.sync_interval;
    config
}

/// A demo does not mix with what another run left: `--data` must be new or empty.
fn check_empty(dir: &Path) -> anyhow::Result<()> {
    let shown = dir.display();
    let unusable = |error| cannot(&format!("cannot use --data {shown}"), error);
    match fs::read_dir(dir) {
        // Whatever is wrong with it is told before anything is shown.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::create_dir_all(dir).map_err(unusable),
        Err(error) => Err(unusable(error)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => bail!("--data {shown} is not empty; a demo begins with an empty directory"),
        },
    }
}
