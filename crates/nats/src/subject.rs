//! The names of everything on the server: [`Names`].
//!
//! What: subjects, made from topics and from who takes part, and read again. Why base32 and not the topic itself: topics are
//! any bytes, and a subject has no spaces, dots or stars of its own. How it moves: what is sent goes to
//! [`topic`](Names::topic) or to one [`participant`](Names::participant), with [`answer`](Names::answer) as the subject that
//! answers go to, by which receivers also know who sent it ([`sender`](Names::sender)).
//!
//! README.md has the table of subjects.

use data_encoding::BASE32_NOPAD;
use reliable_channel::transport::{PeerAddr, Topic};
use sha2::{Digest, Sha256};

/// What a topic's token begins with that is not the topic itself. Base32 has neither of them.
const EMPTY: &str = "0";
pub(crate) const HASHED: char = '1';
/// What the last token of a subject for answers begins with.
const ANSWER: char = '9';
/// The token before a participant's name.
const PARTICIPANT: &str = "p";
/// Bytes of the largest topic that stands in a subject; of longer ones, their hash does.
const MAX_PLAIN: usize = 64;
/// Random bytes of a participant's name.
const NAME_BYTES: usize = 10;

/// The subjects under one prefix, as one participant uses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// Prefix and version.
    root: String,
    /// Who this participant is on this server.
    own: String,
}

/// What came to a participant's own subjects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Personal {
    /// An answer to what was sent under this number.
    Answer(u64),
    /// A message, under the topic with this token.
    Message(Topic),
}

impl Names {
    /// The names under this prefix, if it is one, of a participant with this much entropy.
    pub(crate) fn new(prefix: &str, entropy: [u8; NAME_BYTES]) -> Option<Self> {
        let is_token = |token: &str| {
            !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };
        let root = format!("{prefix}.1");
        prefix.split('.').all(is_token).then(|| Self { root, own: base32(&entropy) })
    }

    /// Where all who subscribed to this topic hear.
    pub(crate) fn topic(&self, topic: &Topic) -> String {
        format!("{}.{}", self.root, token(topic))
    }

    /// The topic of this subject as readers are found by; `None` for one that is no topic's.
    pub(crate) fn token(&self, subject: &str) -> Option<Topic> {
        let token = subject.strip_prefix(&self.root)?.strip_prefix('.')?;
        (!token.contains('.')).then(|| Topic::new(token.as_bytes().to_vec()))
    }

    /// All subjects of topics, and nothing else: what a stream keeps.
    pub(crate) fn topics(&self) -> String {
        format!("{}.*", self.root)
    }

    /// Where one participant hears of this topic; `None` for an address that is none of these.
    pub(crate) fn participant(&self, peer: &PeerAddr, topic: &Topic) -> Option<String> {
        let name = std::str::from_utf8(peer.as_bytes()).ok().filter(|name| is_name(name))?;
        Some(format!("{}.{PARTICIPANT}.{name}.{}", self.root, token(topic)))
    }

    /// All that is sent to this participant.
    pub(crate) fn personal(&self) -> String {
        format!("{}.{PARTICIPANT}.{}.*", self.root, self.own)
    }

    /// Where the answer to what was sent under this number goes.
    pub(crate) fn answer(&self, number: u64) -> String {
        format!("{}.{PARTICIPANT}.{}.{ANSWER}{number}", self.root, self.own)
    }

    /// A subject that nobody has subscribed to.
    pub(crate) fn nobody(&self) -> String {
        format!("{}.{PARTICIPANT}.0.0", self.root)
    }

    /// Who sent something with this subject for answers; `None` for somebody who is no participant.
    pub(crate) fn sender(&self, answers: &str) -> Option<PeerAddr> {
        let rest = answers.strip_prefix(&self.root)?.strip_prefix('.')?.strip_prefix(PARTICIPANT)?.strip_prefix('.')?;
        let (name, last) = rest.split_once('.')?;
        (is_name(name) && answered(last).is_some()).then(|| PeerAddr::new(name.as_bytes().to_vec()))
    }

    /// What came to this subject of ours.
    pub(crate) fn read(&self, subject: &str) -> Option<Personal> {
        let last = subject.rsplit('.').next()?;
        Some(match answered(last) {
            Some(number) => Personal::Answer(number),
            None => Personal::Message(Topic::new(last.as_bytes().to_vec())),
        })
    }
}

/// The topic as readers are found by here: its token.
pub(crate) fn under(topic: &Topic) -> Topic {
    Topic::new(token(topic).into_bytes())
}

/// Whether a stream that keeps `pattern` keeps all of `subject`, which may have stars.
pub(crate) fn covers(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(token)) if token != ">" => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

fn token(topic: &Topic) -> String {
    token_of(topic.as_bytes())
}

/// A token for any bytes.
pub(crate) fn token_of(bytes: &[u8]) -> String {
    match bytes {
        [] => EMPTY.to_owned(),
        bytes if bytes.len() <= MAX_PLAIN => base32(bytes),
        bytes => format!("{HASHED}{}", base32(&Sha256::digest(bytes))),
    }
}

fn answered(last: &str) -> Option<u64> {
    last.strip_prefix(ANSWER)?.parse().ok()
}

fn is_name(name: &str) -> bool {
    name.len() == NAME_BYTES * 8 / 5 && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'2'..=b'7'))
}

pub(crate) fn base32(bytes: &[u8]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("rc", [0; NAME_BYTES]).unwrap()
    }

    #[test]
    fn the_subjects_are_those_of_the_readme() {
        let (names, lobby) = (names(), Topic::from("lobby"));
        assert_eq!(names.topic(&lobby), "rc.1.nrxweytz");
        assert_eq!(names.topic(&Topic::from("")), "rc.1.0");
        assert_eq!(names.token("rc.1.nrxweytz"), Some(under(&lobby)));
        assert_eq!((names.token("rc.1.p.a.b"), names.token("rc.11.a")), (None, None));
        assert_eq!(names.topics(), "rc.1.*");
        assert_eq!(names.personal(), "rc.1.p.aaaaaaaaaaaaaaaa.*");
        assert_eq!(names.answer(7), "rc.1.p.aaaaaaaaaaaaaaaa.97");
        let peer = PeerAddr::from("bbbbbbbbbbbbbbbb");
        assert_eq!(names.participant(&peer, &lobby).unwrap(), "rc.1.p.bbbbbbbbbbbbbbbb.nrxweytz");
    }

    #[test]
    fn a_long_topic_is_a_hash_and_no_topic_is_anothers_hash() {
        let names = names();
        let (long, longer) = (Topic::new(vec![b'*'; 65]), Topic::new(vec![b'*'; 66]));
        assert_eq!(names.topic(&long).len(), "rc.1.1".len() + 52);
        assert_ne!(names.topic(&long), names.topic(&longer));
        assert!(!names.topic(&Topic::new(vec![b'*'; 64])).starts_with("rc.1.1"));
    }

    #[test]
    fn who_sent_something_is_read_from_where_answers_go() {
        let names = names();
        assert_eq!(names.sender("rc.1.p.bbbbbbbbbbbbbbbb.93"), Some(PeerAddr::from("bbbbbbbbbbbbbbbb")));
        for foreign in
            ["_INBOX.x.y", "rc.1.p.b.93", "rc.1.p.bbbbbbbbbbbbbbbb.x", "rc.1.p.bbbbbbbbbbbbbbb>.93", "rc.1", ""]
        {
            assert_eq!(names.sender(foreign), None, "{foreign}");
        }
        assert_eq!(names.read("rc.1.p.aaaaaaaaaaaaaaaa.93"), Some(Personal::Answer(3)));
        let message = Personal::Message(under(&Topic::from("lobby")));
        assert_eq!(names.read("rc.1.p.aaaaaaaaaaaaaaaa.nrxweytz"), Some(message));
    }

    #[test]
    fn an_address_that_would_be_another_subject_is_none() {
        for addr in ["", "*", "bbbbbbbbbbbbbbb.", "bbbbbbbbbbbbbbb*", "bbbbbbbbbbbbbbbbb"] {
            assert_eq!(names().participant(&addr.into(), &"a".into()), None, "{addr}");
        }
    }

    #[test]
    fn a_prefix_is_tokens_without_stars() {
        for prefix in ["rc", "team-1.chat_2"] {
            assert!(Names::new(prefix, [0; NAME_BYTES]).is_some(), "{prefix}");
        }
        for prefix in ["", ".", "a.", "a b", "*", ">", "$JS", "a..b"] {
            assert!(Names::new(prefix, [0; NAME_BYTES]).is_none(), "{prefix}");
        }
    }

    #[test]
    fn a_stream_keeps_what_its_subjects_cover() {
        for (pattern, covered) in [("rc.1.*", true), ("rc.>", true), (">", true), ("rc.1.a", false), ("rc.*", false)] {
            assert_eq!(covers(pattern, "rc.1.*"), covered, "{pattern}");
        }
        assert!(!covers("rc.1.*.*", "rc.1.*") && !covers("rc.1.*", "rc.1.>"));
    }
}
