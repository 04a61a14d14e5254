//! Log and archive read as one.

use std::sync::Arc;

use super::storing::without_panic;
use super::{ManagerError, ReliabilityManager};
use crate::channel::Channel;
use crate::state::{Body, LogKey};
use crate::types::ChannelId;

impl ReliabilityManager {
    /// A page of what was said, the newest first: the messages before this place, from the log and, below what that has,
    /// from the archive; `limit` of them, or fewer where there are no more. The next page is the one before the last
    /// message of this one. For scrolling back; what is delivered meanwhile may sort in above a place where a page was read.
    ///
    /// # Errors
    /// [`ManagerError::UnknownChannel`] for a channel that is not open; [`ManagerError::Persistence`] where the archive
    /// cannot be read.
    pub async fn history(
        &self,
        channel: &ChannelId,
        before: Option<&LogKey>,
        limit: usize,
    ) -> Result<Vec<Arc<Body>>, ManagerError> {
        let (mut page, oldest): (Vec<Arc<Body>>, Option<LogKey>) = self.cell(channel)?.read(|channel| {
            let log = channel.log().rev().filter(|logged| before.is_none_or(|before| logged.body.key < *before));
            let page = log.take(limit).map(|logged| logged.body.clone()).collect();
            (page, channel.log().next().map(|logged| logged.body.key.clone()))
        })?;
        let Some(archive) = self.shared.archive() else { return Ok(page) };
        let mut below = [before.cloned(), oldest].into_iter().flatten().min();
        while page.len() < limit {
            let read = || archive.page(channel, below.as_ref(), limit - page.len());
            let read = without_panic("page", Some(channel), read).await;
            let found = read.map_err(|error| ManagerError::of(channel, Arc::new(error).into()))?;
            let Some(last) = found.last() else { break };
            below = Some(last.key.clone());
            // What was erased may be in the archive still.
            let shown =
                |channel: &Channel| -> Vec<_> { found.into_iter().map(|it| channel.without_erased(it)).collect() };
            page.extend(self.cell(channel)?.read(shown)?);
        }
        Ok(page)
    }
}
