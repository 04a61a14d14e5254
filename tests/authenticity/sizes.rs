//! Signatures take room in packets, and the room is kept.

use reliable_channel::authenticity::{Authenticator, SharedAuthenticator};
use reliable_channel::channel::{Config, ConfigError};
use reliable_channel::types::{Dialect, ParticipantId, Signature};

use crate::harness::{Keys, member, member_with};

/// Makes longer signatures than Ed25519.
struct Long(usize);

impl Authenticator for Long {
    fn sign(&self, bytes: &[u8]) -> Signature {
        Signature::new(vec![bytes.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)); self.0])
    }

    fn verify(&self, _: &ParticipantId, bytes: &[u8], signature: &Signature) -> bool {
        self.sign(bytes) == *signature
    }

    fn signature_bytes(&self) -> usize {
        self.0
    }
}

fn least(change: impl Fn(&mut Config)) -> usize {
    let mut config = Config::default();
    config.max_transmit_bytes = Some(1);
    change(&mut config);
    let context = reliable_channel::channel::Context::new(
        reliable_channel::types::WallTime::from_millis(0),
        reliable_channel::types::RunningTime::from_millis(0),
        1,
    );
    match reliable_channel::channel::Channel::new("c", "alice", std::sync::Arc::new(config), &context) {
        Err(reliable_channel::channel::RestoreError::Config(ConfigError::TransmitTooSmall { least, .. })) => least,
        other => panic!("{:?}", other.map(drop)),
    }
}

#[test]
fn the_smallest_packet_grows_by_a_signature() {
    let bare = least(|_| {});
    let signed = |bytes| least(move |config| config.authenticator = Some(SharedAuthenticator::new(Long(bytes))));
    // Two bytes say which field it is, one or two how long it is.
    assert_eq!([signed(64), signed(200)], [bare + 67, bare + 204]);
}

#[test]
fn everything_fits_into_a_packet_with_its_signatures() {
    for max in [450, 700, 1_400] {
        let small = |config: &mut Config| config.max_transmit_bytes = Some(max);
        let (mut alice, mut bob) = (member_with("alice", Keys::With, small), member_with("bob", Keys::With, small));
        let mut sizes = Vec::new();
        let mut sent = |message: reliable_channel::types::Message| {
            let bytes = reliable_channel::wire::encode(&message, Dialect::Lip109).unwrap();
            assert_eq!(bytes.len(), message.encoded_len(Dialect::Lip109));
            sizes.push(bytes.len());
        };
        for turn in 0..20 {
            let message = bob.send(&format!("b{turn}"));
            if turn % 3 != 0 {
                alice.receive(&message).unwrap();
            }
            sent(alice.send(&format!("a{turn}")));
            alice.run_for(1_000).into_iter().for_each(|(_, message)| sent(message));
            bob.now = alice.now;
        }
        alice.run_for(300_000).into_iter().for_each(|(_, message)| sent(message));
        let largest = sizes.iter().max().copied().unwrap();
        assert!(largest <= max && (max > 1_000 || largest > max - 100), "{largest} of {max}");
    }
}

#[test]
fn what_signs_longer_than_is_allowed_is_refused() {
    let mut config = Config::default();
    config.authenticator = Some(SharedAuthenticator::new(Long(257)));
    let refused = config.validate().unwrap_err();
    assert!(matches!(refused, ConfigError::OutOfRange { name: "limits.max_signature_bytes", .. }), "{refused}");
    config.limits.max_signature_bytes = 300;
    assert_eq!(config.validate(), Ok(()));
    let mut nim = Config::of(Dialect::NimSds);
    nim.authenticator = Some(SharedAuthenticator::new(Long(64)));
    assert!(matches!(nim.validate(), Err(ConfigError::OutOfRange { name: "authenticator", .. })));
}

/// Both signatures of a content message, as bytes on the wire: what they cost.
#[test]
fn a_content_message_grows_by_two_signatures_and_a_sync_message_by_one() {
    let sizes = [Keys::Without, Keys::With].map(|keys| {
        let mut alice = member("alice", keys);
        let content = alice.send("hello").encoded_len(Dialect::Lip109);
        (content, alice.send_sync().encoded_len(Dialect::Lip109))
    });
    assert_eq!((sizes[1].0 - sizes[0].0, sizes[1].1 - sizes[0].1), (134, 67));
}
