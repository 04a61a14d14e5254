//! The one runtime of the process, started by whoever needs it first.

use std::future::Future;
use std::sync::{Mutex, OnceLock, PoisonError};

use tokio::runtime::{Builder, Runtime};

use crate::ChannelError;
use crate::gate::gated;

static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// The runtime.
pub(crate) fn runtime() -> Result<&'static Runtime, ChannelError> {
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    // Held while one is made: a second one could not be dropped where its maker is asynchronous itself.
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(runtime) = RUNTIME.get() {
        return Ok(runtime);
    }
    let mut builder = Builder::new_multi_thread();
    let made = builder.worker_threads(1).enable_all().thread_name("reliable-channel").build();
    let made = made.map_err(|error| ChannelError::System { reason: error.to_string() })?;
    Ok(RUNTIME.get_or_init(|| made))
}

/// Does it in the runtime. It goes on when nobody waits for it any more.
pub(crate) async fn spawned<T: Send + 'static>(
    work: impl Future<Output = Result<T, ChannelError>> + Send + 'static,
) -> Result<T, ChannelError> {
    let task = runtime()?.spawn(work);
    gated(task).await.unwrap_or_else(|error| Err(ChannelError::Defect { reason: error.to_string() }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn many_who_need_it_first_at_one_time_have_one() {
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let own = Builder::new_current_thread().build().unwrap();
                    own.block_on(async {
                        barrier.wait();
                        runtime().unwrap();
                    });
                });
            }
        });
    }
}
