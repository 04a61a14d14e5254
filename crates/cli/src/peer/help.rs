//! What `peer --help` says of commands and events: `help.txt`, held by tests to what is read and written.

/// Every command and event with its fields.
pub(super) const HELP: &str = include_str!("help.txt");

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use reliable_channel::state::{Body, LogKey};
    use reliable_channel::types::{HistoryEntry, Lamport};
    use serde_json::Value;

    use super::super::command;
    use super::super::told::{Content, Entry, Kept, Members, Named, Place, Plain, RepairIn, RepairOut, State, Told};
    use super::HELP;

    /// What stands in braces behind a name, as it is written; `None` where the name begins no line.
    fn documented(part: &str, name: &str) -> Option<Vec<String>> {
        let line = part.lines().find(|line| {
            let rest = line.strip_prefix("  ").and_then(|line| line.strip_prefix(name));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['{', ' ']))
        })?;
        let fields = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(fields, _)| fields);
        Some(fields.split([',', '|']).map(|field| field.trim().to_owned()).filter(|field| !field.is_empty()).collect())
    }

    fn parts() -> (&'static str, &'static str) {
        HELP.split_once("Answers and events").unwrap()
    }

    /// An event with all of its fields for each kind of event, each made from the one before: the compiler tells when one
    /// is missing.
    fn after(told: Option<&Told>) -> Option<Told> {
        let id = || Named::id(&"a".into());
        let (by, sender) = (|| Named::by(&"bob".into()), || Named::sender(&"bob".into()));
        let (ids, content) = (|| vec![Plain::new(&"a".into())], || Content::new(b"hi"));
        let text = || "text".to_owned();
        let kept = || Kept::new(&Body::new(LogKey { lamport: Lamport(1), id: "a".into() }, "bob".into(), "hi".into()));
        let Some(told) = told else { return Some(Told::Ready { channel: text(), sender: text(), dialect: "nim" }) };
        Some(match told {
            Told::Ready { .. } => Told::Out { kind: "sync", id: id(), to: Some(Named::to(&"bob".into())), hex: text() },
            Told::Out { .. } => Told::Joined { id: id(), history: 100 },
            Told::Joined { .. } => Told::Delivered {
                message: kept(),
                late: true,
                history: false,
                missing: ids(),
                from_member: false,
                below_stable: true,
            },
            Told::Delivered { .. } => Told::Duplicate { id: id() },
            Told::Duplicate { .. } => Told::Echo { id: id() },
            Told::Echo { .. } => Told::Acked { id: id(), by: by() },
            Told::Acked { .. } => Told::AlsoAcked { id: id(), by: by() },
            Told::AlsoAcked { .. } => Told::Uncertain { id: id(), chance: 0.5 },
            Told::Uncertain { .. } => Told::PossiblyAcked { id: id(), by: by(), chance: 0.5 },
            Told::PossiblyAcked { .. } => Told::Failed { id: id(), possibly: true },
            Told::Failed { .. } => {
                let entry = HistoryEntry::new("b");
                Told::Missing { id: id(), ids: ids(), entries: vec![Entry::new(&entry)] }
            }
            Told::Missing { .. } => {
                let place = || Place::new(&LogKey { lamport: Lamport(1), id: "a".into() });
                Told::Gap { missing: 1, after: Some(place()), before: place() }
            }
            Told::Gap { .. } => Told::Lost { ids: ids() },
            Told::Lost { .. } => Told::TooOld { id: id(), sender: sender() },
            Told::TooOld { .. } => Told::IdConflict { id: id(), sender: sender() },
            Told::IdConflict { .. } => Told::Ephemeral { content: content(), sender: sender() },
            Told::Ephemeral { .. } => Told::NotAuthentic { id: id(), sender: sender(), why: text(), count: 1 },
            Told::NotAuthentic { .. } => Told::SyncReceived { sender: sender() },
            Told::SyncReceived { .. } => Told::RepairRequested { id: id(), by: by() },
            Told::RepairRequested { .. } => Told::RepairAnswered { id: id() },
            Told::RepairAnswered { .. } => Told::Limit { limit: text(), id: Some(id()), by: Some(by()) },
            Told::Limit { .. } => Told::ClockReset { from: 1, to: 2 },
            Told::ClockReset { .. } => Told::SharedIdentity { id: id() },
            Told::SharedIdentity { .. } => Told::StateMended { what: text() },
            Told::StateMended { .. } => Told::ForeignDialect { heard: "js" },
            Told::ForeignDialect { .. } => Told::SyncStatus { state: "syncing", received: Some(1), missing: Some(1) },
            Told::SyncStatus { .. } => Told::DeliveredToAll { id: id() },
            Told::DeliveredToAll { .. } => Told::Stable { up_to: 1 },
            Told::Stable { .. } => Told::StabilityWaits { member: Named::member(&"bob".into()) },
            Told::StabilityWaits { .. } => Told::StabilityBroken { id: id(), sender: sender() },
            Told::StabilityBroken { .. } => Told::Expired { id: id() },
            Told::Expired { .. } => Told::Who { id: id(), by: ids(), missing: ids(), missing_users: ids() },
            Told::Who { .. } => Told::History { messages: vec![kept()], more: true },
            Told::History { .. } => Told::Other { what: text() },
            Told::Other { .. } => Told::State(Box::new(State {
                log: ids(),
                outgoing: ids(),
                incoming: ids(),
                repair_out: vec![RepairOut { id: id(), t_req: 1 }],
                repair_in: vec![RepairIn { id: id(), t_resp: 1 }],
                lamport: 1,
                floor: Some(Place::new(&LogKey { lamport: Lamport(1), id: "a".into() })),
                members: Some(Members::from((1, vec!["bob".into()]))),
                stable: Some(1),
            })),
            Told::State(_) => Told::error("wrong"),
            Told::Error { .. } => Told::Done { seq: Some(1) },
            Told::Done { .. } => return None,
        })
    }

    #[test]
    fn every_event_is_documented_with_its_fields() {
        let mut told = after(None);
        let mut count = 0;
        while let Some(this) = told {
            let Value::Object(mut fields) = serde_json::to_value(&this).unwrap() else { panic!("{this:?}") };
            let name = fields.remove("ev").unwrap();
            let name = name.as_str().unwrap();
            let documented = documented(parts().1, name).unwrap_or_else(|| panic!("{name} is not in the help"));
            let documented: BTreeSet<_> = documented.iter().map(|field| field.trim_end_matches('?')).collect();
            assert_eq!(documented, fields.keys().map(String::as_str).collect(), "{name}");
            told = after(Some(&this));
            count += 1;
        }
        let lines = parts().1.lines().filter(|line| {
            let name = line.strip_prefix("  ").and_then(|line| line.split_once('{')).map_or("", |(name, _)| name);
            !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        });
        assert_eq!(lines.count(), count, "and nothing else is");
    }

    /// The names in an error of serde that says what it expected.
    fn expected(line: &str) -> Vec<String> {
        let Err(wrong) = command::parse(line) else { panic!("{line}") };
        let why = command::Request::wrong(wrong).command.err().unwrap();
        let (_, names) = why.split_once("expected").unwrap_or(("", ""));
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_command_is_documented_with_its_fields() {
        let commands = expected(r#"{"cmd":"nope"}"#);
        assert_eq!(commands.len(), 18, "{commands:?}");
        for command in commands {
            let documented = documented(parts().0, &command).unwrap_or_else(|| panic!("{command} is not in the help"));
            let documented: BTreeSet<_> =
                documented.iter().map(|field| field.trim_end_matches('?').to_owned()).collect();
            // Of every name there may be a second with `_hex` after it, which the help says once for all.
            let known = expected(&format!(r#"{{"cmd":"{command}","nope":1}}"#));
            let known: BTreeSet<_> = known.into_iter().filter(|field| !field.ends_with("_hex")).collect();
            assert_eq!(documented, known, "{command}");
        }
    }
}
