//! How much may be sent, and what first (LIP-173, "Rate Limit Manager").
//!
//! What: [`Pace`], the count of an epoch. Why leases: the count must outlive a crash, and a commit for each message would cost
//! more than the message; so a tenth of the quota is saved as spent before it is, and what is left of it after a restart is
//! forfeited. How it moves: whoever wants to send takes a ticket, and asks for its turn when something has changed. Nothing
//! here waits, reads a clock or writes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::types::WallTime;

/// A lease is the quota over this.
const LEASES: u32 = 10;
/// Wait after the count could not be saved.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What goes first when not all may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Priority {
    /// Content of this participant, for the first time or again.
    Own,
    /// Acknowledgements and what others asked for.
    Answer,
    CatchUp,
}

/// So many messages count as sent in an epoch: what a [`Ledger`](super::Ledger) keeps.
///
/// See the [example](super::RateLimit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Unix time over the length of an epoch.
    pub epoch: u64,
    /// Messages.
    pub spent: u32,
}

/// A place among those who wait: by priority, then by who came first.
pub(super) type Ticket = (Priority, u64);

/// Whether a ticket may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is counted and gone.
    Go,
    /// Somebody else is first.
    Behind,
    /// Look again after so long.
    Wait(Duration),
}

#[derive(Debug)]
pub(super) struct Pace {
    quota: u32,
    seconds: u64,
    /// The highest that was entered: a clock that is set back frees nothing.
    epoch: u64,
    /// Of the epoch's quota, so much is saved as spent, and so much is.
    saved: u32,
    spent: u32,
    waiting: BTreeSet<Ticket>,
    tickets: u64,
}

impl Pace {
    /// So many messages in so many seconds, after what was counted before.
    pub(super) fn new(quota: u32, seconds: u64, counted: Option<Lease>) -> Self {
        let Lease { epoch, spent } = counted.unwrap_or(Lease { epoch: 0, spent: 0 });
        let seconds = seconds.max(1);
        Self { quota, seconds, epoch, saved: spent, spent, waiting: BTreeSet::new(), tickets: 0 }
    }

    /// The epoch of a time.
    pub(super) fn epoch_of(seconds: u64, now: WallTime) -> u64 {
        now.as_millis() / 1_000 / seconds.max(1)
    }

    pub(super) fn ask(&mut self, priority: Priority) -> Ticket {
        self.tickets += 1;
        let ticket = (priority, self.tickets);
        self.waiting.insert(ticket);
        ticket
    }

    pub(super) fn give_up(&mut self, ticket: Ticket) {
        self.waiting.remove(&ticket);
    }

    /// Whether it is this ticket's turn. `save` keeps a count for good, and says whether it could.
    pub(super) fn turn(&mut self, ticket: Ticket, now: WallTime, mut save: impl FnMut(Lease) -> bool) -> Turn {
        let epoch = Self::epoch_of(self.seconds, now);
        if epoch > self.epoch {
            (self.epoch, self.saved, self.spent) = (epoch, 0, 0);
        }
        if self.waiting.first() != Some(&ticket) {
            return Turn::Behind;
        }
        if self.spent >= self.saved {
            if self.saved >= self.quota {
                return Turn::Wait(self.until_the_next(now));
            }
            let spent = self.saved.saturating_add(self.quota.div_ceil(LEASES)).min(self.quota);
            if !save(Lease { epoch: self.epoch, spent }) {
                return Turn::Wait(AFTER_FAILURE);
            }
            self.saved = spent;
        }
        self.spent += 1;
        self.waiting.remove(&ticket);
        Turn::Go
    }

    fn until_the_next(&self, now: WallTime) -> Duration {
        let begins = self.epoch.saturating_add(1).saturating_mul(self.seconds).saturating_mul(1_000);
        Duration::from_millis(begins.saturating_sub(now.as_millis()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const QUOTA: u32 = 25;
    const SECONDS: u64 = 600;

    fn at(epoch: u64, seconds: u64) -> WallTime {
        WallTime::from_millis((epoch * SECONDS + seconds) * 1_000)
    }

    /// Takes so many turns at a time, and says how many went.
    fn sends(pace: &mut Pace, now: WallTime, wanted: usize, kept: &mut Option<Lease>) -> usize {
        let save = |lease: Lease| kept.replace(lease).is_none_or(|before| before != lease);
        let tickets: Vec<Ticket> = (0..wanted).map(|_| pace.ask(Priority::Own)).collect();
        let mut save = save;
        let went = tickets.iter().filter(|ticket| pace.turn(**ticket, now, &mut save) == Turn::Go).count();
        tickets.into_iter().for_each(|ticket| pace.give_up(ticket));
        went
    }

    #[test]
    fn an_epoch_has_its_quota_and_the_next_one_its_own() {
        let (mut pace, mut kept) = (Pace::new(QUOTA, SECONDS, None), None);
        assert_eq!(sends(&mut pace, at(7, 0), 30, &mut kept), 25);
        assert_eq!(sends(&mut pace, at(7, 599), 1, &mut kept), 0);
        let ticket = pace.ask(Priority::Own);
        assert_eq!(pace.turn(ticket, at(7, 590), |_| true), Turn::Wait(Duration::from_secs(10)));
        assert_eq!(pace.turn(ticket, at(8, 0), |_| true), Turn::Go);
    }

    #[test]
    fn a_clock_that_is_set_back_frees_nothing() {
        let (mut pace, mut kept) = (Pace::new(QUOTA, SECONDS, None), None);
        assert_eq!(sends(&mut pace, at(7, 0), 25, &mut kept), 25);
        assert_eq!(sends(&mut pace, at(3, 0), 1, &mut kept), 0);
        let mut restarted = Pace::new(QUOTA, SECONDS, kept);
        assert_eq!(sends(&mut restarted, at(3, 0), 1, &mut kept), 0);
    }

    #[test]
    fn a_restart_forfeits_the_rest_of_a_lease_and_no_more() {
        let (mut pace, mut kept) = (Pace::new(QUOTA, SECONDS, None), None);
        assert_eq!(sends(&mut pace, at(7, 0), 4, &mut kept), 4);
        assert_eq!(kept, Some(Lease { epoch: 7, spent: 6 }), "two leases of three");
        let mut restarted = Pace::new(QUOTA, SECONDS, kept);
        assert_eq!(sends(&mut restarted, at(7, 1), 30, &mut kept), 19);
    }

    #[test]
    fn what_cannot_be_saved_is_not_sent() {
        let mut pace = Pace::new(QUOTA, SECONDS, None);
        let ticket = pace.ask(Priority::Own);
        assert_eq!(pace.turn(ticket, at(7, 0), |_| false), Turn::Wait(AFTER_FAILURE));
        assert_eq!(pace.turn(ticket, at(7, 1), |_| true), Turn::Go);
    }

    #[test]
    fn own_content_goes_before_answers_and_these_before_catch_up() {
        let mut pace = Pace::new(QUOTA, SECONDS, None);
        let tickets = [Priority::CatchUp, Priority::Answer, Priority::Answer, Priority::Own].map(|one| pace.ask(one));
        for (place, next) in [3, 1, 2, 0].into_iter().enumerate() {
            for other in [3, 1, 2, 0].into_iter().skip(place + 1) {
                assert_eq!(pace.turn(tickets[other], at(7, 0), |_| true), Turn::Behind);
            }
            assert_eq!(pace.turn(tickets[next], at(7, 0), |_| true), Turn::Go);
        }
    }

    /// 300 epochs of a world drawn from a seed: a process that dies at any moment, a clock that jumps both ways, and more
    /// repairs than may be sent.
    #[test]
    fn in_300_epochs_with_restarts_no_epoch_is_over_and_own_content_waits_for_no_repair() {
        for seed in 0..20_u64 {
            let mut state = seed;
            let mut draw = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let mut kept: Option<Lease> = None;
            let mut went: BTreeMap<u64, u32> = BTreeMap::new();
            let mut pace = Pace::new(QUOTA, SECONDS, None);
            let (mut own, mut answers) = (Vec::new(), Vec::new());
            let (mut seconds, mut restarts) = (3 * SECONDS, 0);
            while seconds < 303 * SECONDS {
                seconds += draw(30);
                // Now and then a clock is behind by up to two epochs.
                let behind = if draw(10) == 0 { draw(2 * SECONDS) } else { 0 };
                let now = WallTime::from_millis((seconds - behind) * 1_000);
                if draw(40) == 0 {
                    pace = Pace::new(QUOTA, SECONDS, kept);
                    (own, answers) = (Vec::new(), Vec::new());
                    restarts += 1;
                }
                answers.extend((0..draw(4)).map(|_| pace.ask(Priority::Answer)));
                own.extend((0..draw(2)).map(|_| pace.ask(Priority::Own)));
                for _ in 0..draw(8) {
                    let ticket = *own.first().or(answers.first()).unwrap_or(&(Priority::CatchUp, 0));
                    if let Some(answer) = answers.first().filter(|_| !own.is_empty()) {
                        assert_eq!(pace.turn(*answer, now, |_| true), Turn::Behind, "seed {seed}");
                    }
                    let can_save = draw(50) > 0;
                    let turn = pace.turn(ticket, now, |lease| {
                        kept = if can_save { Some(lease) } else { kept };
                        can_save
                    });
                    if turn == Turn::Go {
                        own.retain(|other| *other != ticket);
                        answers.retain(|other| *other != ticket);
                        // What went counts where the count says, which is never an epoch that is over.
                        let epoch = kept.unwrap().epoch;
                        assert!(epoch >= Pace::epoch_of(SECONDS, now), "seed {seed}");
                        *went.entry(epoch).or_default() += 1;
                    }
                }
            }
            assert!(went.len() > 250 && restarts > 50, "seed {seed}: {} epochs, {restarts} restarts", went.len());
            let over: Vec<_> = went.iter().filter(|(_, count)| **count > QUOTA).collect();
            assert!(over.is_empty(), "seed {seed}: {over:?}");
            assert!(went.values().any(|count| *count == QUOTA), "seed {seed}: the quota was never reached");
        }
    }
}
