//! From a line to a command.
//!
//! What: [`Command`] with the `seq` to echo. Why strict: an unknown or misspelt field is told instead of ignored, for
//! nobody watches a pipe. How it moves: [`parse`] gives a [`Request`], or [`Wrong`], which carries the `seq` where one
//! could be read.

use std::collections::BTreeSet;

use bytes::Bytes;
use reliable_channel::types::{MessageId, ParticipantId};
use serde::Deserialize;
use serde_json::{Map, Value};

/// Messages of a page of the history, where no number is given.
const PAGE: usize = 50;

/// A line, understood or not.
pub(super) struct Request {
    /// To be echoed when it is done.
    pub(super) seq: Option<u64>,
    pub(super) command: Result<Command, String>,
}

pub(super) enum Command {
    Send {
        content: Bytes,
        id: Option<MessageId>,
        hint: Option<Bytes>,
    },
    Ephemeral {
        content: Bytes,
    },
    Receive {
        bytes: Bytes,
    },
    Sync,
    /// The network is back.
    Online,
    /// Compare with another participant, and fetch what is missing.
    CatchUp,
    /// Who is in the channel.
    Members {
        epoch: u64,
        members: BTreeSet<ParticipantId>,
    },
    /// Who has a message.
    Who {
        id: MessageId,
    },
    Status,
    History {
        before: Option<MessageId>,
        limit: usize,
    },
    Sweep,
    Met {
        ids: Vec<MessageId>,
    },
    Resend {
        id: MessageId,
    },
    Withdraw {
        id: MessageId,
    },
    Erase {
        id: MessageId,
    },
    Clock {
        ms: u64,
    },
    State,
    Quit,
}

/// A line that is no command.
pub(super) struct Wrong {
    seq: Option<u64>,
    why: String,
}

impl Wrong {
    pub(super) fn new(why: String) -> Self {
        Self { seq: None, why }
    }
}

impl Request {
    pub(super) fn wrong(wrong: Wrong) -> Self {
        Self { seq: wrong.seq, command: Err(wrong.why) }
    }
}

pub(super) fn parse(line: &str) -> Result<Request, Wrong> {
    let mut fields: Map<String, Value> =
        serde_json::from_str(line).map_err(|error| Wrong::new(format!("not a JSON object: {error}")))?;
    let seq = match fields.remove("seq") {
        None => None,
        Some(seq) => Some(seq.as_u64().ok_or_else(|| Wrong::new("seq must be a number, 0 or above".to_owned()))?),
    };
    let wrong = |why| Wrong { seq, why };
    let raw: Raw = serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(error.to_string()))?;
    Ok(Request { seq, command: Ok(raw.checked().map_err(wrong)?) })
}

/// As it is written.
#[derive(Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case", deny_unknown_fields)]
enum Raw {
    Send {
        text: Option<String>,
        hex: Option<String>,
        id: Option<String>,
        id_hex: Option<String>,
        hint: Option<String>,
        hint_hex: Option<String>,
    },
    Ephemeral {
        text: Option<String>,
        hex: Option<String>,
    },
    Receive {
        hex: String,
    },
    Sync {},
    Online {},
    CatchUp {},
    Members {
        epoch: u64,
        members: Vec<String>,
    },
    Who {
        id: Option<String>,
        id_hex: Option<String>,
    },
    Status {},
    History {
        before: Option<String>,
        before_hex: Option<String>,
        limit: Option<usize>,
    },
    Sweep {},
    Met {
        ids: Vec<Id>,
    },
    Resend {
        id: Option<String>,
        id_hex: Option<String>,
    },
    Withdraw {
        id: Option<String>,
        id_hex: Option<String>,
    },
    Erase {
        id: Option<String>,
        id_hex: Option<String>,
    },
    Clock {
        ms: u64,
    },
    State {},
    Quit {},
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "an id is a string, or an object with id_hex alone")]
enum Id {
    Text(String),
    Hex(HexId),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HexId {
    id_hex: String,
}

impl Raw {
    fn checked(self) -> Result<Command, String> {
        Ok(match self {
            Self::Send { text, hex, id, id_hex, hint, hint_hex } => Command::Send {
                content: content(text, hex)?,
                id: either("id", id, id_hex)?.map(|id| MessageId::new(&id)),
                hint: either("hint", hint, hint_hex)?,
            },
            Self::Ephemeral { text, hex } => Command::Ephemeral { content: content(text, hex)? },
            Self::Receive { hex } => Command::Receive { bytes: from_hex("hex", &hex)? },
            Self::Sync {} => Command::Sync,
            Self::Online {} => Command::Online,
            Self::CatchUp {} => Command::CatchUp,
            Self::Members { epoch, members } => {
                Command::Members { epoch, members: members.into_iter().map(ParticipantId::from).collect() }
            }
            Self::Who { id, id_hex } => Command::Who { id: the_id(id, id_hex)? },
            Self::Status {} => Command::Status,
            Self::History { before, before_hex, limit } => Command::History {
                before: either("before", before, before_hex)?.map(|id| MessageId::new(&id)),
                limit: limit.unwrap_or(PAGE),
            },
            Self::Sweep {} => Command::Sweep,
            Self::Met { ids } => Command::Met {
                ids: ids
                    .into_iter()
                    .map(|id| match id {
                        Id::Text(id) => Ok(MessageId::from(id)),
                        Id::Hex(HexId { id_hex }) => from_hex("id_hex", &id_hex).map(|id| MessageId::new(&id)),
                    })
                    .collect::<Result<_, _>>()?,
            },
            Self::Resend { id, id_hex } => Command::Resend { id: the_id(id, id_hex)? },
            Self::Withdraw { id, id_hex } => Command::Withdraw { id: the_id(id, id_hex)? },
            Self::Erase { id, id_hex } => Command::Erase { id: the_id(id, id_hex)? },
            Self::Clock { ms } => Command::Clock { ms },
            Self::State {} => Command::State,
            Self::Quit {} => Command::Quit,
        })
    }
}

fn content(text: Option<String>, hex: Option<String>) -> Result<Bytes, String> {
    match (text, hex) {
        (Some(text), None) => Ok(text.into()),
        (None, Some(hex)) => from_hex("hex", &hex),
        _ => Err("either text or hex is needed".to_owned()),
    }
}

fn either(name: &str, text: Option<String>, hex: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, hex) {
        (Some(_), Some(_)) => Err(format!("either {name} or {name}_hex, not both")),
        (text, None) => Ok(text.map(Bytes::from)),
        (None, Some(hex)) => from_hex(&format!("{name}_hex"), &hex).map(Some),
    }
}

fn the_id(id: Option<String>, id_hex: Option<String>) -> Result<MessageId, String> {
    let id = either("id", id, id_hex)?.ok_or("either id or id_hex is needed")?;
    Ok(MessageId::new(&id))
}

fn from_hex(name: &str, text: &str) -> Result<Bytes, String> {
    hex::decode(text).map(Bytes::from).map_err(|error| format!("{name}: {error}"))
}
