//! What callbacks are given: decimal bytes, and JSON as nim-sds writes it.
//!
//! What: [`Text`], and the shapes of results and events. Why by hand: a message of nim-sds is 19 KB, and a formatter that
//! asks each byte how it wants to be written takes ten times as long as the protocol. How it moves: a shape is written into
//! one buffer, which then does not change.
//!
//! Ids are byte strings. Like nim-sds, this writes bytes above ASCII as they are, so an id that is not UTF-8 makes text that
//! is not UTF-8, and can be read back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use reliable_channel::types::{ChannelId, HistoryEntry, MessageId};

use crate::decimals::{Written, decimals};
use crate::sync::{Mutex, lock};

/// A text with a zero byte after its end, shared.
#[derive(Clone, Debug)]
pub(crate) struct Text(Arc<Vec<u8>>);

impl From<Vec<u8>> for Text {
    fn from(mut bytes: Vec<u8>) -> Self {
        bytes.push(0);
        // Room for bytes of three digits where most have one; else the next text fits best where this one was.
        if bytes.capacity() / 2 > bytes.len() {
            bytes.shrink_to_fit();
        }
        Self(Arc::new(bytes))
    }
}

impl Text {
    /// A text without anything.
    pub(crate) fn empty() -> Self {
        Vec::new().into()
    }

    /// The text, without the zero byte.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.split_last().map_or(&[], |(_, text)| text)
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.0.capacity()
    }

    /// Sees when it is gone.
    #[cfg(test)]
    pub(crate) fn watch(&self) -> std::sync::Weak<Vec<u8>> {
        Arc::downgrade(&self.0)
    }
}

/// The result of wrapping: the message's bytes as `10,66,48`.
pub(crate) fn wrapped(message: &Bytes) -> Text {
    static LAST: Mutex<Option<(Written, Text)>> = Mutex::new(None);
    let last = lock(&LAST).take();
    let mut out = Vec::with_capacity(message.len() * 4 + 1);
    let before = last.as_ref().map(|(written, text)| (written, text.as_bytes()));
    let written = Written::new(&mut out, message, before);
    let text = Text::from(out);
    // Of two threads, the next text follows the one that was last.
    *lock(&LAST) = Some((written, text.clone()));
    text
}

/// The result of unwrapping.
pub(crate) fn unwrapped<'a>(
    content: &[u8],
    channel: &ChannelId,
    missing: impl Iterator<Item = &'a HistoryEntry>,
) -> Text {
    let mut out = Vec::with_capacity(content.len() * 4 + 256);
    out.extend_from_slice(br#"{"message":["#);
    decimals(&mut out, content);
    out.push(b']');
    field(&mut out, "channelId", channel.as_bytes());
    dependencies(&mut out, missing);
    out.push(b'}');
    out.into()
}

/// The event `message_ready` or `message_sent`.
pub(crate) fn of_message(kind: &str, id: &MessageId, channel: &ChannelId) -> Text {
    let mut out = event(kind);
    field(&mut out, "messageId", id.as_bytes());
    field(&mut out, "channelId", channel.as_bytes());
    out.push(b'}');
    out.into()
}

/// The event `missing_dependencies`.
pub(crate) fn missing_dependencies(id: &MessageId, channel: &ChannelId, missing: &[HistoryEntry]) -> Text {
    let mut out = event("missing_dependencies");
    field(&mut out, "messageId", id.as_bytes());
    field(&mut out, "channelId", channel.as_bytes());
    dependencies(&mut out, missing.iter());
    out.push(b'}');
    out.into()
}

/// The event `periodic_sync`.
pub(crate) fn periodic_sync() -> Text {
    let mut out = event("periodic_sync");
    out.push(b'}');
    out.into()
}

/// The event `repair_ready`: a message to broadcast.
pub(crate) fn repair_ready(channel: &ChannelId, message: &[u8]) -> Text {
    let mut out = event("repair_ready");
    out.reserve(message.len().div_ceil(3) * 4 + 128);
    field(&mut out, "channelId", channel.as_bytes());
    field(&mut out, "message", STANDARD.encode(message).as_bytes());
    out.push(b'}');
    out.into()
}

fn event(kind: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(192);
    out.extend_from_slice(br#"{"eventType":"#);
    string(&mut out, kind.as_bytes());
    out
}

fn dependencies<'a>(out: &mut Vec<u8>, missing: impl Iterator<Item = &'a HistoryEntry>) {
    out.extend_from_slice(br#","missingDeps":["#);
    for (number, entry) in missing.enumerate() {
        out.extend_from_slice(if number == 0 { br#"{"messageId":"# } else { br#",{"messageId":"# });
        string(out, entry.id.as_bytes());
        let hint = entry.hint.as_deref().unwrap_or_default();
        field(out, "retrievalHint", STANDARD.encode(hint).as_bytes());
        out.push(b'}');
    }
    out.push(b']');
}

/// `,"name":"value"`
fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    string(out, value);
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(br#"\""#),
            b'\\' => out.extend_from_slice(br"\\"),
            b'\n' => out.extend_from_slice(br"\n"),
            b'\r' => out.extend_from_slice(br"\r"),
            b'\t' => out.extend_from_slice(br"\t"),
            8 => out.extend_from_slice(br"\b"),
            12 => out.extend_from_slice(br"\f"),
            0..32 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use tap::Tap as _;

    use super::*;

    fn shown(text: &Text) -> &str {
        std::str::from_utf8(text.as_bytes()).unwrap()
    }

    #[test]
    fn bytes_are_written_as_decimals() {
        let wrapped = |bytes: &[u8]| wrapped(&Bytes::copy_from_slice(bytes));
        assert_eq!(shown(&wrapped(&[])), "");
        assert_eq!(shown(&wrapped(&[10, 66, 48])), "10,66,48");
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [
            all.clone(),
            vec![0; 64],
            vec![0; 200],
            [vec![0; 129], all].concat(),
            vec![255; 65],
            vec![200; 129],
            vec![7; 1],
        ] {
            let expected: Vec<String> = bytes.iter().map(ToString::to_string).collect();
            assert_eq!(shown(&wrapped(&bytes)), expected.join(","));
        }
    }

    #[test]
    fn results_and_events_have_the_shapes_of_nim_sds() {
        let entries = [
            HistoryEntry::new("a").tap_mut(|it| it.hint = Some("hint".into())),
            HistoryEntry::new("b").tap_mut(|it| it.sender = Some("bob".into())),
        ];
        let room: ChannelId = "room".into();
        let missing = r#"[{"messageId":"a","retrievalHint":"aGludA=="},{"messageId":"b","retrievalHint":""}]"#;
        assert_eq!(
            shown(&unwrapped(b"hi", &room, entries.iter())),
            format!(r#"{{"message":[104,105],"channelId":"room","missingDeps":{missing}}}"#)
        );
        assert_eq!(shown(&unwrapped(b"", &room, [].iter())), r#"{"message":[],"channelId":"room","missingDeps":[]}"#);
        assert_eq!(
            shown(&missing_dependencies(&"m".into(), &room, &entries)),
            format!(
                r#"{{"eventType":"missing_dependencies","messageId":"m","channelId":"room","missingDeps":{missing}}}"#
            )
        );
        assert_eq!(
            shown(&of_message("message_ready", &"m".into(), &room)),
            r#"{"eventType":"message_ready","messageId":"m","channelId":"room"}"#
        );
        assert_eq!(shown(&periodic_sync()), r#"{"eventType":"periodic_sync"}"#);
        assert_eq!(
            shown(&repair_ready(&room, &[1, 2, 3])),
            r#"{"eventType":"repair_ready","channelId":"room","message":"AQID"}"#
        );
    }

    #[test]
    fn any_id_is_a_json_string() {
        let odd: Vec<u8> = (0..=127).collect();
        let event = of_message("message_sent", &MessageId::new(&odd), &"ü\u{2028}🥖".into());
        let read: serde_json::Value = serde_json::from_slice(event.as_bytes()).unwrap();
        assert_eq!(read["messageId"].as_str().map(str::as_bytes), Some(&odd[..]));
        assert_eq!(read["channelId"], "ü\u{2028}🥖");
        let not_text = of_message("message_sent", &MessageId::new([0xff, 0xfe]), &"room".into());
        assert!(not_text.as_bytes().windows(4).any(|four| four == b"\"\xff\xfe\""), "as nim-sds, byte for byte");
    }

    #[test]
    fn a_text_ends_with_a_zero_byte_that_does_not_count() {
        let text = wrapped(&Bytes::from_static(&[1]));
        assert_eq!((text.as_bytes(), text.0.as_slice()), (&b"1"[..], &b"1\0"[..]));
    }
}
