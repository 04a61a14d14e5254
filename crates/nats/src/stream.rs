//! The stream that keeps what was said: found or made, asked for single messages.
//!
//! What: [`find`], which says what is to be done where there is none, and [`get`]. Why nothing is changed of a stream that is
//! there: somebody chose its limits.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;

use crate::options::History;
use crate::subject::covers;

/// A stream that was found or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whether it answers without its leader.
    pub(crate) is_direct: bool,
    /// Limits that are not those asked for.
    pub(crate) differs: Option<String>,
    /// Whether each subject's newest message stays for good.
    pub(crate) keeps_each: bool,
    /// The sequence of its newest message.
    pub(crate) last: u64,
    /// When it was made, in nanoseconds since 1970.
    pub(crate) made: i128,
}

/// Finds the stream of this name, or makes it. The error says what to do.
pub(crate) async fn find(context: &Context, wanted: &Config) -> Result<Found, String> {
    match context.get_stream(&wanted.name).await {
        Ok(stream) => look_at(stream.cached_info(), wanted),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                make(context, wanted).await
            }
            GetStreamErrorKind::JetStream(error) => {
                Err(advice(error.error_code(), &error.to_string(), &wanted.name, wanted.num_replicas))
            }
            GetStreamErrorKind::Request => Err(NO_JETSTREAM.to_owned()),
            _ => Err(format!("{:?} cannot be the name of a stream", wanted.name)),
        },
    }
}

const NO_JETSTREAM: &str =
    "no JetStream answers; start the server with `-js`, let this user use `$JS.API.>`, or ask for no history";

async fn make(context: &Context, wanted: &Config) -> Result<Found, String> {
    match context.create_stream(wanted.clone()).await {
        // Another member may have been faster, with the same limits.
        Ok(stream) => look_at(stream.cached_info(), wanted),
        Err(error) => match error.kind() {
            // Another member was faster, with other limits.
            CreateStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                let stream = context.get_stream(&wanted.name).await.map_err(|error| error.to_string())?;
                look_at(stream.cached_info(), wanted)
            }
            CreateStreamErrorKind::JetStream(error) => {
                Err(advice(error.error_code(), &error.to_string(), &wanted.name, wanted.num_replicas))
            }
            CreateStreamErrorKind::JetStreamUnavailable | CreateStreamErrorKind::TimedOut => {
                Err(NO_JETSTREAM.to_owned())
            }
            _ => Err(error.to_string()),
        },
    }
}

/// The stream that keeps what is said under these subjects.
pub(crate) fn config(wanted: &History, subjects: &str) -> Config {
    Config {
        name: wanted.stream.clone(),
        subjects: vec![subjects.to_owned()],
        max_age: wanted.max_age.unwrap_or(Duration::ZERO),
        max_bytes: or_any(wanted.max_bytes),
        max_messages: or_any(wanted.max_messages),
        max_messages_per_subject: or_any(wanted.max_messages_per_topic),
        num_replicas: wanted.replicas,
        storage: if wanted.in_memory { StorageType::Memory } else { StorageType::File },
        allow_direct: true,
        ..Config::default()
    }
}

/// A limit in JetStream's words.
pub(crate) fn or_any(limit: Option<u64>) -> i64 {
    limit.map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX))
}

fn look_at(info: &Info, wanted: &Config) -> Result<Found, String> {
    let differs = compare(&info.config, wanted)?;
    let made = info.created.unix_timestamp_nanos();
    let keeps_each = keeps_each(&info.config);
    Ok(Found { is_direct: info.config.allow_direct, differs, keeps_each, last: info.state.last_sequence, made })
}

/// Whether each subject has one message, which stays until another one replaces it.
fn keeps_each(found: &Config) -> bool {
    let removes_none = found.discard == DiscardPolicy::New || found.max_messages <= 0 && found.max_bytes <= 0;
    let is_for_good = found.max_age.is_zero() && found.retention == RetentionPolicy::Limits;
    found.max_messages_per_subject == 1 && is_for_good && removes_none
}

/// How the limits of a stream differ from those asked for. The error says why it is of no use.
fn compare(found: &Config, asked: &Config) -> Result<Option<String>, String> {
    let name = &asked.name;
    for subjects in &asked.subjects {
        if !found.subjects.iter().any(|pattern| covers(pattern, subjects)) {
            let has = found.subjects.join(", ");
            return Err(format!("the stream {name} keeps {has}; add {subjects} to it, or name another stream"));
        }
    }
    if found.no_ack {
        return Err(format!("the stream {name} does not acknowledge; make it without `no_ack`"));
    }
    let mut differs = Vec::new();
    let mut limit = |what: &str, has: i64, asked: i64| {
        let named = |number: i64| if number <= 0 { "any number".to_owned() } else { number.to_string() };
        if has.max(0) != asked.max(0) {
            differs.push(format!("{what}: {} and not {}", named(has), named(asked)));
        }
    };
    let seconds = |age: Duration| i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
    limit("bytes", found.max_bytes, asked.max_bytes);
    limit("messages", found.max_messages, asked.max_messages);
    limit("messages a topic", found.max_messages_per_subject, asked.max_messages_per_subject);
    limit("seconds", seconds(found.max_age), seconds(asked.max_age));
    limit("replicas", found.num_replicas as i64, asked.num_replicas as i64);
    Ok((!differs.is_empty()).then(|| differs.join(", ")))
}

/// What to do about an error of JetStream's.
pub(crate) fn advice(code: ErrorCode, why: &str, stream: &str, replicas: usize) -> String {
    match code {
        ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => NO_JETSTREAM.to_owned(),
        ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED => {
            format!("{replicas} replicas need a cluster of as many servers with JetStream; ask for 1")
        }
        ErrorCode::STREAM_SUBJECT_OVERLAP => {
            "another stream keeps these subjects already; name that one, or use another prefix".to_owned()
        }
        ErrorCode::INSUFFICIENT_RESOURCES | NO_ROOM | ErrorCode::ACCOUNT_RESOURCES_EXCEEDED => {
            format!("the server has no room for the stream ({why}); ask for fewer bytes, or give it more")
        }
        ErrorCode::STREAM_STORE_FAILED => format!(
            "the stream {stream} takes no more ({why}); let it discard its oldest messages, or raise its limits"
        ),
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            format!("the stream {stream} takes no message so large; raise its `max_msg_size`, or send smaller ones")
        }
        _ => format!("the stream {stream} failed: {why}"),
    }
}

/// "Insufficient storage resources available", which the client has no name for.
const NO_ROOM: ErrorCode = ErrorCode(10_047);

/// The message of this sequence, if it is there and was sent under this subject. Sequences begin anew where a stream was
/// made again, so that one may mean another message than it did.
pub(crate) async fn get(stream: &Stream<()>, is_direct: bool, sequence: u64, subject: &str) -> Option<Bytes> {
    let message = if is_direct {
        stream.direct_get(sequence).await.ok()?
    } else {
        stream.get_raw_message(sequence).await.ok()?
    };
    (message.subject.as_str() == subject).then_some(message.payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_with_other_limits_is_used_and_says_how_they_differ() {
        let wanted = History { max_messages: Some(10), ..History::default() };
        let same = config(&wanted, "rc.1.*");
        assert_eq!(compare(&same, &same), Ok(None));
        let other = Config { max_messages: 5, max_bytes: -1, ..same.clone() };
        let differs = "bytes: any number and not 1073741824, messages: 5 and not 10".to_owned();
        assert_eq!(compare(&other, &same), Ok(Some(differs)));
        let archives = Config {
            max_messages_per_subject: 1,
            max_bytes: -1,
            max_messages: -1,
            max_age: Duration::ZERO,
            ..same.clone()
        };
        let bounded = Config { max_bytes: 1, discard: DiscardPolicy::New, ..archives.clone() };
        assert!(keeps_each(&archives) && keeps_each(&bounded));
        let (at_once, all) = (Duration::from_nanos(1), Config { max_messages_per_subject: -1, ..archives.clone() });
        let (old, queue) = (RetentionPolicy::Interest, RetentionPolicy::WorkQueue);
        for not in [
            all,
            Config { max_age: at_once, ..archives.clone() },
            Config { max_bytes: 1, ..archives.clone() },
            Config { max_messages: 1, ..archives.clone() },
            Config { retention: old, ..archives.clone() },
            Config { retention: queue, ..archives },
        ] {
            assert!(!keeps_each(&not), "{not:?}");
        }
        let elsewhere = Config { subjects: vec!["orders.>".into()], ..same.clone() };
        assert!(compare(&elsewhere, &same).unwrap_err().contains("add rc.1.* to it"));
    }
}
