//! Opens what a crash left and holds it against what was promised.
//!
//! What: [`check`], and the process that runs it for a campaign ([`serve`], [`Verifier`]). Why a process: what a damaged
//! file makes a store do (abort, hang) must be counted, not end the campaign. How it moves: a [`Task`] goes in as a line
//! of JSON, a [`Verdict`] comes back as one; no answer in time is a verdict too.

use std::io::{BufRead, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use reliable_channel::state::ChannelData;
use reliable_channel::store::PersistenceError;
use serde::{Deserialize, Serialize};

use crate::model::{Model, Operation, Workload};
use crate::stores::{Backend, Mode, Store};

/// How long a verdict may take.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    pub backend: Backend,
    pub dir: PathBuf,
    pub mode: Mode,
    pub workload: Workload,
    /// Operations acknowledged, per channel.
    pub acknowledged: Vec<u64>,
    /// Operations that may have been begun beyond those.
    pub begun: u64,
    /// Do one more operation in each channel, and read it back.
    pub go_on: bool,
}

/// What became of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// It opened; this is what became of each channel.
    Opened(Vec<Found>),
    /// It did not, and said why.
    Refused(String),
    /// A panic came out of it.
    Panicked(String),
    /// The process ended, or did not answer.
    Died(String),
}

/// What became of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// The state after this operation, which is none before what was acknowledged.
    At(u64),
    /// The state after this operation, an earlier one.
    Lost(u64),
    /// The state after no operation.
    Torn(String),
    /// It did not load, and said why.
    Refused(String),
}

/// Looks at a store; leaves it closed.
pub fn check(task: &Task) -> Verdict {
    let checked = catch_unwind(AssertUnwindSafe(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let store = match task.backend.open(&task.dir, task.mode) {
                Ok(store) => store,
                Err(error) => return Verdict::Refused(told(&error)),
            };
            let mut found = Vec::new();
            for channel in 0..task.workload.channels {
                found.push(look(task, &store, channel).await);
            }
            if task.go_on {
                for (channel, found) in found.iter_mut().enumerate() {
                    if let Found::At(done) = *found {
                        go_on(task, &store, channel, done).await.unwrap_or_else(|wrong| *found = wrong);
                    }
                }
            }
            match store.close().await {
                Ok(()) => Verdict::Opened(found),
                // Nothing was promised about closing a store that is damaged.
                Err(_) if found.iter().any(|found| matches!(found, Found::Refused(_))) => Verdict::Opened(found),
                Err(error) => Verdict::Refused(told(&error)),
            }
        })
    }));
    checked.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        Verdict::Panicked(text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default())
    })
}

async fn look(task: &Task, store: &Store, channel: usize) -> Found {
    let acknowledged = task.acknowledged.get(channel).copied().unwrap_or(0);
    let mut model = Model::at(task.workload, channel, acknowledged);
    let data = match store.persistence.load_channel(&model.id()).await {
        Ok(data) => data,
        Err(error) => return Found::Refused(told(&error)),
    };
    if model.data() == data {
        return Found::At(acknowledged);
    }
    for _ in 0..task.begun {
        model.step();
        if model.data() == data {
            return Found::At(model.done);
        }
    }
    if data.meta.is_none() && !data.is_empty() {
        // The trait lets rows be without one; the channel made of them tells the loss with `StateMended`.
        return Found::Refused("rows without the meta".to_owned());
    }
    let mut model = Model::new(task.workload, channel);
    let mut lost = None;
    while model.done < acknowledged {
        if model.data() == data {
            lost = Some(model.done);
        }
        model.step();
    }
    lost.map_or_else(
        || Found::Torn(unlike(&data, &Model::at(task.workload, channel, acknowledged).data())),
        Found::Lost,
    )
}

/// How what was found differs from what was acknowledged last.
fn unlike(found: &ChannelData, expected: &ChannelData) -> String {
    let rows = found.rows.iter().filter(|row| !expected.rows.contains(row)).count();
    let hints = found.hints.iter().filter(|hint| !expected.hints.contains(hint)).count();
    format!(
        "{} of {} rows, {rows} of them others; {} of {} hints, {hints} of them others; meta {}",
        found.rows.len(),
        expected.rows.len(),
        found.hints.len(),
        expected.hints.len(),
        if found.meta == expected.meta { "as it was" } else { "another" },
    )
}

async fn go_on(task: &Task, store: &Store, channel: usize, done: u64) -> Result<(), Found> {
    let mut model = Model::at(task.workload, channel, done);
    let id = model.id();
    let refused = |error: PersistenceError| Found::Refused(told(&error));
    match model.step() {
        Operation::Commit(commit) => store.persistence.commit(&id, &commit).await,
        Operation::Drop => store.persistence.drop_channel(&id).await,
    }
    .map_err(refused)?;
    let data = store.persistence.load_channel(&id).await.map_err(refused)?;
    if data == model.data() { Ok(()) } else { Err(Found::Torn("what was written after the crash".into())) }
}

fn told(error: &PersistenceError) -> String {
    format!("{error} ({})", error.source.as_ref().map(ToString::to_string).unwrap_or_default())
}

/// Answers tasks on standard input until there are no more.
pub fn serve() -> Result<()> {
    // Told by the verdict.
    std::panic::set_hook(Box::new(|_| {}));
    for line in std::io::stdin().lines() {
        let verdict = check(&serde_json::from_str(&line?)?);
        crate::child::say(&serde_json::to_string(&verdict)?);
    }
    Ok(())
}

/// A process that answers tasks; started again when it dies.
#[derive(Default)]
pub struct Verifier(Option<(Child, Receiver<String>)>);

impl Verifier {
    pub fn check(&mut self, task: &Task) -> Result<Verdict> {
        if self.0.is_none() {
            self.0 = Some(start()?);
        }
        let Some((child, answers)) = &mut self.0 else { unreachable!("started above") };
        let input = child.stdin.as_mut().context("a pipe")?;
        let asked = writeln!(input, "{}", serde_json::to_string(task)?).and_then(|()| input.flush());
        let answer = asked.ok().and_then(|()| answers.recv_timeout(PATIENCE).ok());
        if let Some(answer) = answer {
            return Ok(serde_json::from_str(&answer)?);
        }
        let (mut child, _) = self.0.take().context("started above")?;
        let ended = child.try_wait()?;
        child.kill()?;
        let status = child.wait()?;
        Ok(Verdict::Died(ended.map_or("no answer within a minute".into(), |_| status.to_string())))
    }
}

impl Drop for Verifier {
    fn drop(&mut self) {
        if let Some((mut child, _)) = self.0.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// What a store may allocate is bounded, so that a damaged length is seen as a death and not by the machine.
fn start() -> Result<(Child, Receiver<String>)> {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 6000000; exec \"$0\" verify"])
        .arg(std::env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("a pipe")?);
    let (send, answers) = channel();
    thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let _ = send.send(line);
        }
    });
    Ok((child, answers))
}
