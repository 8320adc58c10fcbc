//! The lives of a store, and how a connection finds out in which one it is.
//!
//! A server that was started anew may have lost what it had not synced, and may give out the same places again. So what is written
//! is marked with the life of the store, which ends with the server's process, and a channel goes on in another epoch in the next.
//! A cluster of servers outlives each of them, and has one life.

use async_nats::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::api::{self, Failure, Published};
use super::engine::random;
use super::subjects::Subjects;
use super::{Live, NatsOptions};
use crate::LogError;

/// Earlier lives that are remembered, as many as a lineage has.
const REMEMBERED: usize = plainwire_protocol::MAX_ANCESTORS;
/// How many nodes may begin the same life at once.
const TRIES: usize = 16;
/// The oldest server that has what this needs: republishing, direct gets, and purging up to a sequence.
const OLDEST: (i64, i64, i64) = (2, 9, 0);

/// What the name of a store begins with that is a cluster.
const CLUSTER: &str = "cluster ";

/// What every part of a connection needs.
pub(super) struct Connected {
    pub(super) client: Client,
    pub(super) lives: Lives,
}

/// The seeds of this life and of those before it, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Lives {
    server: String,
    seeds: Vec<u64>,
}

impl Lives {
    /// The present one.
    pub(super) fn now(&self) -> u64 {
        self.seeds.first().copied().unwrap_or_default()
    }

    /// Whether it is that of several servers, which have to tell one another who listens to what.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.server.starts_with(CLUSTER)
    }

    pub(super) fn earlier(&self) -> impl Iterator<Item = u64> {
        self.seeds.iter().skip(1).copied()
    }
}

/// Finds the stream, or creates it, and the life that it is in.
pub(super) async fn open(
    client: &Client,
    subjects: &Subjects,
    options: &NatsOptions,
) -> Result<Connected, LogError> {
    let ask = |subject: String, body: Value| api::ask(client, subject, body, options.timeout);
    let mut info = ask(subjects.api("STREAM.INFO"), json!({})).await.map_err(Failure::into_error)?;
    let (major, minor, patch) = OLDEST;
    if !client.is_server_compatible(major, minor, patch) {
        let version = client.server_info().version;
        return Err(LogError::new(format!("NATS {version} is too old: {major}.{minor} is needed")));
    }
    if api::error_of(&info).is_some_and(|(code, _)| code == api::STREAM_NOT_FOUND) {
        info = ask(subjects.api("STREAM.CREATE"), config(subjects, options))
            .await
            .map_err(Failure::into_error)?;
    }
    if let Some((_, description)) = api::error_of(&info) {
        return Err(LogError::new(format!("JetStream: the stream '{}': {description}", subjects.stream())));
    }
    check(&info["config"], subjects)?;
    let server = match info["cluster"]["name"].as_str() {
        Some(cluster) if !cluster.is_empty() => format!("{CLUSTER}{cluster}"),
        _ => client.server_info().server_id,
    };
    let lives = live(client, subjects, options, &server).await?;
    Ok(Connected { client: client.clone(), lives })
}

/// How the stream is created.
fn config(subjects: &Subjects, options: &NatsOptions) -> Value {
    json!({
        "name": subjects.stream(),
        "subjects": [subjects.logs(), subjects.lives()],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "num_replicas": options.replicas,
        "allow_direct": true,
        "republish": { "src": subjects.logs(), "dest": subjects.all_news() },
    })
}

/// Whether a stream that is there already does what is needed.
fn check(config: &Value, subjects: &Subjects) -> Result<(), LogError> {
    let is_limitless = |name: &str| config[name].as_i64().is_none_or(|limit| limit <= 0);
    let listed = |subject: String| {
        config["subjects"].as_array().is_some_and(|all| all.iter().any(|one| one.as_str() == Some(&subject)))
    };
    let wrong = if !listed(subjects.logs()) || !listed(subjects.lives()) {
        "it has other subjects"
    } else if config["republish"]["dest"].as_str() != Some(&subjects.all_news()) {
        "it does not republish"
    } else if config["retention"].as_str() != Some("limits") || config["discard"].as_str() != Some("new") {
        "its retention is not 'limits', or it discards old messages"
    } else if !is_limitless("max_age") || !is_limitless("max_msgs_per_subject") {
        "it lets messages go by itself"
    } else {
        return Ok(());
    };
    Err(LogError::new(format!(
        "the stream '{}' of JetStream was not created by this server: {wrong}. Choose another name",
        subjects.stream()
    )))
}

/// The lives of the store, with the present one, which is begun if nobody has.
async fn live(
    client: &Client,
    subjects: &Subjects,
    options: &NatsOptions,
    server: &str,
) -> Result<Lives, LogError> {
    let subject = subjects.lives();
    for _ in 0..TRIES {
        let last =
            api::last(client, subjects, &subject, options.timeout).await.map_err(Failure::into_error)?;
        let (seq, before) = match &last {
            Some(last) => (last.seq, serde_json::from_slice(&last.body).map_err(|_| api::garbled())?),
            None => (0, Lives { server: String::new(), seeds: Vec::new() }),
        };
        if before.server == server {
            return Ok(before);
        }
        let seeds = std::iter::once(random()).chain(before.seeds).take(REMEMBERED + 1).collect();
        let lives = Lives { server: server.to_owned(), seeds };
        let body = serde_json::to_vec(&lives).expect("numbers and texts are JSON").into();
        let after = api::Place { stream: subjects.stream(), after: seq, id: random() };
        let published = api::publish(client, &subject, after, None, body, options.timeout);
        if let Published::At(_) = published.await.map_err(Failure::into_error)? {
            return Ok(lives);
        }
    }
    Err(LogError::new("too many nodes connect to NATS at once"))
}

/// Whether the stream is another one than it was, or was emptied.
pub(super) async fn is_another(
    live: &Live,
    subjects: &Subjects,
    options: &NatsOptions,
) -> Result<bool, LogError> {
    let connected = &live.connection;
    let subject = subjects.lives();
    let last = api::last(&connected.client, subjects, &subject, options.timeout);
    let last = last.await.map_err(Failure::into_error)?;
    let lives = last.and_then(|last| serde_json::from_slice::<Lives>(&last.body).ok());
    Ok(lives.as_ref() != Some(&connected.lives))
}
