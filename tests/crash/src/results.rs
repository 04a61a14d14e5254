//! What campaigns found: one line of JSON a round, and tables made of them.
//!
//! What: [`Log`], [`Line`] and [`table`]. Why lines in a file: a long campaign may be stopped and goes on with the first
//! round that is not there; the tables in the documentation are made from the same lines. How it moves: a round ends,
//! its line is appended; `crash table FILE` adds lines up.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::verify::{Found, Verdict};

/// One round.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// `kill`, `cut`, `damage` or `full`.
    pub campaign: String,
    pub backend: String,
    /// What sets of rounds are told apart by, such as the largest value.
    pub group: String,
    pub round: u64,
    /// Operations acknowledged and looked for.
    pub acknowledged: u64,
    /// What was found, by name; [`FAULTS`] among them.
    pub counts: BTreeMap<String, u64>,
    /// In words, for what is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Counts that must be 0 where a store keeps its promises.
pub const FAULTS: [&str; 6] = ["lost", "torn", "failed opens", "failed loads", "panics", "errors"];

impl Line {
    pub fn new(campaign: &str, backend: &str, group: &str, round: u64) -> Self {
        Self { campaign: campaign.into(), backend: backend.into(), group: group.into(), round, ..Self::default() }
    }

    pub fn count(&mut self, what: &str, by: u64) {
        *self.counts.entry(what.into()).or_default() += by;
    }

    /// Counts what must not be, and says what it was.
    pub fn fault(&mut self, what: &str, by: u64, note: impl Into<String>) {
        self.count(what, by);
        self.notes.push(format!("{what}: {}", note.into()));
    }

    /// Counts a verdict on what was promised whole: every acknowledged operation there (where the mode promises that),
    /// nothing refused.
    pub fn judge(&mut self, verdict: &Verdict, acknowledged: &[u64], may_lose: bool) {
        self.acknowledged += acknowledged.iter().sum::<u64>();
        match verdict {
            Verdict::Refused(why) => self.fault("failed opens", 1, why),
            Verdict::Panicked(why) => self.fault("panics", 1, why),
            Verdict::Died(how) => self.fault("panics", 1, format!("died: {how}")),
            Verdict::Opened(channels) => {
                for (channel, (found, acknowledged)) in channels.iter().zip(acknowledged).enumerate() {
                    match found {
                        Found::At(_) => {}
                        Found::Lost(at) if may_lose => self.count("lost, as the mode allows", acknowledged - at),
                        Found::Lost(at) => {
                            self.fault(
                                "lost",
                                acknowledged - at,
                                format!("channel {channel} at {at} of {acknowledged}"),
                            );
                        }
                        Found::Torn(how) => self.fault("torn", 1, format!("channel {channel}: {how}")),
                        Found::Refused(why) => self.fault("failed loads", 1, format!("channel {channel}: {why}")),
                    }
                }
            }
        }
    }

    pub fn is_clean(&self) -> bool {
        self.is_clean_but_for(&[])
    }

    pub fn is_clean_but_for(&self, allowed: &[String]) -> bool {
        let is_bad = |fault: &&&str| !allowed.iter().any(|name| name == **fault) && self.counts.contains_key(**fault);
        FAULTS.iter().find(is_bad).is_none()
    }
}

/// The file of a campaign, and which rounds it has.
pub struct Log {
    file: Option<File>,
    done: BTreeSet<(String, String, String, u64)>,
    pub lines: Vec<Line>,
}

impl Log {
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let lines = path.filter(|path| path.exists()).map_or(Ok(Vec::new()), read)?;
        let file = path
            .map(|path| OpenOptions::new().append(true).create(true).open(path))
            .transpose()
            .context("the results file")?;
        let done = lines.iter().map(key).collect();
        Ok(Self { file, done, lines: Vec::new() })
    }

    pub fn has(&self, campaign: &str, backend: &str, group: &str, round: u64) -> bool {
        self.done.contains(&(campaign.into(), backend.into(), group.into(), round))
    }

    pub fn add(&mut self, line: Line) -> Result<()> {
        for note in &line.notes {
            eprintln!("{} {} {} round {}: {note}", line.campaign, line.backend, line.group, line.round);
        }
        if let Some(file) = &mut self.file {
            file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
        }
        self.lines.push(line);
        Ok(())
    }
}

fn key(line: &Line) -> (String, String, String, u64) {
    (line.campaign.clone(), line.backend.clone(), line.group.clone(), line.round)
}

/// All lines; one cut short by a crash of the campaign itself is a round not done.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

/// A table in Markdown per campaign.
pub fn table(lines: &[Line]) -> String {
    let mut campaigns: BTreeMap<&str, BTreeMap<(&str, &str), Vec<&Line>>> = BTreeMap::new();
    for line in lines {
        let groups = campaigns.entry(&line.campaign).or_default();
        groups.entry((&line.backend, &line.group)).or_default().push(line);
    }
    let mut text = String::new();
    for (campaign, groups) in campaigns {
        let all: BTreeSet<&str> =
            groups.values().flatten().flat_map(|line| line.counts.keys().map(String::as_str)).collect();
        let faults = FAULTS.iter().copied().filter(|name| campaign != "damage" || all.contains(name));
        let columns: Vec<&str> = all.iter().copied().filter(|name| !FAULTS.contains(name)).chain(faults).collect();
        text += &format!("\n| {campaign} | | rounds | acknowledged | {} |\n", columns.join(" | "));
        text += &format!("|---|---|{}\n", "---:|".repeat(columns.len() + 2));
        for ((backend, group), lines) in groups {
            let acknowledged: u64 = lines.iter().map(|line| line.acknowledged).sum();
            text += &format!("| {backend} | {group} | {} | {acknowledged}", lines.len());
            for column in &columns {
                let sum: u64 = lines.iter().filter_map(|line| line.counts.get(*column)).sum();
                text += &format!(" | {sum}");
            }
            text += " |\n";
        }
    }
    text
}
