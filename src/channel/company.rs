//! Whether only a few others were heard lately: then nobody else gives evidence, and ours must do alone
//! (docs/protocol.md section 7).

use std::time::Duration;

use crate::types::{ParticipantId, RunningTime};

/// Others in a small group, at most.
const FEW: usize = 3;

/// The participants heard last, one more than a few.
#[derive(Debug, Default)]
pub(super) struct Company(Vec<(RunningTime, ParticipantId)>);

impl Company {
    pub(super) fn heard(&mut self, sender: &ParticipantId, now: RunningTime) {
        if let Some(known) = self.0.iter_mut().find(|(_, name)| name == sender) {
            known.0 = now;
            return;
        }
        if self.0.len() > FEW
            && let Some(oldest) = self.0.iter_mut().min_by_key(|(heard, _)| *heard)
        {
            *oldest = (now, sender.clone());
            return;
        }
        self.0.push((now, sender.clone()));
    }

    /// When another participant was heard last.
    pub(super) fn last_heard(&self) -> Option<RunningTime> {
        self.0.iter().map(|(heard, _)| *heard).max()
    }

    /// Whether no more than a few were heard within this time.
    pub(super) fn is_small(&self, now: RunningTime, window: Duration) -> bool {
        self.0.iter().filter(|(heard, _)| now.since(*heard) <= window).count() <= FEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_small_while_three_others_at_most_were_heard_lately() {
        let second = |n: u64| RunningTime::from_millis(n * 1_000);
        let (mut company, window) = (Company::default(), Duration::from_secs(10));
        for n in 0..9 {
            company.heard(&ParticipantId::new((n % 3).to_string()), second(n));
        }
        assert!(company.is_small(second(9), window));
        company.heard(&"fourth".into(), second(9));
        assert!(!company.is_small(second(9), window));
        assert!(company.is_small(second(17), window), "the first of them fell silent at 6");
        for n in 10..30 {
            company.heard(&ParticipantId::new(n.to_string()), second(17));
            assert!(company.0.len() <= FEW + 1);
        }
        assert!(!company.is_small(second(17), window));
    }
}
