//! The `reliable-channel` program: the library at work, and a look at what it leaves on disk.
//!
//! What: one subcommand per module. Why thin: whatever can go wrong ends here, as one line on stderr and an exit code:
//! 0 when what the command promises holds, 1 when it does not, 2 for options that make no sense, 130 when interrupted.
//! How it moves: options are parsed, the command runs to its end and prints on stdout.

mod archive;
mod backup;
mod chat;
mod demo;
mod inspect;
mod key;
mod migrate;
mod network;
mod peer;
mod screen;
mod simulate;
mod store;

use std::any::Any;
use std::panic;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

/// Group messaging made reliable over any lossy broadcast.
#[derive(Debug, Parser)]
#[command(name = "reliable-channel", bin_name = "reliable-channel", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Archive(archive::Args),
    Backup(backup::Args),
    Chat(chat::Args),
    Demo(demo::Args),
    Inspect(inspect::Args),
    Migrate(migrate::Args),
    Peer(peer::Args),
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => return explain(&error),
    };
    // Panics are caught where they happen, in the library too, and told once by whom they concern.
    panic::set_hook(Box::new(|_| {}));
    let outcome = panic::catch_unwind(|| match command {
        Command::Archive(args) => archive::run(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Demo(args) => demo::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Migrate(args) => migrate::run(&args),
        Command::Peer(args) => peer::run(&args),
        Command::Simulate(args) => simulate::run(&args),
    });
    match outcome.unwrap_or_else(|panic| Err(defect(&*panic))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::error(&format!("{error:#}"));
            ExitCode::from(if error.is::<demo::Interrupted>() { 130 } else { 1 })
        }
    }
}

/// What to say of a panic.
fn defect(panic: &(dyn Any + Send)) -> anyhow::Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    anyhow::anyhow!("a defect in this program: {text}")
}

/// Help goes to stdout as it is; everything else clap has to say is cut to one line.
fn explain(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A reader that has gone does not want the rest.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        screen::error(
            "a command is needed: archive, backup, chat, demo, inspect, migrate, peer or simulate; see --help",
        );
        return ExitCode::from(2);
    }
    let text = error.to_string();
    let line: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let line = line.join(" ");
    screen::error(&format!("{}; see --help", line.strip_prefix("error: ").unwrap_or(&line)));
    ExitCode::from(2)
}
