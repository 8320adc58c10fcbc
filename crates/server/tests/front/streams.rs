//! What a node sends arrives at once, through every proxy, whatever the proxy may do with answers.

use std::io::Write as _;

use flate2::write::GzDecoder;
use serde_json::json;

use super::http2::Http2;
use super::support::tls::Authority;
use super::support::{Connection, Live, Server, Transport};
use super::{Cluster, Kind, Proxy};

/// So that no heartbeat brings along what was held back.
const SILENT: &str = "heartbeat = \"10m\"\n";
const MESSAGES: u64 = 4;

/// Publishes one message after the other through the proxy: each arrives, and nothing is sent after it until it has.
fn each_at_once(mut live: Live, publish: &Proxy, channel: &str, context: &str) {
    let mut publisher = publish.connect();
    for number in 1..=MESSAGES {
        let body = number.to_string();
        let answer = publisher.ask("POST", channel, &[], Some(body.as_bytes()));
        assert_eq!(answer.status, 201, "{context}: {answer:?}");
        let message = live.message();
        assert_eq!((message.position, message.data), (answer.cursor(), json!(number)), "{context}");
    }
}

#[test]
fn every_transport_passes_unbuffered() {
    let cluster = Cluster::start(2, SILENT);
    for kind in Kind::ALL {
        let proxy = cluster.behind(kind, &[]);
        for transport in Transport::ALL {
            let channel = format!("/chat/{kind:?}{transport:?}");
            let mut live = proxy.live(transport, &format!("{channel}?since=0"));
            live.until_live();
            each_at_once(live, &proxy, &channel, &format!("{kind:?}, {transport:?}"));
        }
    }
}

#[test]
fn streams_pass_over_http2() {
    let cluster = Cluster::start(2, SILENT);
    for kind in Kind::HTTP {
        let proxy = cluster.behind(kind, &[]);
        for (index, accept) in ["text/event-stream", "application/x-ndjson"].into_iter().enumerate() {
            let channel = format!("/chat/{kind:?}{index}");
            let mut http2 = Http2::open(proxy.address, &proxy.authority);
            let mut stream = http2.stream(&format!("{channel}?since=0"), accept);
            let mut publisher = proxy.connect();
            for number in 1..=MESSAGES {
                let text = format!("message {number} of {kind:?}");
                publisher.ask("POST", &channel, &[], Some(json!(text).to_string().as_bytes()));
                http2.until(&mut stream, &text);
            }
        }
    }
}

#[test]
fn websockets_pass_over_http2_where_the_proxy_can() {
    let cluster = Cluster::start(2, SILENT);
    // Others do not offer it (RFC 8441 §3), and browsers open a connection of HTTP/1.1.
    for (kind, can) in [(Kind::HaproxyHttp, true), (Kind::Nginx, false), (Kind::Caddy, false)] {
        let proxy = cluster.behind(kind, &[]);
        let mut http2 = Http2::open(proxy.address, &proxy.authority);
        let status = http2.extended_connect(&format!("/chat/{kind:?}"));
        assert_eq!(status == Some(200), can, "{kind:?}: {status:?}");
    }
}

#[test]
fn nodes_speak_tls_and_http2_themselves_behind_tcp() {
    let authority = Authority::new();
    let config = format!("allow = true\n[channel.\"chat/*\"]\n[server]\nengine = \"memory\"\n{SILENT}");
    let node = Server::secure(&config, &authority);
    let proxy = Proxy::start(
        Kind::HaproxyTcp,
        &[node.address],
        &[("check-ssl verify none", "check-ssl verify none")],
    );
    let mut http2 = Http2::open(proxy.address, &authority);
    let mut stream = http2.stream("/chat/a?since=0", "text/event-stream");
    for transport in Transport::ALL {
        let connection = Connection::open(proxy.address).secured(&authority.client(), "localhost");
        let mut live = Live::over(connection.expect("a handshake"), transport, "/chat/a").expect("it begins");
        live.until_live();
        let text = format!("beside {transport:?}");
        if transport == Transport::LongPoll {
            continue;
        }
        node.accepted("/chat/a", &json!(text).to_string());
        assert_eq!(live.message().data, json!(text));
        http2.until(&mut stream, &text);
    }
    assert_eq!(http2.extended_connect("/chat/a"), Some(200));
}

#[test]
fn nothing_is_held_back_by_a_proxy_that_compresses_and_caches() {
    let cluster = Cluster::start(2, SILENT);
    let nginx: &[(&str, &str)] = &[(
        "    access_log off;\n",
        "    access_log off;\n    gzip on;\n    gzip_types *;\n    gzip_proxied any;\n    gzip_min_length 1;\n\
             proxy_cache_path cache keys_zone=all:1m;\n    proxy_cache all;\n    proxy_cache_lock on;\n\
             proxy_cache_lock_timeout 60s;\n",
    )];
    let haproxy: &[(&str, &str)] = &[(
        "    option httpchk\n",
        "    compression algo gzip\n    compression type text/event-stream application/x-ndjson application/json\n\
             option httpchk\n",
    )];
    let caddy: &[(&str, &str)] = &[("\treverse_proxy ", "\tencode gzip\n\treverse_proxy ")];
    for (kind, edits) in [(Kind::HaproxyHttp, haproxy), (Kind::Nginx, nginx), (Kind::Caddy, caddy)] {
        let proxy = cluster.behind(kind, edits);
        for accept in ["text/event-stream", "application/x-ndjson"] {
            let channel = format!("/chat/{kind:?}-{}", &accept[..4]);
            // The second would wait for the first, if that were to be kept for it.
            let mut readers = [0, 1].map(|_| Compressed::open(&proxy, &format!("{channel}?since=0"), accept));
            for number in 1..=MESSAGES {
                let text = format!("message {number} of {kind:?}");
                proxy.ask("POST", &channel, Some(&json!(text).to_string()));
                for reader in &mut readers {
                    reader.until(&text);
                }
            }
        }
    }
}

/// A stream that may have been compressed on its way.
struct Compressed {
    connection: Connection,
    decoder: Option<GzDecoder<Vec<u8>>>,
    text: Vec<u8>,
}

impl Compressed {
    fn open(proxy: &Proxy, target: &str, accept: &str) -> Compressed {
        let mut connection = proxy.connect();
        let headers = [("accept", accept), ("accept-encoding", "gzip")];
        connection.request("GET", target, &headers, None).expect("it is sent");
        let head = connection.head().expect("an answer");
        assert_eq!(head.status, 200, "{head:?}");
        let decoder = head.header("content-encoding").map(|encoding| {
            assert_eq!(encoding, "gzip");
            GzDecoder::new(Vec::new())
        });
        Compressed { connection, decoder, text: Vec::new() }
    }

    /// Reads until it has said this.
    fn until(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.text).contains(text) {
            let bytes = self.connection.some_body().expect("a message").expect("it goes on");
            match &mut self.decoder {
                None => self.text.extend_from_slice(&bytes),
                Some(decoder) => {
                    decoder.write_all(&bytes).and_then(|()| decoder.flush()).expect("it is gzip");
                    self.text.append(decoder.get_mut());
                }
            }
        }
    }
}
