//! How what is known of a channel is brought up to what its topic has.

use std::time::Duration;

use kafka_protocol::error::ResponseError;
use plainwire_protocol::{MAX_ANCESTORS, Offset};

use super::api::{self, Bounds, Fetched, Route, Wanted};
use super::connection::{Connection, Failure, refused};
use super::engine::{Channel, Engine, PAGE_BYTES, offset};
use super::record;
use super::view::{News, Survey};
use crate::LogError;

impl Engine {
    /// Learns what there is to know of a topic under its present leader.
    pub(super) async fn survey(
        &self,
        channel: &Channel,
        route: Route,
        connection: &Connection,
    ) -> Result<Survey, LogError> {
        let (topic, timeout) = (&channel.topic.text, self.options.timeout);
        let earlier: Vec<_> = (0..route.leader_epoch).rev().take(MAX_ANCESTORS).collect();
        let (ends, start, end) = tokio::join!(
            api::epoch_ends(connection, topic, route, &earlier, timeout),
            api::offset(connection, topic, route, api::EARLIEST, timeout),
            api::offset(connection, topic, route, api::LATEST, timeout),
        );
        let ends = ends.map_err(Failure::into_error)?;
        let (start, end) = (start.map_err(Failure::into_error)?, end.map_err(Failure::into_error)?);
        let mut trimmed = start;
        if start < end {
            let newest = self.fetch(route, end - 1, PAGE_BYTES, connection).await?;
            let entries = record::decode(&channel.topic, &channel.name, newest.records)?;
            let meta = entries.last().and_then(|entry| entry.meta.as_ref());
            trimmed = trimmed.max(meta.map_or(0, |meta| meta.trimmed as i64));
        }
        Ok(Survey {
            topic: route.topic,
            leader_epoch: route.leader_epoch,
            start: offset(start),
            end: offset(end),
            ends: ends.into_iter().map(|(epoch, end)| (epoch, offset(end))).collect(),
            trimmed: offset(trimmed),
        })
    }

    /// What one channel has from an offset of Kafka's on.
    pub(super) async fn fetch(
        &self,
        route: Route,
        from: i64,
        bytes: usize,
        connection: &Connection,
    ) -> Result<Fetched, LogError> {
        let wanted = Wanted { topic: route.topic, leader_epoch: route.leader_epoch, from };
        let bounds = Bounds { wait: Duration::ZERO, bytes, partition_bytes: bytes };
        let (_, parts) =
            api::fetch(connection, None, &[wanted], &[], bounds).await.map_err(Failure::into_error)?;
        parts.into_iter().next().ok_or_else(|| refused(ResponseError::UnknownServerError))
    }

    /// Takes what comes after what is known, up to the end.
    pub(super) async fn read_on(
        &self,
        channel: &Channel,
        route: Route,
        connection: &Connection,
    ) -> Result<(), LogError> {
        loop {
            let from = channel.view.lock().head.get() as i64;
            let fetched = self.fetch(route, from, PAGE_BYTES, connection).await?;
            match fetched.error {
                None => {}
                Some(ResponseError::OffsetOutOfRange) => {
                    self.find_again(channel, route, connection).await?;
                    continue;
                }
                Some(error) => return Err(refused(error)),
            }
            let end = offset(fetched.end);
            let is_empty = fetched.records.is_empty();
            self.take(channel, route, fetched.records)?;
            let head = channel.view.lock().head;
            if head >= end {
                return Ok(());
            }
            if head.get() as i64 == from && !is_empty {
                // There are records, but no messages among them.
                self.skip(channel, route, head.next());
            }
        }
    }

    /// What is known is not in the log: it ends before that, or begins after it.
    async fn find_again(
        &self,
        channel: &Channel,
        route: Route,
        connection: &Connection,
    ) -> Result<(), LogError> {
        let survey = self.survey(channel, route, connection).await?;
        let mut view = channel.view.lock();
        if !view.is_in(route.topic, route.leader_epoch) {
            return Ok(());
        }
        if view.head > survey.end {
            tracing::error!(channel = %channel.name, known = %view.head, end = %survey.end, "Kafka has lost messages");
            view.lose(&survey, &channel.name);
            let news = News::Moved(view.describe());
            self.tell(channel, &view, [news]);
        } else {
            let news = view.skip_to(survey.start);
            self.tell(channel, &view, news);
        }
        Ok(())
    }

    fn skip(&self, channel: &Channel, route: Route, to: Offset) {
        let mut view = channel.view.lock();
        if view.is_in(route.topic, route.leader_epoch) {
            let news = view.skip_to(to);
            self.tell(channel, &view, news);
        }
    }

    /// Reads what is kept and not known yet, from its beginning. What was read stays, whatever comes in between.
    pub(super) async fn read_back(
        &self,
        channel: &Channel,
        route: Route,
        connection: &Connection,
    ) -> Result<(), LogError> {
        loop {
            let from = {
                let view = channel.view.lock();
                if view.is_indexed() || !view.is_in(route.topic, route.leader_epoch) {
                    return Ok(());
                }
                view.index.kept.head
            };
            let fetched = self.fetch(route, from.get() as i64, PAGE_BYTES, connection).await?;
            let entries = match fetched.error {
                None => record::decode(&channel.topic, &channel.name, fetched.records)?,
                // What is over was deleted meanwhile.
                Some(ResponseError::OffsetOutOfRange) => Vec::new(),
                Some(error) => return Err(refused(error)),
            };
            let mut view = channel.view.lock();
            view.read_back(&entries);
            if view.index.kept.head == from && !view.is_indexed() {
                let start = offset(fetched.start).max(from.next()).min(view.head);
                view.index.skip_to(start);
            }
        }
    }
}
