//! A store as text: what there is, and what is open.

use super::StoreView;
use super::view::{ChannelView, KeyView};
use crate::screen::{Screen, plain};

/// Writes all channels.
pub(super) fn print(store: &StoreView, screen: &mut Screen) {
    let count = store.channels.len() + store.damaged.len();
    screen.line(format!("{}: {count} channel{}", store.store, if count == 1 { "" } else { "s" }));
    for channel in &store.channels {
        screen.line("");
        print_channel(channel, screen);
    }
    for damaged in &store.damaged {
        screen.line("");
        screen.line(damaged);
        screen.line(format!("  {}", plain(&damaged.error)));
    }
}

fn print_channel(channel: &ChannelView, screen: &mut Screen) {
    screen.line(format!("channel {}", channel.id));
    screen.line(format!("  lamport {}, next delivery {}", channel.lamport, channel.next_delivery));
    let key =
        |key: &Option<KeyView>| key.as_ref().map_or("none".to_owned(), |key| format!("{} {}", key.lamport, key.id));
    let horizon = channel.horizon.map_or("none".to_owned(), |horizon| horizon.to_string());
    screen.line(format!("  floor {}, stub floor {}, horizon {horizon}", key(&channel.floor), key(&channel.stub_floor)));
    screen.line(format!("  {} stubs, {} retrieval hints", channel.stubs, channel.hints));

    section(screen, "log", channel.log.len());
    for logged in &channel.log {
        let delivery = logged.delivery.map_or("own".to_owned(), |number| format!("delivery {number}"));
        let (mut flags, key) = (String::new(), &logged.key);
        for (is, flag) in
            [(logged.late, ", late"), (logged.below_floor, ", below the floor"), (logged.erased, ", erased")]
        {
            flags.push_str(if is { flag } else { "" });
        }
        if !logged.missing.is_empty() {
            let missing: Vec<String> = logged.missing.iter().map(ToString::to_string).collect();
            flags.push_str(&format!(", without {}", missing.join(", ")));
        }
        let (sender, bytes) = (&logged.sender, logged.bytes);
        screen.line(format!("    {}  {}  {sender}  {bytes} bytes  {delivery}{flags}", key.lamport, key.id));
        if !logged.erased {
            screen.line(format!("      {}", logged.content));
        }
    }

    section(screen, "unacknowledged", channel.unacknowledged.len());
    for open in &channel.unacknowledged {
        let due = if open.failed { "given up".to_owned() } else { format!("next {}", time(open.next_due_ms)) };
        let (id, attempts, first) = (&open.key.id, open.attempts, time(open.first_sent_ms));
        let mut line = format!("    {id}  sent {first}, {attempts} resends, {due}");
        for evidence in &open.evidence {
            let (sender, chance) = (&evidence.sender, evidence.chance_of_error);
            line.push_str(&format!(", {sender} probably has it (chance of error {chance:.1e})"));
        }
        screen.line(line);
    }

    section(screen, "waiting for dependencies", channel.waiting.len());
    for waiting in &channel.waiting {
        let (key, sender, bytes) = (&waiting.key, &waiting.sender, waiting.bytes);
        screen.line(format!("    {}  {}  {sender}  {bytes} bytes", key.lamport, key.id));
        screen.line(format!("      {}", waiting.content));
        screen.line("      waits for");
        for dependency in &waiting.waits_for {
            let state = if dependency.received { "received, waits itself" } else { "missing" };
            screen.line(format!("        {}  {state}", dependency.id));
        }
    }

    if let Some(set) = &channel.members {
        let stable = set.stable.map_or("nothing".to_owned(), |stable| format!("up to {stable}"));
        section(screen, &format!("members of epoch {}, stable {stable}", set.epoch), set.members.len());
        for member in &set.members {
            let agreed = match (member.agreed_above, member.agreed_up_to) {
                (Some(lower), Some(upper)) => format!("has what is here above {lower} up to {upper}"),
                _ => "not seen to have what is here".to_owned(),
            };
            screen.line(format!("    {}  since {}, {agreed}", member.sender, member.since));
        }
    }

    section(screen, "repair requests", channel.repair_out.len());
    for request in &channel.repair_out {
        let sender = request.sender.as_ref().map_or(String::new(), |sender| format!("{sender}  "));
        let (id, due, sent, heard) = (&request.id, time(request.t_req_ms), request.sent, request.heard);
        screen.line(format!("    {id}  {sender}T_req {due}, asked {sent} times, heard {heard} times"));
    }

    section(screen, "repair answers", channel.repair_in.len());
    for response in &channel.repair_in {
        screen.line(format!("    {}  T_resp {}", response.id, time(response.t_resp_ms)));
    }

    section(screen, "marks", channel.marks.len());
    for mark in &channel.marks {
        screen.line(format!("    {}  {}", mark.id, mark.kind));
    }
}

fn section(screen: &mut Screen, name: &str, count: usize) {
    screen.line(format!("  {name}: {count}"));
}

/// A time in UTC.
fn time(unix_ms: u64) -> String {
    let (days, ms) = (unix_ms / 86_400_000, unix_ms % 86_400_000);
    // The calendar from 1 March 0000 on, in cycles of 400 years, which have 146,097 days.
    let shifted = days + 719_468;
    let (cycle, day) = (shifted / 146_097, shifted % 146_097);
    let year_of_cycle = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = cycle * 400 + year_of_cycle + u64::from(month <= 2);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day_of_month:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn times_are_dates() {
        for (ms, date) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(ms), date);
        }
    }
}
