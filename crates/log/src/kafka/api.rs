//! What brokers are asked, one function for each.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, CreateTopicsResponse, DeleteRecordsRequest, DeleteRecordsResponse,
    FetchRequest, FetchResponse, InitProducerIdRequest, InitProducerIdResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, ProduceRequest, ProduceResponse, ProducerId, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::cluster::Cluster;
use super::connection::{Connection, Failure, refused};
use crate::LogError;

/// Written by every replica that is in sync.
const ALL_REPLICAS: i16 = -1;
/// Not a replica, but somebody who reads.
const READER: i32 = -1;
/// Instead of a time: where the log ends.
pub(super) const LATEST: i64 = -1;
/// Instead of a time: where what is kept begins.
pub(super) const EARLIEST: i64 = -2;
/// How much longer than the broker may take an answer may be under way.
const ON_THE_WAY: Duration = Duration::from_secs(2);

/// Where a channel's partition is, and which one it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    /// The topic's id. One that was deleted and made again has another.
    pub(super) topic: Uuid,
    /// The broker that leads it.
    pub(super) leader: i32,
    /// How many leaders it had.
    pub(super) leader_epoch: i32,
}

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) topic: Uuid,
    pub(super) leader_epoch: i32,
    /// From where on, as Kafka counts: the first record is 0.
    pub(super) from: i64,
}

/// What came of one partition.
pub(super) struct Fetched {
    pub(super) topic: Uuid,
    pub(super) error: Option<ResponseError>,
    /// Where what can be read ends.
    pub(super) end: i64,
    /// Where what is kept begins.
    pub(super) start: i64,
    /// Batches of records, the first of which may begin earlier than was asked for.
    pub(super) records: Bytes,
}

/// How much is wanted at a time, and how long to wait if there is nothing.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) wait: Duration,
    pub(super) bytes: usize,
    pub(super) partition_bytes: usize,
}

/// What is asked for again and again: the broker remembers, and is told what changes (KIP-227).
#[derive(Clone, Copy, Default)]
pub(super) struct Session {
    pub(super) id: i32,
    pub(super) epoch: i32,
}

/// What the brokers know of topics. `None`: nobody knows it.
pub(super) async fn metadata(
    cluster: &Cluster,
    topics: &[String],
) -> Result<(String, Vec<Result<Option<Route>, ResponseError>>), LogError> {
    let wanted = topics.iter().map(|topic| MetadataRequestTopic::default().with_name(Some(name(topic))));
    let request =
        MetadataRequest::default().with_topics(Some(wanted.collect())).with_allow_auto_topic_creation(false);
    let connection = cluster.any().await.map_err(Failure::into_error)?;
    let answer: Result<MetadataResponse, _> =
        connection.call(ApiKey::Metadata, &request, cluster.timeout()).await;
    let answer = answer.map_err(Failure::into_error)?;
    cluster.learn(answer.brokers.iter().filter_map(|broker| {
        Some((broker.node_id.0, broker.host.to_string(), u16::try_from(broker.port).ok()?))
    }));
    let cluster_id = answer.cluster_id.map(|id| id.to_string()).unwrap_or_default();
    let routes = topics.iter().map(|topic| {
        let is_it = |said: &&_| topic_is(said, topic);
        let Some(said) = answer.topics.iter().find(is_it) else {
            return Err(ResponseError::UnknownServerError);
        };
        match ResponseError::try_from_code(said.error_code) {
            None => {}
            Some(ResponseError::UnknownTopicOrPartition) => return Ok(None),
            Some(error) => return Err(error),
        }
        let Some(partition) = said.partitions.iter().find(|partition| partition.partition_index == 0) else {
            return Err(ResponseError::LeaderNotAvailable);
        };
        match ResponseError::try_from_code(partition.error_code) {
            // Some replica is missing: whether there is a leader is what counts.
            None | Some(ResponseError::ReplicaNotAvailable) if partition.leader_id.0 >= 0 => {
                let (leader, leader_epoch) = (partition.leader_id.0, partition.leader_epoch);
                Ok(Some(Route { topic: said.topic_id, leader, leader_epoch }))
            }
            error => Err(error.unwrap_or(ResponseError::LeaderNotAvailable)),
        }
    });
    Ok((cluster_id, routes.collect()))
}

fn topic_is(said: &kafka_protocol::messages::metadata_response::MetadataResponseTopic, topic: &str) -> bool {
    said.name.as_ref().is_some_and(|name| name.0.as_str() == topic)
}

/// Makes a topic of one partition, or just asks whether that could be done. Whether it was not there before.
pub(super) async fn create(
    cluster: &Cluster,
    topic: &str,
    configs: &[(&'static str, String)],
    only_asks: bool,
) -> Result<bool, LogError> {
    let configs = configs.iter().map(|(name, value)| {
        CreatableTopicConfig::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(StrBytes::from_string(value.clone())))
    });
    let wanted = CreatableTopic::default()
        .with_name(name(topic))
        .with_num_partitions(1)
        // As many replicas as the brokers make by default.
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(millis(cluster.timeout()))
        .with_validate_only(only_asks);
    let connection = cluster.any().await.map_err(Failure::into_error)?;
    let answer: Result<CreateTopicsResponse, _> =
        connection.call(ApiKey::CreateTopics, &request, cluster.timeout() + ON_THE_WAY).await;
    let answer = answer.map_err(Failure::into_error)?;
    let said = answer.topics.first().ok_or_else(|| refused(ResponseError::UnknownServerError))?;
    match ResponseError::try_from_code(said.error_code) {
        None => Ok(true),
        Some(ResponseError::TopicAlreadyExists) => Ok(false),
        Some(error) => {
            let why = said.error_message.as_ref().map(|text| format!(" ({})", text.as_str()));
            let why = why.unwrap_or_default();
            Err(LogError::new(format!("Kafka does not create the topic {topic}: {error}{why}")))
        }
    }
}

/// What there is to read. Of a session's partitions only those are said of which something has changed.
pub(super) async fn fetch(
    connection: &Connection,
    session: Option<Session>,
    wanted: &[Wanted],
    forgotten: &[Uuid],
    bounds: Bounds,
) -> Result<(i32, Vec<Fetched>), Failure> {
    let topics = wanted.iter().map(|wanted| {
        FetchTopic::default().with_topic_id(wanted.topic).with_partitions(vec![
            FetchPartition::default()
                .with_current_leader_epoch(wanted.leader_epoch)
                .with_fetch_offset(wanted.from)
                .with_partition_max_bytes(size(bounds.partition_bytes)),
        ])
    });
    let forgotten = forgotten
        .iter()
        .map(|topic| ForgottenTopic::default().with_topic_id(*topic).with_partitions(vec![0]));
    let Session { id, epoch } = session.unwrap_or(Session { id: 0, epoch: -1 });
    let request = FetchRequest::default()
        .with_max_wait_ms(millis(bounds.wait))
        .with_min_bytes(1)
        .with_max_bytes(size(bounds.bytes))
        .with_session_id(id)
        .with_session_epoch(epoch)
        .with_topics(topics.collect())
        .with_forgotten_topics_data(forgotten.collect());
    let limit = bounds.wait + ON_THE_WAY;
    let answer: FetchResponse = connection.call(ApiKey::Fetch, &request, limit).await?;
    if let Some(error) = ResponseError::try_from_code(answer.error_code) {
        return Err(Failure::Refused(error));
    }
    let parts = answer.responses.into_iter().flat_map(|topic| {
        let id = topic.topic_id;
        topic.partitions.into_iter().map(move |part| Fetched {
            topic: id,
            error: ResponseError::try_from_code(part.error_code),
            end: part.high_watermark,
            start: part.log_start_offset,
            records: part.records.unwrap_or_default(),
        })
    });
    Ok((answer.session_id, parts.collect()))
}

/// Where a log ends ([`LATEST`]), or its first record that is not older than a time; -1 if there is none.
pub(super) async fn offset(
    connection: &Connection,
    topic: &str,
    route: Route,
    time: i64,
    timeout: Duration,
) -> Result<i64, Failure> {
    let wanted =
        ListOffsetsPartition::default().with_current_leader_epoch(route.leader_epoch).with_timestamp(time);
    let wanted = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![wanted]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(READER)).with_topics(vec![wanted]);
    let answer: ListOffsetsResponse = connection.call(ApiKey::ListOffsets, &request, timeout).await?;
    let said = answer.topics.first().and_then(|topic| topic.partitions.first());
    let said = said.ok_or(Failure::Refused(ResponseError::UnknownServerError))?;
    match ResponseError::try_from_code(said.error_code) {
        None => Ok(said.offset),
        Some(error) => Err(Failure::Refused(error)),
    }
}

/// Up to where what was written under each of these leaders is in the log of the present one.
pub(super) async fn epoch_ends(
    connection: &Connection,
    topic: &str,
    route: Route,
    epochs: &[i32],
    timeout: Duration,
) -> Result<Vec<(i32, i64)>, Failure> {
    let asked = epochs.iter().map(|&epoch| async move {
        let wanted = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(route.leader_epoch)
            .with_leader_epoch(epoch);
        let wanted = OffsetForLeaderTopic::default().with_topic(name(topic)).with_partitions(vec![wanted]);
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(READER))
            .with_topics(vec![wanted]);
        let answer: OffsetForLeaderEpochResponse =
            connection.call(ApiKey::OffsetForLeaderEpoch, &request, timeout).await?;
        let said = answer.topics.first().and_then(|topic| topic.partitions.first());
        let said = said.ok_or(Failure::Refused(ResponseError::UnknownServerError))?;
        match ResponseError::try_from_code(said.error_code) {
            // Of one that is not known nothing is said.
            None => Ok((said.end_offset >= 0).then_some((epoch, said.end_offset))),
            Some(error) => Err(Failure::Refused(error)),
        }
    });
    let ends = futures_util::future::try_join_all(asked).await?;
    Ok(ends.into_iter().flatten().collect())
}

/// Writes a batch; gives the offset of its first record. One that was sent before is not written again.
pub(super) async fn produce(
    connection: &Connection,
    topic: &str,
    batch: Bytes,
    timeout: Duration,
) -> Result<i64, Failure> {
    let data = PartitionProduceData::default().with_records(Some(batch));
    let data = TopicProduceData::default().with_name(name(topic)).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(None)
        .with_acks(ALL_REPLICAS)
        .with_timeout_ms(millis(timeout))
        .with_topic_data(vec![data]);
    let answer: ProduceResponse = connection.call(ApiKey::Produce, &request, timeout + ON_THE_WAY).await?;
    let said = answer.responses.first().and_then(|topic| topic.partition_responses.first());
    let said = said.ok_or(Failure::Refused(ResponseError::UnknownServerError))?;
    match ResponseError::try_from_code(said.error_code) {
        None => Ok(said.base_offset),
        Some(error) => Err(Failure::Refused(error)),
    }
}

/// A name under which batches are told apart.
pub(super) async fn producer(cluster: &Cluster) -> Result<(i64, i16), LogError> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_transaction_timeout_ms(millis(cluster.timeout()))
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let connection = cluster.any().await.map_err(Failure::into_error)?;
    let answer: Result<InitProducerIdResponse, _> =
        connection.call(ApiKey::InitProducerId, &request, cluster.timeout()).await;
    let answer = answer.map_err(Failure::into_error)?;
    match ResponseError::try_from_code(answer.error_code) {
        None => Ok((answer.producer_id.0, answer.producer_epoch)),
        Some(error) => Err(refused(error)),
    }
}

/// Lets go what is before an offset.
pub(super) async fn delete_before(
    connection: &Connection,
    topic: &str,
    offset: i64,
    timeout: Duration,
) -> Result<(), Failure> {
    let wanted = DeleteRecordsPartition::default().with_offset(offset);
    let wanted = DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![wanted]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(millis(timeout));
    let answer: DeleteRecordsResponse =
        connection.call(ApiKey::DeleteRecords, &request, timeout + ON_THE_WAY).await?;
    let said = answer.topics.first().and_then(|topic| topic.partitions.first());
    match said.and_then(|said| ResponseError::try_from_code(said.error_code)) {
        None => Ok(()),
        Some(error) => Err(Failure::Refused(error)),
    }
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn millis(span: Duration) -> i32 {
    i32::try_from(span.as_millis()).unwrap_or(i32::MAX)
}

fn size(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}
