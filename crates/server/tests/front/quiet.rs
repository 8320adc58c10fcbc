//! Proxies cut what is silent for too long. Heartbeats are what keeps streams from being so.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::http2::Http2;
use super::support::{DEADLINE, Live, Transport};
use super::{Cluster, Kind};

/// For how long nothing is published: more than twice what the proxies of these tests wait.
const QUIET: Duration = Duration::from_secs(7);

#[test]
fn heartbeats_keep_quiet_streams_open() {
    let cluster = Cluster::start(2, "heartbeat = \"1s\"\n");
    let proxies = Kind::ALL.map(|kind| (kind, cluster.behind(kind, kind.impatient())));
    let (said, heard) = channel();
    let mut readers = 0;
    for (kind, proxy) in &proxies {
        let kind = *kind;
        for transport in Transport::STREAMS {
            let mut live = proxy.live(transport, "/chat/quiet");
            live.until_live();
            let said = said.clone();
            readers += 1;
            thread::spawn(move || said.send((format!("{kind:?}, {transport:?}"), first(&mut live))));
        }
        if kind != Kind::HaproxyTcp {
            let mut http2 = Http2::open(proxy.address, &proxy.authority);
            let mut stream = http2.stream("/chat/quiet", "text/event-stream");
            let said = said.clone();
            readers += 1;
            thread::spawn(move || {
                http2.until(&mut stream, "after all");
                said.send((format!("{kind:?}, HTTP/2"), Ok(json!("after all"))))
            });
        }
    }
    // Not to wait for anything: it is the silence that is tried.
    thread::sleep(QUIET);
    cluster.nodes[0].accepted("/chat/quiet", "\"after all\"");
    for _ in 0..readers {
        let (who, what) = heard.recv_timeout(DEADLINE).expect("everybody is still there");
        assert_eq!(what, Ok(json!("after all")), "{who}");
    }
}

/// The first message; the error if the stream ends before.
fn first(live: &mut Live) -> Result<serde_json::Value, String> {
    loop {
        let event = live.next().map_err(|error| error.to_string())?;
        if !event.is_control() {
            return Ok(event.data);
        }
    }
}

#[test]
fn without_heartbeats_they_would_be_cut() {
    let cluster = Cluster::start(1, "heartbeat = \"10m\"\n");
    let proxies = Kind::ALL.map(|kind| (kind, cluster.behind(kind, kind.impatient())));
    let streams = proxies.each_ref().map(|(kind, proxy)| {
        let mut live = proxy.live(Transport::Sse, "/chat/quiet");
        live.until_live();
        (kind, live)
    });
    for (kind, mut live) in streams {
        let error = first(&mut live).expect_err("nobody published anything");
        assert!(
            !error.contains("in vain") && !error.contains("temporarily"),
            "{kind:?} does not cut: {error}"
        );
    }
}
