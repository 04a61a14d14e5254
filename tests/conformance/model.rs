//! A store in memory with a disk that can crash, and one breach at a time: the name of the rule to break.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reliable_channel::state::{ChannelData, ChannelMeta, Commit, HistoryUpdate, Place as RowPlace, Row, RowKey};
use reliable_channel::store::conformance::Place;
use reliable_channel::store::{
    Capabilities, Durability, MemoryPersistence, Persistence, PersistenceError, PersistenceErrorKind,
};
use reliable_channel::types::{ChannelId, MessageId};

/// A place of such stores.
pub struct Model {
    breach: &'static str,
    disk: Arc<Mutex<Disk>>,
}

#[derive(Clone, Default)]
struct Disk {
    now: BTreeMap<ChannelId, ChannelData>,
    /// What a crash leaves.
    safe: BTreeMap<ChannelId, ChannelData>,
    /// What a drop took away.
    dropped: BTreeMap<ChannelId, ChannelData>,
    damaged: BTreeSet<ChannelId>,
    failing: bool,
    failed_once: bool,
    open: bool,
    busy: bool,
}

struct Store {
    breach: &'static str,
    disk: Arc<Mutex<Disk>>,
}

impl Model {
    pub fn sound() -> Self {
        Self::breaking("")
    }

    pub fn breaking(breach: &'static str) -> Self {
        Self { breach, disk: Arc::default() }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }
}

impl Place for Model {
    fn open(&self) -> Result<Arc<dyn Persistence>, PersistenceError> {
        let mut disk = self.disk();
        if disk.open && self.breach != "a_second_opener_is_locked_out" {
            return Err(PersistenceError::new("open", None, PersistenceErrorKind::Locked));
        }
        disk.open = true;
        if self.breach == "a_reopened_store_has_it_all" {
            disk.now.pop_first();
        }
        if self.breach == "dropped_channel_does_not_come_back" {
            let dropped = std::mem::take(&mut disk.dropped);
            disk.now.extend(dropped);
        }
        drop(disk);
        Ok(Arc::new(Store { breach: self.breach, disk: self.disk.clone() }))
    }

    fn crashed(&self) -> Option<Box<dyn Place>> {
        let safe = self.disk().safe.clone();
        let disk = Disk { now: safe.clone(), safe, ..Disk::default() };
        Some(Box::new(Self { breach: "", disk: Arc::new(Mutex::new(disk)) }))
    }

    fn damage(&self, bytes: &[u8]) -> bool {
        let mut disk = self.disk();
        let holds = |row: &Row| matches!(row, Row::Message(logged) if logged.body.content == bytes);
        let damaged = disk.now.iter().filter(|(_, data)| data.rows.iter().any(holds)).map(|(id, _)| id.clone());
        let damaged: BTreeSet<_> = damaged.collect();
        if self.breach == "a_flipped_bit_is_damage" {
            disk.now.retain(|channel, _| !damaged.contains(channel));
        } else {
            disk.damaged = damaged.clone();
        }
        !damaged.is_empty()
    }

    fn cut(&self) -> bool {
        let mut disk = self.disk();
        if self.breach == "a_cut_store_is_damage" {
            disk.now.values_mut().for_each(|data| data.rows.truncate(1));
        } else {
            disk.damaged = disk.now.keys().cloned().collect();
        }
        true
    }

    fn fail_writes(&self, fail: bool) -> bool {
        self.disk().failing = fail;
        true
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let mut disk = self.disk.lock().unwrap();
        disk.open = false;
        if !self.is("a_clean_end_loses_nothing") {
            disk.safe = disk.now.clone();
        }
    }
}

impl Store {
    fn is(&self, rule: &str) -> bool {
        self.breach == rule
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap()
    }

    /// Whether a write is safe at once.
    fn is_immediate(&self) -> bool {
        !["flush_ends_a_batch_window", "a_clean_end_loses_nothing"].contains(&self.breach)
    }

    fn id(&self, channel: &ChannelId) -> ChannelId {
        let bytes = channel.as_bytes();
        let end = bytes.iter().position(|byte| *byte == 0).filter(|_| self.is("channel_ids_are_any_bytes"));
        ChannelId::new(&bytes[..end.unwrap_or(bytes.len())])
    }

    async fn write(
        &self,
        verb: &'static str,
        channel: &ChannelId,
        change: impl FnOnce(&mut BTreeMap<ChannelId, ChannelData>, &ChannelId) -> Result<(), PersistenceErrorKind> + Send,
    ) -> Result<(), PersistenceError> {
        let fail = |kind| PersistenceError::new(verb, Some(channel), kind);
        {
            let mut disk = self.disk();
            let stuck = disk.failed_once && self.is("it_works_again_after_the_medium_did");
            if disk.failing || stuck {
                disk.failed_once = true;
                return Err(fail(PersistenceErrorKind::Io));
            }
        }
        let mut all = self.disk().now.clone();
        if ["many_tasks_on_many_channels", "two_writers_on_one_channel"].contains(&self.breach) {
            tokio::task::yield_now().await;
        } else if self.is("a_dropped_future_does_no_harm") {
            if std::mem::replace(&mut self.disk().busy, true) {
                return Err(fail(PersistenceErrorKind::Backend("busy".into())));
            }
            tokio::task::yield_now().await;
            self.disk().busy = false;
        } else {
            all = std::mem::take(&mut self.disk().now);
        }
        let result = change(&mut all, &self.id(channel)).map_err(fail);
        let hollow = !self.is("empty_update_changes_nothing") && !self.is("list_names_the_live_ones");
        all.retain(|_, data| !hollow || !data.is_empty());
        let mut disk = self.disk();
        if self.is("a_crash_leaves_what_was_promised") {
            disk.safe = disk.now.clone();
        }
        disk.now = all;
        if self.is_immediate() && !self.is("a_crash_leaves_what_was_promised") {
            disk.safe = disk.now.clone();
        }
        result
    }

    fn change_meta(&self, data: &mut ChannelData, meta: &ChannelMeta) {
        let mut meta = meta.clone();
        if self.is("meta_comes_back_with_all_fields") {
            meta.told = 0;
        }
        if self.is("a_large_meta_is_whole_or_refused") {
            meta.floor = meta.floor.filter(|floor| floor.id.len() < 1 << 20);
        }
        let older = data.meta.as_ref().is_some_and(|known| known.lamport > meta.lamport);
        if !(self.is("last_meta_wins") && older) {
            data.meta = Some(meta);
        }
    }

    fn put(&self, data: &mut ChannelData, row: &Row) {
        let key = row.key();
        let known = data.rows.iter().position(|row| row.key() == key);
        let other_kind = |at: usize| std::mem::discriminant(&data.rows[at]) != std::mem::discriminant(row);
        match known {
            Some(_) if self.is("put_replaces") => {}
            Some(at) if self.is("one_kind_replaces_another") && other_kind(at) => {}
            Some(_) if self.is("writes_repeated_change_nothing") => data.rows.push(row.clone()),
            Some(at) => data.rows[at] = row.clone(),
            None => data.rows.push(row.clone()),
        }
        if self.is("eviction_keeps_the_newest_whole") && data.rows.len() > 2_500 {
            data.rows.remove(0);
        }
    }

    fn delete(&self, data: &mut ChannelData, key: &RowKey) -> Result<(), PersistenceErrorKind> {
        let before = data.rows.len();
        data.rows.retain(|row| row.key() != *key);
        if before == data.rows.len() && self.is("delete") {
            return Err(PersistenceErrorKind::Backend("no such row".into()));
        }
        if key.place == RowPlace::Body && !self.is("hints_go_with_their_body") {
            data.hints.retain(|(id, _)| *id != key.id);
        }
        Ok(())
    }

    fn update(
        &self,
        all: &mut BTreeMap<ChannelId, ChannelData>,
        channel: &ChannelId,
        update: &HistoryUpdate,
    ) -> Result<(), PersistenceErrorKind> {
        let puts = |all: &mut BTreeMap<ChannelId, ChannelData>| {
            for row in &update.put {
                self.put(all.entry(channel.clone()).or_default(), row);
            }
        };
        let puts_first = self.is("put_wins_over_delete");
        if puts_first {
            puts(all);
        }
        for key in &update.delete {
            self.delete(all.entry(channel.clone()).or_default(), key)?;
            if self.is("one_id_in_two_channels") {
                all.values_mut().for_each(|data| data.rows.retain(|row| row.key() != *key));
            }
        }
        if !puts_first {
            puts(all);
        }
        if self.is("empty_update_changes_nothing") {
            all.entry(channel.clone()).or_default();
        }
        Ok(())
    }

    fn hint(&self, data: &mut ChannelData, id: &MessageId, hint: &Bytes) {
        let has_row = data.rows.iter().any(|row| row.key().id == *id);
        if has_row || !self.is("hints_come_back") {
            data.hints.retain(|(known, _)| known != id);
            data.hints.push((id.clone(), hint.clone()));
            data.hints.sort();
        }
    }

    /// What a load makes of what is there.
    fn present(&self, mut data: ChannelData) -> ChannelData {
        match self.breach {
            "ties_are_broken_by_id_bytes" => data.rows.sort_by_key(|row| {
                let RowKey { place, lamport, id } = row.key();
                (place, lamport, Reverse(id))
            }),
            "lamport_extremes" => data.rows.sort_by_key(|row| row.key().lamport.0.cast_signed()),
            "rows_come_in_key_order" => {}
            _ => data.rows.sort_by_key(Row::key),
        }
        if self.is("every_kind_of_row_comes_back") {
            data.rows.retain(|row| !matches!(row, Row::Response(_)));
        }
        if self.is("rows_come_before_any_meta") {
            data.meta.get_or_insert_default();
        }
        for row in &mut data.rows {
            if let Row::Message(logged) = row
                && self.is("bodies_are_byte_identical")
            {
                let body = Arc::make_mut(&mut logged.body);
                body.content.truncate(1 << 16);
            }
        }
        data
    }
}

#[async_trait]
impl Persistence for Store {
    async fn save_channel_meta(&self, channel: &ChannelId, meta: &ChannelMeta) -> Result<(), PersistenceError> {
        self.write("save_channel_meta", channel, |all, channel| {
            self.change_meta(all.entry(channel.clone()).or_default(), meta);
            Ok(())
        })
        .await
    }

    async fn update_history(&self, channel: &ChannelId, update: &HistoryUpdate) -> Result<(), PersistenceError> {
        self.write("update_history", channel, |all, channel| self.update(all, channel, update)).await
    }

    async fn load_channel(&self, channel: &ChannelId) -> Result<ChannelData, PersistenceError> {
        let fail = |what: &str| {
            let kind = PersistenceErrorKind::Corrupt { what: what.into() };
            Err(PersistenceError::new("load_channel", Some(channel), kind))
        };
        let disk = self.disk();
        if disk.damaged.contains(channel) {
            return fail("damaged");
        }
        match disk.now.get(&self.id(channel)) {
            None if self.is("unknown_channel_is_empty") => fail("unknown"),
            None => Ok(ChannelData::default()),
            Some(data) => Ok(self.present(data.clone())),
        }
    }

    async fn drop_channel(&self, channel: &ChannelId) -> Result<(), PersistenceError> {
        let before = self.disk().safe.clone();
        let gone = self.disk().now.get(channel).cloned();
        self.disk().dropped = gone.map(|data| (channel.clone(), data)).into_iter().collect();
        self.write("drop_channel", channel, |all, channel| {
            if self.is("drop_takes_one_channel_whole") {
                all.retain(|id, _| !id.as_bytes().starts_with(channel.as_bytes()));
            } else if self.is("list_names_the_live_ones") {
                all.insert(channel.clone(), ChannelData::default());
            } else {
                all.remove(channel);
            }
            Ok(())
        })
        .await?;
        if self.is("a_drop_survives_a_crash") {
            self.disk().safe = before;
        }
        Ok(())
    }

    async fn set_retrieval_hint(
        &self,
        channel: &ChannelId,
        id: &MessageId,
        hint: &Bytes,
    ) -> Result<(), PersistenceError> {
        self.write("set_retrieval_hint", channel, |all, channel| {
            self.hint(all.entry(channel.clone()).or_default(), id, hint);
            Ok(())
        })
        .await
    }

    async fn commit(&self, channel: &ChannelId, commit: &Commit) -> Result<(), PersistenceError> {
        if self.is("loads_during_writes_see_whole_commits") {
            self.update_history(channel, &commit.history).await?;
            tokio::task::yield_now().await;
        }
        self.write("commit", channel, |all, channel| {
            let hints = |all: &mut BTreeMap<ChannelId, ChannelData>| {
                for (id, hint) in &commit.hints {
                    self.hint(all.entry(channel.clone()).or_default(), id, hint);
                }
            };
            if self.is("merged_commits_are_as_one_after_the_other") {
                hints(all);
            }
            self.update(all, channel, &commit.history)?;
            if !self.is("merged_commits_are_as_one_after_the_other") {
                hints(all);
            }
            if let Some(meta) = &commit.meta {
                self.change_meta(all.entry(channel.clone()).or_default(), meta);
            }
            Ok(())
        })
        .await
    }

    async fn flush(&self) -> Result<(), PersistenceError> {
        if !self.is("flush_ends_a_batch_window") {
            let mut disk = self.disk();
            disk.safe = disk.now.clone();
        }
        Ok(())
    }

    async fn list_channels(&self) -> Result<Vec<ChannelId>, PersistenceError> {
        Ok(self.disk().now.keys().cloned().collect())
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = MemoryPersistence::new().capabilities();
        let batched = Durability::Batched { max_delay: Duration::from_secs(1) };
        capabilities.durability = Some(if self.is_immediate() { Durability::Immediate } else { batched });
        capabilities.exclusive = true;
        capabilities.checksummed = true;
        capabilities
    }
}
