//! The one runtime of the process, started by whoever needs it first.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};

use crate::ChannelError;
use crate::gate::gated;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime.
pub(crate) fn runtime() -> Result<&'static Runtime, ChannelError> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let made = builder.worker_threads(1).enable_all().thread_name("reliable-channel").build();
    let made = made.map_err(|error| ChannelError::System { reason: error.to_string() })?;
    // Of two who make one at a time, one is dropped before anything runs in it.
    Ok(RUNTIME.get_or_init(|| made))
}

/// Does it in the runtime. It goes on when nobody waits for it any more.
pub(crate) async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, ChannelError>> + Send + 'static,
) -> Result<T, ChannelError> {
    let task = runtime()?.spawn(work);
    gated(task).await.unwrap_or_else(|error| Err(ChannelError::Defect { reason: error.to_string() }))
}
