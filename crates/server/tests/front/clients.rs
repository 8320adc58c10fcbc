//! What nodes know of the clients behind a proxy: where they are, that they left, and where they were before.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use super::http2::Http2;
use super::support::{Connection, DEADLINE, Live, Server, Transport};
use super::{Cluster, Kind, Proxy};

/// Streams that one client may have in these tests.
const MOST: usize = 3;
/// How often a node is asked for what it says only when asked.
const LOOK: Duration = Duration::from_millis(10);

fn limits() -> String {
    format!("public_metrics = true\n[limits]\nconnections_per_address = {MOST}\n")
}

/// Begins a stream; the status if it is refused.
fn begin(mut connection: Connection, headers: &[(&str, &str)]) -> Result<Connection, u16> {
    let headers: Vec<_> = [("accept", "text/event-stream")].iter().chain(headers).copied().collect();
    connection.request("GET", "/chat/a", &headers, None).expect("it is sent");
    match connection.head().expect("an answer").status {
        200 => Ok(connection),
        status => Err(status),
    }
}

#[test]
fn limits_count_clients_and_not_the_proxy() {
    let cluster = Cluster::start(1, &limits());
    for (index, kind) in (1..).zip(Kind::HTTP) {
        one_has_its_share(&cluster.behind(kind, &[]), index, &format!("{kind:?}"));
    }
}

#[test]
fn the_header_of_rfc_7239_serves_as_well() {
    let cluster = Cluster::start(1, &format!("proxy_header = \"forwarded\"\n{}", limits()));
    let other = ("X-Forwarded-For $proxy_add_x_forwarded_for", "Forwarded \"for=$remote_addr\"");
    one_has_its_share(&cluster.behind(Kind::Nginx, &[other]), 1, "Forwarded");
}

/// One client takes all that it may have, whatever it says, and another is served.
fn one_has_its_share(proxy: &Proxy, index: u8, context: &str) {
    let [one, other] = [10, 20].map(|last| Ipv4Addr::new(127, 0, index, last));
    let mut streams: Vec<_> =
        (0..MOST).map(|_| begin(proxy.connect_from(one), &[]).expect("its share")).collect();
    assert_eq!(begin(proxy.connect_from(one), &[]).err(), Some(429), "{context}");
    for name in ["X-Forwarded-For", "Forwarded"] {
        let lie = if name == "Forwarded" { "for=203.0.113.9" } else { "203.0.113.9" };
        assert_eq!(begin(proxy.connect_from(one), &[(name, lie)]).err(), Some(429), "{context}, {name}");
    }
    begin(proxy.connect_from(other), &[]).expect("another client is served");
    streams.pop();
    let late = Instant::now() + DEADLINE;
    while begin(proxy.connect_from(one), &[]).is_err() {
        assert!(Instant::now() < late, "{context}: what was given back can be had again");
        thread::sleep(LOOK);
    }
}

#[test]
fn in_tcp_mode_everybody_is_the_proxy() {
    // It is not to be trusted: it passes on what clients write into headers.
    let config = format!("[channel.\"chat/*\"]\n[server]\nengine = \"memory\"\n{}", limits());
    let node = Server::with_config(&config);
    // Its checks would be counted as well.
    let unchecked = ("default-server check inter 1s fastinter 300ms fall 2 rise 1 check-ssl verify none", "");
    let proxy = Proxy::start(Kind::HaproxyTcp, &[node.address], &[unchecked]);
    let clients = [1, 2, 3].map(|last| Ipv4Addr::new(127, 0, 9, last));
    let streams =
        clients.map(|client| begin(proxy.connect_from(client), &[]).expect("their share of one address"));
    let next = proxy.connect_from(Ipv4Addr::new(127, 0, 9, 4));
    assert_eq!(begin(next, &[("X-Forwarded-For", "203.0.113.9")]).err(), Some(429));
    drop(streams);
}

#[test]
fn who_leaves_the_proxy_leaves_the_node() {
    let cluster = Cluster::start(1, "public_metrics = true\n");
    let node = &cluster.nodes[0];
    for kind in Kind::ALL {
        let proxy = cluster.behind(kind, &[]);
        let streams: Vec<Live> = Transport::STREAMS
            .into_iter()
            .map(|transport| {
                let mut live = proxy.live(transport, "/chat/a");
                live.until_live();
                live
            })
            .collect();
        let mut poll = proxy.connect();
        poll.request("GET", "/chat/a?wait=60", &[], None).expect("it is sent");
        wait_for_streams(node, streams.len() as u64 + 1, &format!("{kind:?}"));
        drop((streams, poll));
        wait_for_streams(node, 0, &format!("{kind:?}"));
        if kind != Kind::HaproxyTcp {
            let mut http2 = Http2::open(proxy.address, &proxy.authority);
            let stream = http2.stream("/chat/a", "text/event-stream");
            wait_for_streams(node, 1, &format!("{kind:?}, HTTP/2"));
            drop((stream, http2));
            wait_for_streams(node, 0, &format!("{kind:?}, HTTP/2"));
        }
    }
}

#[track_caller]
fn wait_for_streams(node: &Server, expected: u64, context: &str) {
    let late = Instant::now() + DEADLINE;
    loop {
        let open = node.metric("plainwire_streams{");
        if open == expected {
            return;
        }
        assert!(Instant::now() < late, "{context}: {open} streams are open, not {expected}");
        thread::sleep(LOOK);
    }
}

#[test]
fn sessions_stick_where_they_are_to_and_only_there() {
    const WRITES: u64 = 12;
    for kind in Kind::ALL {
        for sticky in [false, true] {
            let cluster = Cluster::start(3, "public_metrics = true\n");
            let edits = if sticky { std::slice::from_ref(kind.sticky()) } else { &[] };
            let proxy = cluster.behind(kind, edits);
            let first = proxy.ask("GET", "/chat/a?since=0", None);
            let cookie = first.header("set-cookie").and_then(|cookie| cookie.split(';').next());
            assert_eq!(
                cookie.is_some(),
                sticky && matches!(kind, Kind::HaproxyHttp | Kind::Caddy),
                "{first:?}"
            );
            let headers: Vec<_> = cookie.iter().map(|cookie| ("cookie", *cookie)).collect();
            for _ in 0..WRITES {
                let answer = proxy.connect().ask("POST", "/chat/a", &headers, Some(b"1"));
                assert_eq!(answer.status, 201, "{answer:?}");
            }
            let mut at = cluster
                .nodes
                .iter()
                .map(|node| node.metric("plainwire_messages_in_total"))
                .collect::<Vec<_>>();
            at.sort_unstable();
            assert_eq!(at.iter().sum::<u64>(), WRITES, "{kind:?}");
            assert_eq!(at[2] == WRITES, sticky, "{kind:?}, sticky: {sticky}: {at:?}");
            assert_eq!(at[0] > 0, !sticky, "{kind:?}, sticky: {sticky}: {at:?}");
        }
    }
}
