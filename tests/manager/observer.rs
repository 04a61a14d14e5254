//! An observer: at once, in order, and before the call is answered.

use std::sync::Mutex;

use reliable_channel::channel::TransmitKind;
use reliable_channel::manager::{Observer, Transmission};

use super::*;

/// What was heard, in order.
#[derive(Default)]
struct Heard {
    lines: Mutex<Vec<String>>,
    panics: bool,
}

impl Heard {
    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Observer for Heard {
    fn event(&self, event: &ManagerEvent) {
        if let ManagerEvent::Channel { channel, event: Event::MessageDelivered(delivery) } = event {
            let text = String::from_utf8_lossy(&delivery.body.content).into_owned();
            self.lines.lock().unwrap().push(format!("{channel}: {text}"));
        }
        assert!(!self.panics, "a defect of the observer");
    }

    fn transmission(&self, transmission: &Transmission) {
        if transmission.kind == TransmitKind::Sync {
            self.lines.lock().unwrap().push(format!("{}: sync", transmission.channel));
        }
    }
}

#[tokio::test]
async fn it_hears_everything_before_the_call_is_answered() {
    let heard = Arc::new(Heard::default());
    let alice = opened(builder("alice").observer(heard.clone())).await;
    let messages = messages_of_bob(3).await;
    for bytes in messages.iter().rev() {
        alice.unwrap_received(bytes.clone()).await.unwrap();
    }
    assert_eq!(heard.lines(), ["garden: bob 0", "garden: bob 1", "garden: bob 2"]);
    alice.sync_now(CHANNEL).await.unwrap();
    assert_eq!(heard.lines().last().unwrap(), "garden: sync");
}

#[tokio::test]
async fn its_panic_goes_no_further_and_streams_miss_nothing() {
    let heard = Arc::new(Heard { panics: true, ..Heard::default() });
    let alice = opened(builder("alice").observer(heard.clone())).await;
    let mut events = alice.events();
    for bytes in messages_of_bob(2).await {
        alice.unwrap_received(bytes).await.unwrap();
    }
    assert_eq!(heard.lines(), ["garden: bob 0", "garden: bob 1"]);
    assert_eq!(deliveries(&told(&mut events)).len(), 2);
}
