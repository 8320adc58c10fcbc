//! Every transport through a network that cuts connections at random places.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::Engine;
use crate::{Config, Plainwire};

/// Messages in each channel.
const MESSAGES: usize = 900;
/// Bytes from the server after which a stream is cut: at least what it takes to get anywhere.
const CUT_STREAM: Range<usize> = 1_500..6_000;
/// The same for pages of a hundred messages and for HTTP/2, whose frames have up to 16 KiB: one that is cut counts as none.
const CUT_PIECES: Range<usize> = 18_000..30_000;

const TRANSPORTS: [Transport; 5] =
    [Transport::Sse, Transport::Ndjson, Transport::WebSocket, Transport::LongPoll, Transport::Poll];

async fn server(engine: Engine, data: &TempDir) -> (Plainwire, String) {
    let mut config = Config::dev();
    config.server.engine = engine;
    config.server.data = data.path().join("data");
    config.server.retry = Duration::from_millis(100);
    let live = Plainwire::start(config).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = live.clone();
    tokio::spawn(async move { serving.serve(listener).await });
    (live, address)
}

/// Passes bytes on, and cuts each connection somewhere.
async fn cutting_proxy(server: String, cut: Range<usize>, mut random: fastrand::Rng) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(pass(client, server.clone(), random.usize(cut.clone())));
        }
    });
    address
}

async fn pass(client: TcpStream, server: String, mut left: usize) {
    let Ok(upstream) = TcpStream::connect(server).await else { return };
    let (mut requests, mut answers) = client.into_split();
    let (mut from_server, mut to_server) = upstream.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut requests, &mut to_server).await });
    let mut buffer = [0; 512];
    while left > 0 {
        let room = left.min(buffer.len());
        let Ok(count @ 1..) = from_server.read(&mut buffer[..room]).await else { break };
        if answers.write_all(&buffer[..count]).await.is_err() {
            break;
        }
        left -= count;
    }
    up.abort();
}

/// Watches until every channel gave all its messages, and checks that each came once and in order.
async fn follow(url: String, transport: Transport, http2: bool, channels: usize) -> usize {
    let client = Client::new().http2(http2).interval(Duration::from_millis(50));
    let mut watcher = client.watch(&url, transport, From::Oldest).unwrap();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut cuts = 0;
    while seen.values().sum::<usize>() < MESSAGES * channels {
        let next = tokio::time::timeout(Duration::from_secs(40), watcher.next()).await;
        let next = next.unwrap_or_else(|_| {
            panic!("{transport:?}, http2 {http2}, {url}: stands still after {seen:?}, {cuts} cuts")
        });
        match next {
            Some(Ok(Update::Message(envelope))) => {
                let seen = seen.entry(envelope.channel.unwrap()).or_default();
                assert_eq!(envelope.data.to_string(), json!({ "text": seen.to_string() }).to_string());
                *seen += 1;
            }
            Some(Ok(Update::Reconnecting { .. })) => cuts += 1,
            Some(Ok(Update::Live(_))) => {}
            other => panic!("{transport:?}, http2 {http2}: {other:?}"),
        }
    }
    cuts
}

#[tokio::test]
async fn nothing_is_lost_or_repeated_however_often_the_connection_is_cut() {
    follow_through_cuts(Engine::Disk).await;
}

/// A log that shows a commit before it tells of it.
#[tokio::test]
async fn nor_with_the_log_in_memory() {
    follow_through_cuts(Engine::Memory).await;
}

async fn follow_through_cuts(engine: Engine) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let data = TempDir::new().unwrap();
    let (live, address) = server(engine, &data).await;
    let streams = cutting_proxy(address.clone(), CUT_STREAM, fastrand::Rng::with_seed(seed)).await;
    let pieces = cutting_proxy(address, CUT_PIECES, fastrand::Rng::with_seed(seed)).await;
    let mut watches = Vec::new();
    for transport in TRANSPORTS {
        for http2 in [false, true] {
            let in_pieces = http2 || matches!(transport, Transport::LongPoll | Transport::Poll);
            let proxy = if in_pieces { &pieces } else { &streams };
            let one = format!("http://{proxy}/chat/a");
            let two = format!("http://{proxy}/_/live?channel=chat/b&channel=chat/a");
            watches.push((transport, tokio::spawn(follow(one, transport, http2, 1))));
            watches.push((transport, tokio::spawn(follow(two, transport, http2, 2))));
        }
    }
    for number in 0..MESSAGES {
        for channel in ["chat/a", "chat/b"] {
            live.publish(channel, &json!({ "text": number.to_string() })).await.unwrap();
        }
    }
    for (transport, watch) in watches {
        let cuts = tokio::time::timeout(Duration::from_secs(60), watch).await;
        let cuts = cuts.unwrap_or_else(|_| panic!("seed {seed}: {transport:?} does not get on")).unwrap();
        assert!(cuts > 0, "seed {seed}: {transport:?} was never cut");
    }
}
