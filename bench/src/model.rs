//! What all parts of the benchmark share: servers, how one listens to them and publishes, and what was measured.
//!
//! Every payload is [`PAYLOAD_BYTES`] of JSON: `{"n":1,"t":123,"pad":"xx…"}`. `n` counts a channel's messages from 1, `t` is the
//! time of sending in nanoseconds of the monotonic clock. The load side finds both by the mark `{"n":` in the bytes that arrive.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The size of every payload.
pub(crate) const PAYLOAD_BYTES: usize = 128;

/// How a client receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Transport {
    /// RFC 6455 over HTTP/1.1. Socket.IO and Centrifugo too: their own protocol is a [`Subscription`]'s `dialogue`.
    WebSocket,
    /// Server-Sent Events over HTTP/1.1.
    Sse,
    /// Lines of JSON over HTTP/1.1.
    Ndjson,
    /// Long polls over a connection that is kept.
    LongPoll,
    /// Server-Sent Events over HTTP/2 with prior knowledge, many streams a connection.
    SseHttp2,
    /// Lines of JSON over HTTP/2 with prior knowledge, many streams a connection.
    NdjsonHttp2,
}

impl Transport {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Transport; 6] = [
        Transport::WebSocket,
        Transport::Sse,
        Transport::Ndjson,
        Transport::LongPoll,
        Transport::SseHttp2,
        Transport::NdjsonHttp2,
    ];

    /// Whether many subscriptions share a connection.
    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Transport::SseHttp2 | Transport::NdjsonHttp2)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Transport::WebSocket => "WebSocket",
            Transport::Sse => "SSE",
            Transport::Ndjson => "NDJSON",
            Transport::LongPoll => "long poll",
            Transport::SseHttp2 => "SSE over HTTP/2",
            Transport::NdjsonHttp2 => "NDJSON over HTTP/2",
        })
    }
}

/// A server that is measured.
pub(crate) trait Server {
    /// The name in the table, and for `--only`: short, without spaces (`plainwire`, `nchan`, `ws`, `socket.io` …).
    fn name(&self) -> &'static str;

    /// Installs or builds what is missing, below the directory `tools`, and says the version that will run.
    /// An error leaves the server out of the run; its text stands in the report.
    fn prepare(&mut self, tools: &Path) -> Result<String, String>;

    /// What it can do.
    fn transports(&self) -> &'static [Transport];

    /// Whether [`Launch::durable`] means something to it: an acknowledged publish is on the disk.
    fn can_be_durable(&self) -> bool {
        false
    }

    /// The command that runs it in the foreground. Its children are found by themselves; where it is pinned, and where its output
    /// goes, is set by the caller.
    fn command(&self, launch: &Launch) -> Result<Command, String>;

    /// The path that is asked until there is any HTTP answer at [`Launch::listen`]: then the server is ready.
    fn ready_path(&self) -> &'static str {
        "/"
    }

    /// How one listens to `channel`. `transport` is one of [`Server::transports`].
    fn subscription(&self, launch: &Launch, transport: Transport, channel: &str) -> Subscription;

    /// How one publishes to `channel`.
    fn publication(&self, launch: &Launch, channel: &str) -> Publication;
}

/// Under what circumstances a server is started.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// Where clients connect; a free port.
    pub(crate) listen: SocketAddr,
    /// An empty directory of this start, for configuration and data.
    pub(crate) directory: PathBuf,
    /// How many cores it may use, for servers that must be told a number of workers.
    pub(crate) cores: usize,
    /// Whether an acknowledged publish shall be on the disk. Otherwise nothing is stored beyond what resuming takes.
    pub(crate) durable: bool,
}

/// How one client listens to one channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Subscription {
    /// The address to connect to, as `IP:PORT`.
    pub(crate) address: String,
    /// The request's method; `GET` if empty.
    #[serde(default)]
    pub(crate) method: String,
    /// Path and query. For long polls those of the first request.
    pub(crate) target: String,
    /// Headers beyond what the transport itself needs (`Host`, `Accept` of SSE and NDJSON, `Upgrade` …).
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// The request's body; none if empty.
    #[serde(default)]
    pub(crate) body: String,
    /// WebSocket: what is said after the handshake, one step after the other.
    #[serde(default)]
    pub(crate) dialogue: Vec<Step>,
    /// The subscription stands once these bytes arrived after the answer's head (and after the dialogue). If empty, at once.
    #[serde(default)]
    pub(crate) ready: String,
    /// WebSocket: a text frame that is exactly the first is answered with the second (pings of Socket.IO and Centrifugo).
    #[serde(default)]
    pub(crate) heartbeat: Option<(String, String)>,
    /// Long polls: a target that is answered at once, asked for first. A long poll itself says nothing until there is a message, so
    /// that nobody could tell whether the server has taken the connection. [`Server::ready_path`] if empty.
    #[serde(default)]
    pub(crate) greeting: String,
    /// Long polls: how the next request follows from an answer.
    #[serde(default)]
    pub(crate) next_poll: Vec<Carry>,
}

/// One step of a dialogue over a WebSocket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Step {
    /// Wait for a text frame that contains this; if empty, do not wait.
    pub(crate) expect: String,
    /// Then send this as a text frame.
    pub(crate) send: String,
}

/// Something of a long poll's answer that goes into the next request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Carry {
    /// The answer's header to take the value of.
    pub(crate) from: String,
    /// Where it goes.
    pub(crate) into: Target,
}

/// Where a carried value goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A header of this name.
    Header(String),
    /// A query parameter of this name, in place of the one that the first target may have. The value is taken as it is.
    Query(String),
}

/// How one message is published.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Publication {
    /// The address to connect to, as `IP:PORT`.
    pub(crate) address: String,
    /// The request's method; `POST` if empty.
    #[serde(default)]
    pub(crate) method: String,
    /// Path and query.
    pub(crate) target: String,
    /// Headers beyond `Host` and `Content-Length`.
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    /// The body; `{payload}` stands for the payload. If empty, the body is the payload.
    #[serde(default)]
    pub(crate) body: String,
    /// Whether the payload is percent-encoded, for forms.
    #[serde(default)]
    pub(crate) percent_encoded: bool,
}

/// Where server and clients run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Placement {
    /// The server on the first core, the clients on the second.
    OneCore,
    /// Both wherever the system puts them.
    BothFree,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// 10,000 connections are opened.
    Connect,
    /// What 10,000 subscriptions cost that receive nothing.
    Idle,
    /// 1 channel × 1,000 subscribers, the next message once all have the last.
    OneByOne,
    /// 1 channel × 10,000 subscribers, the next message once all have the last.
    Wide,
    /// 1,000 channels × 10 subscribers.
    ManyChannels,
    /// 1 channel × 1,000 subscribers, 32 messages at hand at once.
    PiledUp,
    /// One message at a time to more and more subscribers: [`Run::subscribers`] says how many.
    Scaling,
    /// 1 channel × 1,000 subscribers × 10 messages a second.
    Latency,
    /// Publishes that are on the disk when they are acknowledged: 64 publishers, one publisher, and bare appends with a sync each.
    Durable,
    /// 1,000 subscribers that read, with and without 1,000 more that do not.
    Stalled,
}

/// A measured quantity. The unit is part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// Processor time of the server for each delivery, µs.
    CpuPerDelivery,
    /// The part of it in user space, µs.
    UserPerDelivery,
    /// The part of it in the kernel, µs.
    SystemPerDelivery,
    /// Deliveries a second of wall time.
    DeliveriesPerSecond,
    /// Processor time of the server for each connection opened, µs.
    CpuPerConnection,
    /// Time to open all connections, s.
    ConnectSeconds,
    /// Connections that were refused or failed.
    Refused,
    /// Anonymous memory of the server's processes for each idle subscription, bytes.
    UserBytes,
    /// Kernel memory for each idle subscription, both ends of the connection, bytes.
    KernelBytes,
    /// Half of the publish-to-receipt times are at most this, µs.
    LatencyP50,
    /// 99 % of them, µs.
    LatencyP99,
    /// 99.9 % of them, µs.
    LatencyP999,
    /// The longest, µs.
    LatencyMax,
    /// Acknowledged publishes a second, 64 publishers.
    DurablePublishes,
    /// Acknowledged publishes a second, one publisher that waits for each.
    DurableOneByOne,
    /// Appends of the same size to a file on the same disk, each with a sync, a second.
    FileSyncs,
    /// 99 % of times, publish to receipt, of those that read while others are stalled, µs.
    LatencyP99Stalled,
    /// Anonymous memory of the server's processes before the load of [`Scenario::Stalled`], bytes.
    MemoryBefore,
    /// The same after the load without stalled readers, bytes.
    MemoryAfter,
    /// The same after the load with stalled readers, bytes.
    MemoryAfterStalled,
    /// Deliveries that never came.
    Lost,
    /// Deliveries that came twice.
    Repeated,
    /// Deliveries in another order than published, or than others saw.
    OutOfOrder,
}

/// The values of one metric, one for each repeat.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Repeats(pub(crate) Vec<f64>);

impl Repeats {
    /// The middle value; of two the mean.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => sorted[middle],
            _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
        }
    }

    /// The smallest value.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The largest value.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// One scenario with one server over one transport.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`Server::name`].
    pub(crate) server: String,
    /// Where it ran.
    pub(crate) placement: Placement,
    /// What was done.
    pub(crate) scenario: Scenario,
    /// How the clients received. For [`Scenario::Durable`], where nobody does, none.
    pub(crate) transport: Option<Transport>,
    /// How many subscriptions there were.
    pub(crate) subscribers: usize,
    /// Over how many channels.
    pub(crate) channels: usize,
    /// What was measured, each as often as it was repeated.
    pub(crate) metrics: BTreeMap<Metric, Repeats>,
    /// What went wrong, if it did: the metrics are then incomplete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// A server as it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// [`Server::name`].
    pub(crate) name: String,
    /// The version, or nothing if it could not be prepared.
    pub(crate) version: Option<String>,
    /// Why it could not be prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) left_out: Option<String>,
}

/// The machine that was measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The processor's name.
    pub(crate) processor: String,
    /// How many cores the benchmark may use.
    pub(crate) cores: usize,
    /// Memory, bytes.
    pub(crate) memory: u64,
    /// Kernel and its version.
    pub(crate) kernel: String,
    /// The file system that durable publishes went to.
    pub(crate) file_system: String,
}

/// Everything that the report is made from: `docs/benchmarks/results.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Results {
    /// When it began, seconds since 1970.
    pub(crate) began: u64,
    /// How long it took, seconds.
    pub(crate) seconds: u64,
    /// The command that does it again.
    pub(crate) command: String,
    /// The commit that was measured, if there is one.
    pub(crate) commit: String,
    /// Whether the sizes were cut down.
    pub(crate) quick: bool,
    /// How often each scenario was repeated.
    pub(crate) repeats: usize,
    /// Where.
    pub(crate) machine: Machine,
    /// What.
    pub(crate) servers: Vec<Measured>,
    /// The outcome.
    pub(crate) runs: Vec<Run>,
}
