//! `/_/metrics`: gauges come back to zero, counters count, and nothing from outside becomes a label.

use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::scrape::{Scrape, wait_for};
use crate::support::{Live, Server, Transport};

const CONFIG: &str = r#"
[server]
public_metrics = true
workers = 2

[tail]
max_count = 10

[channel."log/*"]
retain = { count = 100 }

[channel.counter]
state = { count = 0 }
replace = true
patch = true

[channel.counter.command.increment]
set = "{'count': state.count + 1}"

[[channel.counter.rule]]
rule = "next.count < 3"
message = "count stays small"
reason = "too_high"
"#;

/// Clients of each kind.
const MANY: usize = 4;

fn word(transport: Transport) -> &'static str {
    match transport {
        Transport::Sse => "sse",
        Transport::Ndjson => "ndjson",
        Transport::WebSocket | Transport::Deflated => "websocket",
        Transport::LongPoll => "long_poll",
    }
}

fn streams(transport: &str, http: &str) -> String {
    format!("plainwire_streams{{transport=\"{transport}\",http=\"{http}\"}}")
}

fn by(metric: &str, label: &str, value: &str) -> String {
    format!("{metric}{{{label}=\"{value}\"}}")
}

/// Nobody is there but whoever asks.
fn is_quiet(scrape: &Scrape) -> bool {
    scrape.sum("plainwire_streams") == 0.0
        && scrape.sum("plainwire_subscriptions") == 0.0
        && scrape.get("plainwire_connections") <= 1.0
}

#[test]
fn gauges_return_to_zero_when_the_clients_of_any_transport_have_left() {
    let server = Server::with_config(CONFIG);
    let targets = [("/log/a", 1), ("/_/live?channel=/log/a&channel=/log/b", 2)];
    let cases = Transport::ALL.into_iter().flat_map(|transport| targets.map(|target| (transport, target)));
    for (transport, (target, channels)) in cases {
        let word = word(transport);
        let before = Scrape::of(&server);
        let mut clients: Vec<Live> = (0..MANY)
            .map(|_| {
                let mut client = server.live(transport, target);
                client.until_live();
                client
            })
            .collect();
        // A long poll waits only once it was asked.
        let cursor = server.get("/log/a").cursor();
        let polls = (0..MANY).filter(|_| transport == Transport::LongPoll).map(|_| {
            let mut connection = server.connect();
            let target = format!("/log/a?since={cursor}&wait=25");
            connection.request("GET", &target, &[], None).expect("it is asked");
            connection
        });
        let mut polls: Vec<_> = polls.collect();
        let open =
            wait_for(&server, "the clients", |scrape| scrape.get(&streams(word, "1.1")) == MANY as f64);
        let watched = if polls.is_empty() { channels * MANY } else { MANY };
        assert_eq!(open.get(&by("plainwire_subscriptions", "transport", word)), watched as f64);
        assert!(open.get("plainwire_connections") >= MANY as f64);

        server.accepted("/log/a", "\"hello\"");
        if polls.is_empty() {
            clients.iter_mut().for_each(|client| assert_eq!(client.message().data, "hello"));
        }
        polls.iter_mut().for_each(|poll| assert_eq!(poll.response().status, 200));
        // A client may have its message a moment before it is counted.
        let delivered = by("plainwire_messages_out_total", "transport", word);
        let after = wait_for(&server, "all to be counted", |scrape| {
            scrape.get(&delivered) - before.get(&delivered) == MANY as f64
        });
        let carrier = if polls.is_empty() { word } else { "requests" };
        let sent = by("plainwire_sent_bytes_total", "carrier", carrier);
        assert!(after.get(&sent) > before.get(&sent), "{transport:?}");

        drop((clients, polls));
        let left = wait_for(&server, "all to have left", is_quiet);
        let opened = format!("plainwire_streams_opened_total{{transport=\"{word}\",http=\"1.1\"}}");
        assert_eq!(left.get(&opened) - before.get(&opened), MANY as f64);
    }
    // A channel that nobody listens to any more is kept for some seconds.
    wait_for(&server, "memory to be given back", |scrape| scrape.get("plainwire_tail_bytes") == 0.0);
}

/// A client over HTTP/2 that does not outlive its test: our own, as a process.
struct Watch(Child);

impl Watch {
    fn start(server: &Server, over: &str) -> Watch {
        let mut command = Command::new(env!("CARGO_BIN_EXE_plainwire"));
        command.args(["watch", &format!("http://{}/log/a", server.address), "--over", over, "--http2"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Watch(command.spawn().expect("the binary starts"))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn gauges_return_to_zero_over_http2_as_well() {
    let server = Server::with_config(CONFIG);
    for (over, word) in
        [("sse", "sse"), ("ndjson", "ndjson"), ("websocket", "websocket"), ("longpoll", "long_poll")]
    {
        let clients: Vec<Watch> = (0..2).map(|_| Watch::start(&server, over)).collect();
        wait_for(&server, "the clients", |scrape| scrape.get(&streams(word, "2")) == 2.0);
        let before = Scrape::of(&server);
        server.accepted("/log/a", "\"hello\"");
        let delivered = by("plainwire_messages_out_total", "transport", word);
        wait_for(&server, "the message", |scrape| scrape.get(&delivered) - before.get(&delivered) == 2.0);
        drop(clients);
        wait_for(&server, "all to have left", is_quiet);
    }
}

#[test]
fn what_happens_is_counted() {
    let server = Server::with_config(CONFIG);
    let before = Scrape::of(&server);
    server.accepted("/log/a", "1");
    assert_eq!(server.post("/counter:increment", "{}").status, 200);
    let put = |body: &str| server.connect().ask("PUT", "/counter", &[], Some(body.as_bytes()));
    assert_eq!(put("{\"count\":1}").status, 200);
    assert_eq!(put("{\"count\":7}").problem(), (400, "too_high".to_owned()));
    let patch = [("content-type", "application/merge-patch+json")];
    let patched = server.connect().ask("PATCH", "/counter", &patch, Some(b"{\"count\":2}"));
    assert_eq!(patched.status, 200, "{patched:?}");
    for _ in 0..2 {
        let keyed = server.connect().ask("POST", "/log/a", &[("idempotency-key", "k")], Some(b"2"));
        assert_eq!(keyed.status, 201);
    }
    assert_eq!(server.get("/nosuch").status, 404);
    assert_eq!(server.get("/log/a?since=nonsense").status, 400);
    let mut websocket = server.websocket("/log/a");
    assert_eq!(websocket.request(&json!({"id": 1, "post": "/log/a", "body": 3}))["status"], 201);
    assert_eq!(websocket.request(&json!({"id": 2, "get": "/nosuch"}))["status"], 404);

    let after = Scrape::of(&server);
    let more = |series: &str| after.get(series) - before.get(series);
    for (kind, count) in [("post", 3.0), ("command", 1.0), ("put", 1.0), ("patch", 1.0)] {
        assert_eq!(more(&by("plainwire_messages_in_total", "kind", kind)), count, "{kind}");
    }
    assert_eq!(more("plainwire_write_seconds_count"), 6.0);
    assert_eq!(more("plainwire_idempotency_replays_total"), 1.0);
    for (reason, count) in [("no_such_channel", 2.0), ("cursor", 1.0), ("custom", 1.0)] {
        assert_eq!(more(&by("plainwire_rejected_total", "reason", reason)), count, "{reason}");
    }
    assert_eq!(more(&by("plainwire_websocket_requests_total", "status", "2xx")), 1.0);
    assert_eq!(more(&by("plainwire_websocket_requests_total", "status", "4xx")), 1.0);
    let requests = |transport: &str, status: &str| {
        more(&format!("plainwire_requests_total{{transport=\"{transport}\",status=\"{status}\"}}"))
    };
    assert_eq!(requests("write", "2xx"), 6.0 - 1.0 + 1.0, "those over HTTP, and the replay");
    assert_eq!(requests("websocket", "1xx"), 1.0);
    assert!(more("plainwire_log_sync_seconds_count") >= 1.0);
    assert_eq!(more("plainwire_log_commit_appends_sum"), 6.0);
    assert_eq!(after.get(&format!("plainwire_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))), 1.0);
}

#[test]
fn resumes_are_kept_or_lost() {
    let server = Server::with_config(CONFIG);
    let first = server.accepted("/log/a", "0");
    let before = Scrape::of(&server);
    let resume = |cursor: &str| {
        let mut live = server.live(Transport::Sse, &format!("/log/a?since={cursor}"));
        live.until_live();
    };
    resume(&first);
    for number in 0..200 {
        server.accepted("/log/a", &number.to_string());
    }
    resume(&first);
    let after = Scrape::of(&server);
    let more = |series: &str| after.get(series) - before.get(series);
    assert_eq!(more("plainwire_resumes_total{transport=\"sse\",outcome=\"kept\"}"), 1.0);
    assert_eq!(more("plainwire_resumes_total{transport=\"sse\",outcome=\"lost\"}"), 1.0);
    assert_eq!(more(&by("plainwire_resets_total", "reason", "trimmed")), 1.0);
    assert!(more("plainwire_reader_lag_messages_count") >= 1.0, "it was read from the log");
}

#[test]
fn nothing_from_outside_becomes_a_label() {
    let server = Server::with_config(CONFIG);
    let before = Scrape::of(&server);
    for number in 0..200 {
        let channel = format!("/log/secret-{number}");
        server.accepted(&channel, "1");
        assert_eq!(server.get(&channel).status, 200);
        assert_eq!(server.get(&format!("/nosuch-secret-{number}")).status, 404);
        let connection = &mut server.connect();
        let odd = [("user-agent", channel.as_str()), ("x-request-id", channel.as_str())];
        connection.ask("POST", "/counter:secret", &odd, Some(b"{}"));
    }
    let mut live = server.live(Transport::WebSocket, "/log/secret-1");
    live.until_live();
    let after = Scrape::of(&server);
    assert_eq!(after.names(), before.names(), "the series are the same, whatever is asked");
    assert!(after.names().len() < 500, "{} series", after.names().len());
    assert!(!after.text.contains("secret") && !after.text.contains("127.0.0.1"), "{}", after.text);
}

#[test]
fn metrics_are_not_public_unless_they_are_meant_to_be() {
    let server = Server::with_config("[channel.a]\n");
    assert_eq!(server.get("/_/metrics").problem(), (404, "no_such_route".to_owned()));
    assert_eq!(server.get("/_/health").status, 200);
    assert_eq!(server.get("/_/ready").status, 200);
}
