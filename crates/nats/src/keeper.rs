//! [`keep`]: the task that looks after the stream.
//!
//! Why a task and not a call before sending: a stream that is not there must not keep anybody from being heard. How it moves:
//! at each new connection it reads the server's limits, and finds the stream or makes it; where that fails, or the stream did
//! not answer, it looks again, at doubling waits.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::{Client, jetstream};

use crate::shared::Shared;
use crate::status::{ConnectionStatus, HistoryStatus};
use crate::stream;

const FIRST_WAIT: Duration = Duration::from_secs(1);
const LAST_WAIT: Duration = Duration::from_secs(30);

/// Looks after the stream until it is aborted.
pub(crate) async fn keep(client: Client, shared: Arc<Shared>) {
    let mut wait = FIRST_WAIT;
    loop {
        tokio::select! {
            biased;
            // What was asked over the connection before is not answered any more.
            () = shared.anew.notified() => {
                wait = FIRST_WAIT;
                continue;
            }
            () = look(&client, &shared) => {}
        }
        let is_failing = matches!(shared.status.borrow().history, HistoryStatus::Failing(_));
        tokio::select! {
            () = shared.anew.notified() => {
                wait = FIRST_WAIT;
                continue;
            }
            () = shared.silent.notified(), if !is_failing => {}
            () = std::future::ready(()), if is_failing => {}
        }
        // What has answered in between is not waited for as long as what never did.
        wait = if shared.has_answered.swap(false, Ordering::Relaxed) { FIRST_WAIT } else { wait };
        tokio::select! {
            () = shared.anew.notified() => wait = FIRST_WAIT,
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(LAST_WAIT),
        }
    }
}

/// Looks once.
pub(crate) async fn look(client: &Client, shared: &Shared) {
    if shared.status.borrow().connection != ConnectionStatus::Up {
        return;
    }
    shared.measure(client);
    let Some(history) = &shared.history else { return };
    let wanted = stream::config(history, &shared.names.topics());
    match stream::find(&jetstream::new(client.clone()), &wanted).await {
        Ok(found) => shared.found(found),
        Err(why) => shared.failing(why),
    }
}
