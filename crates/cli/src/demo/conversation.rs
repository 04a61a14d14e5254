//! The conversation: virtual time, who says what when, and two accidents.
//!
//! What: [`Conversation`]. Why the clock is moved by hand: nothing waits for real time, and the same seed and lines give
//! the same run. How it moves: time goes in steps of [`TICK_MS`]; in each, what happens to participants is settled, then
//! all of them have their turn at the same time, then what they broadcast goes to the network in their order.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use reliable_channel::manager::ManualClock;
use reliable_channel::types::MessageId;

use super::absence::{Absence, Returned};
use super::accident::Accident;
use super::narrator::Narrator;
use super::network::Network;
use super::participant::{Participant, Turned};
use super::script::{Line, Script};

/// Who is cut off for a while, and later away for long.
pub(super) const AWAY: usize = 1;
/// Virtual time that passes at a time.
const TICK_MS: u64 = 100;
/// The same, once there is not much going on any more.
const SLOW_TICK_MS: u64 = 1_000;
/// How long that is after the last line.
const SLOW_AFTER_MS: u64 = 20 * 60 * 1_000;
/// A short conversation takes a minute, a long one this much a line at least, and at most.
const PACE_MS: (u64, u64) = (TICK_MS, 2_000);
const SHORT_MS: u64 = 60_000;

/// Participants, network and time.
pub(super) struct Conversation {
    pub(super) participants: Vec<Participant>,
    pub(super) network: Network,
    pub(super) now_ms: u64,
    /// What was said, by id.
    pub(super) said: HashMap<MessageId, Line>,
    /// How many of these each participant said.
    sent: Vec<usize>,
    clock: ManualClock,
    pace_ms: u64,
    total: usize,
    lines: VecDeque<Line>,
    /// Lines whose turn has come, by sender.
    waiting: Vec<VecDeque<Line>>,
    next_line_ms: u64,
    /// When everything had been said.
    all_said_ms: Option<u64>,
    cut: Accident,
    crash: Accident,
    absence: Option<Absence>,
}

impl Conversation {
    pub(super) fn new(participants: Vec<Participant>, network: Network, clock: ManualClock, script: Script) -> Self {
        let Script { lines, talk } = script;
        let (count, total) = (participants.len(), lines.len());
        let pace = (SHORT_MS / (talk as u64).max(1)).clamp(PACE_MS.0, PACE_MS.1);
        Self {
            participants,
            network,
            now_ms: 0,
            said: HashMap::with_capacity(total),
            sent: vec![0; count],
            clock,
            pace_ms: pace,
            total,
            lines: lines.into(),
            waiting: vec![VecDeque::new(); count],
            next_line_ms: TICK_MS,
            all_said_ms: None,
            cut: Accident::new(AWAY, talk / 3, 20_000),
            crash: Accident::new(2.min(count - 1), talk.div_ceil(2), 10_000),
            absence: (talk < total).then(|| Absence::new(AWAY, talk)),
        }
    }

    /// Runs until everybody has everything, or this much virtual time has passed since the last line was said.
    pub(super) async fn run(&mut self, patience_ms: u64, narrator: &mut Narrator) -> anyhow::Result<()> {
        for participant in &mut self.participants {
            participant.start().await?;
        }
        while !self.is_over() && self.all_said_ms.is_none_or(|said| self.now_ms < said + patience_ms) {
            let slow = self.all_said_ms.is_some_and(|said| self.now_ms > said + SLOW_AFTER_MS);
            let tick = if slow { SLOW_TICK_MS } else { TICK_MS };
            self.now_ms += tick;
            self.clock.advance(Duration::from_millis(tick));
            self.accidents(narrator).await?;
            self.absence(narrator).await?;
            self.turns(narrator).await?;
            narrator.progress(|| (0..self.participants.len()).map(|index| self.has(index)).sum());
        }
        Ok(())
    }

    /// Whether all was said, all accidents have happened, and everybody said or received as many messages as were said.
    fn is_over(&self) -> bool {
        self.all_said_ms.is_some()
            && self.cut.is_over()
            && self.crash.is_over()
            && self.absence.as_ref().is_none_or(Absence::is_over)
            && (0..self.participants.len()).all(|index| self.has(index) == self.total)
    }

    /// Messages that a participant said or received.
    pub(super) fn has(&self, index: usize) -> usize {
        self.sent(index) + self.participants[index].received()
    }

    /// Messages that a participant said.
    pub(super) fn sent(&self, index: usize) -> usize {
        self.sent[index]
    }

    /// What the absence of one came to.
    pub(super) fn returned(&self) -> Option<Returned> {
        self.absence.as_ref()?.outcome(self.total)
    }

    /// One goes away when all accidents are over, and is back when all was said.
    async fn absence(&mut self, narrator: &mut Narrator) -> anyhow::Result<()> {
        let Some(mut absence) = self.absence.take() else { return Ok(()) };
        let (now, who) = (self.now_ms, absence.who);
        let missed = self.total - absence.after_lines;
        let all_have = |lines: usize| (0..self.participants.len()).all(|index| self.has(index) == lines);
        let may_begin = self.cut.is_over() && self.crash.is_over() && all_have(absence.after_lines);
        let name = &self.participants[who].name;
        if may_begin && absence.begins() {
            self.next_line_ms = now + TICK_MS;
            self.pace_ms = TICK_MS;
            self.network.set_reachable(who, false);
            narrator.note(now, &format!("{name} goes away, and the others say {missed} messages"));
            narrator.show_no_more_than(3);
        } else if self.all_said_ms.is_some() && absence.ends(now) {
            self.network.set_reachable(who, true);
            narrator.note(now, &format!("{name} is back, and missed all of them"));
            self.participants[who].online().await?;
        } else if self.has(who) == self.total
            && let Some(took) = absence.caught_up(now)
        {
            let seconds = took as f64 / 1_000.0;
            narrator.note(now, &format!("{name} has all of them, {seconds:.1} s after its return"));
        }
        self.absence = Some(absence);
        Ok(())
    }

    async fn accidents(&mut self, narrator: &mut Narrator) -> anyhow::Result<()> {
        let (now, said) = (self.now_ms, self.said.len());
        let who = self.cut.who;
        if self.cut.begins(now, said) {
            self.network.set_reachable(who, false);
            narrator.note(now, &format!("{} is cut off", self.participants[who].name));
        } else if self.cut.ends(now) {
            self.network.set_reachable(who, true);
            narrator.note(now, &format!("{} is connected again", self.participants[who].name));
        }
        // Nobody has both accidents at once.
        if self.crash.who == who && !self.cut.is_over() {
            return Ok(());
        }
        let who = self.crash.who;
        let participant = &mut self.participants[who];
        if self.crash.begins(now, said) {
            self.network.set_reachable(who, false);
            participant.crash();
            narrator.note(now, &format!("{} crashes: dropped without shutdown", participant.name));
        } else if self.crash.ends(now) {
            let messages = participant.start().await?;
            self.network.set_reachable(who, true);
            let plural = if messages == 1 { "" } else { "s" };
            let name = &participant.name;
            narrator.note(now, &format!("{name} is back with {messages} message{plural} from the store"));
        }
        Ok(())
    }

    /// Everybody's turn, at the same time.
    async fn turns(&mut self, narrator: &mut Narrator) -> anyhow::Result<()> {
        while self.now_ms >= self.next_line_ms
            && !self.waits_for_absence()
            && let Some(line) = self.lines.pop_front()
        {
            self.waiting[line.sender].push_back(line);
            self.next_line_ms += self.pace_ms;
        }
        let arrived = self.network.arrived(self.now_ms);
        let mut turns = Vec::with_capacity(arrived.len());
        for (index, (mut participant, arrived)) in self.participants.drain(..).zip(arrived).enumerate() {
            let say = self.waiting[index].front().map(|line| line.text.clone());
            turns.push(tokio::spawn(async move {
                let turned = participant.turn(arrived, say).await;
                (participant, turned)
            }));
        }
        let mut outcomes = Vec::with_capacity(turns.len());
        for turn in turns {
            let (participant, turned) = turn.await.context("a participant's task failed")?;
            self.participants.push(participant);
            outcomes.push(turned?);
        }
        for (index, turned) in outcomes.into_iter().enumerate() {
            self.settle(index, turned, narrator)?;
        }
        if self.all_said_ms.is_none() && self.said.len() == self.total {
            self.all_said_ms = Some(self.now_ms);
        }
        Ok(())
    }

    /// Whether the next line is one that is to be missed, and nobody is away yet.
    fn waits_for_absence(&self) -> bool {
        self.absence
            .as_ref()
            .is_some_and(|absence| absence.is_ahead() && self.total - self.lines.len() >= absence.after_lines)
    }

    fn settle(&mut self, index: usize, turned: Turned, narrator: &mut Narrator) -> anyhow::Result<()> {
        for packet in &turned.packets {
            self.network.broadcast(self.now_ms, index, packet);
        }
        for delivery in turned.delivered {
            let sender = delivery.body.sender.to_string();
            narrator.message(self.now_ms, &sender, &delivery.body.content, delivery.late);
        }
        let Some(id) = turned.said else { return Ok(()) };
        let line = self.waiting[index].pop_front();
        let line = line.ok_or_else(|| anyhow!("{} said what nobody asked for", self.participants[index].name))?;
        if index == 0 {
            narrator.message(self.now_ms, &self.participants[index].name, &line.text, false);
        }
        self.said.insert(id, line);
        self.sent[index] += 1;
        Ok(())
    }

    /// The text of a message that was said, and its sender's name.
    pub(super) fn line(&self, id: &MessageId) -> Option<(&str, &Bytes)> {
        let line = self.said.get(id)?;
        Some((self.participants.get(line.sender)?.name.as_str(), &line.text))
    }
}
