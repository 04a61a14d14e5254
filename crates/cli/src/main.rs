//! The `reliable-channel` program: one subcommand per module.

mod simulate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Group messaging made reliable over any lossy broadcast.
#[derive(Debug, Parser)]
#[command(name = "reliable-channel", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Simulate(simulate::Args),
}

fn main() -> ExitCode {
    let Cli { command: Command::Simulate(args) } = Cli::parse();
    match simulate::run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
    }
}
