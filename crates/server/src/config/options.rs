//! The one table of options: name, kind, default, bounds and purpose. What the server works with, the environment
//! variables and `docs/configuration.md` all come from it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use ipnet::IpNet;
use plainwire_hub::Conflate;
use plainwire_hub::presence::Mode;
use plainwire_log::Durability;
use plainwire_log::kafka::SaslMechanism;

use super::acme::{Contacts, Domains, HttpsUrl};
use super::admin::AdminToken;
use super::auth::Secret;
use super::conflate::Replaced;
use super::fault::Faults;
use super::ice::{IceSecret, IceSecretText, IceUrl, IceUrls};
use super::kafka::{Brokers, MechanismName, TopicPrefix, UserName};
use super::kind::*;
use super::nats::{NatsUrl, NatsUrls, StreamName};
use super::origins::{Hosts, Origins};
use super::presence::ModeName;
use super::redis::{KeyPrefix, Name, RedisUrl, RedisUrlText, RedisUrls};
use super::table::Table;
use super::{AccessLogFormat, Engine, ProxyHeader, TlsVersion};
use crate::auth::Algorithm;

/// One row of the table, as the reference shows it.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) default: &'static str,
    /// Least and most, inclusive.
    pub(super) bounds: Option<(&'static str, &'static str)>,
    /// Of a limit: what happens beyond it.
    pub(super) beyond: Option<&'static str>,
    pub(super) purpose: &'static str,
}

/// Makes a struct of resolved options, its rows for the reference, and how it is read.
macro_rules! options {
    (
        $(#[doc = $about:literal])*
        $visible:vis struct $section:ident {
            $( $(#[doc = $purpose:literal])+ $name:ident: $value:ty = $kind:ident $default:literal $(in $least:literal .. $most:literal)?
                $(beyond $beyond:literal)?; )+
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug)]
        #[non_exhaustive]
        $visible struct $section {
            $( $(#[doc = $purpose])+ pub $name: $value, )+
        }

        impl $section {
            pub(super) const ROWS: &'static [Row] = &[
                $( Row {
                    name: stringify!($name),
                    kind: <$kind as Kind>::NAME,
                    default: $default,
                    bounds: options!(@bounds $($least, $most)?),
                    beyond: options!(@beyond $($beyond)?),
                    purpose: concat!($($purpose),+),
                }, )+
            ];

            /// Takes the section's keys out of a table.
            pub(super) fn read(table: &mut Table<'_>, faults: &mut Faults) -> $section {
                let mut options = $section::default();
                $( if let Some(value) = table.take(stringify!($name)) {
                    let read = <$kind as Kind>::from_toml(value.get_ref());
                    match read.and_then(|value| options!(@check $kind value $($least, $most)?)) {
                        Ok(value) => options.$name = value,
                        Err(message) => faults.at(value.span(), format!("`{}`: {message}", stringify!($name))),
                    }
                } )+
                options
            }

            /// Sets one option from text, as an environment variable has it.
            #[allow(dead_code, reason = "not every section has environment variables")]
            pub(super) fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
                match name {
                    $( stringify!($name) => {
                        let read = <$kind as Kind>::from_text(text);
                        self.$name = read.and_then(|value| options!(@check $kind value $($least, $most)?))?;
                        Ok(())
                    } )+
                    _ => Err(format!("there is no option `{name}`")),
                }
            }
        }

        impl Default for $section {
            fn default() -> $section {
                $section {
                    $( $name: <$kind as Kind>::from_text($default).expect("defaults are well-formed"), )+
                }
            }
        }
    };
    (@beyond) => { None };
    (@beyond $beyond:literal) => { Some($beyond) };
    (@bounds) => { None };
    (@bounds $least:literal, $most:literal) => { Some(($least, $most)) };
    (@check $kind:ident $value:ident) => { Ok($value) };
    (@check $kind:ident $value:ident $least:literal, $most:literal) => {{
        let bound = |text| <$kind as Kind>::from_text(text).expect("bounds are well-formed");
        if <$kind as Kind>::within(&$value, &bound($least), &bound($most)) {
            Ok($value)
        } else {
            Err(format!("at least {} and at most {} is taken", $least, $most))
        }
    }};
}

options! {
    /// `[server]`: the process and its connections.
    pub struct Server {
        /// Where to listen.
        listen: SocketAddr = Address "127.0.0.1:8080";
        /// Where the log keeps its files.
        data: PathBuf = Directory "plainwire-data";
        /// What keeps messages and states: `disk`; `redis`, `nats` or `kafka`, which several servers may share; or `memory` for nothing but tests and trials.
        engine: Engine = EngineName "disk";
        /// Threads that own connections. 0 is one for each core that the process may use.
        workers: usize = Count "0" in "0".."1024";
        /// By which names the server is called: a request with another `Host` is answered 421. None is any; in dev mode, loopback names and IP addresses.
        hosts: Hosts = HostList "";
        /// Which web pages of other origins may use the server, like `https://app.example` or `https://*.app.example`. `*` is any, but for what a cookie permits.
        origins: Origins = OriginList "*";
        /// How often a quiet stream shows that it lives. Below the idle timeouts of common proxies, 30 s and up.
        heartbeat: Duration = Span "25s" in "1s".."10m";
        /// How long a stream lives, jittered, before its client is asked to reconnect: connections spread over new nodes.
        stream_lifetime: Duration = Span "1h" in "10s".."7d";
        /// How long before its credential expires a stream is told (`@expiring`).
        expiring_notice: Duration = Span "30s" in "1s".."10m";
        /// How long an EventSource waits before it reconnects, jittered.
        retry: Duration = Span "2s" in "100ms".."1m";
        /// Longest time that a long poll may ask to wait.
        long_poll_max: Duration = Span "60s" in "1s".."10m" beyond "the answer comes after this time";
        /// How long a client may take for the whole head of a request, or a handshake, from its first byte.
        header_timeout: Duration = Span "10s" in "1s".."5m" beyond "408 `timeout`, and the connection is closed";
        /// How long a stop waits for what is under way.
        shutdown_timeout: Duration = Span "10s" in "100ms".."10m" beyond "what is left is cut";
        /// Over how long a stop spreads its goodbyes: 2,000 connections a second, so that few are told at once. At most half of `shutdown_timeout`.
        drain_time: Duration = Span "5s" in "0s".."5m";
        /// How long a stop only says that it is coming (`/_/ready` is 503) and goes on as ever, before it accepts nothing any more: as long as what spreads clients over nodes takes to notice.
        drain_delay: Duration = Span "0s" in "0s".."5m";
        /// Whose word counts for where a client is (`Forwarded`, `X-Forwarded-For`): the networks of your reverse proxies.
        trusted_proxies: Vec<IpNet> = Networks "";
        /// The header in which they say it. The other one is passed on as the client sent it, so it does not count.
        proxy_header: ProxyHeader = ProxyHeaderName "x-forwarded-for";
        /// How long `/_/health` waits for the store before it says that the store is not well.
        health_timeout: Duration = Span "2s" in "100ms".."1m";
        /// Writes a line for each request to standard output, and two for each stream.
        access_log: AccessLogFormat = AccessLogName "off";
        /// Whether `/_/metrics` is answered here as well, to everybody. Else it is on the admin listener only.
        public_metrics: bool = Switch "false";
        /// Whether stock Socket.IO clients are served, at `/socket.io/`.
        socketio: bool = Switch "false";
        /// Largest request body.
        max_body: usize = Size "1MiB" in "1KiB".."64MiB" beyond "413 `too_large`";
        /// Largest WebSocket frame.
        max_frame: usize = Size "1MiB" in "1KiB".."64MiB" beyond "close 1009";
        /// Largest WebSocket message, its frames joined and inflated.
        max_message: usize = Size "1MiB" in "1KiB".."64MiB" beyond "close 1009";
        /// Most requests of one WebSocket under way.
        max_in_flight: usize = Count "1024" in "1".."65536" beyond "429 `in_flight`";
        /// Most channels that one connection watches.
        max_channels_per_connection: usize = Count "64" in "1".."1024" beyond "400 `query`, over a WebSocket `too_many_channels`";
        /// Most messages in a page, whatever `limit` asks.
        page_limit: usize = Count "1000" in "1".."100000" beyond "the page is full";
        /// Opens the routes that conformance suites need. On a loopback address only.
        conformance: bool = Switch "false";
    }
}

options! {
    /// `[tls]`: encryption of everything that is listened for. Without a certificate there is none.
    pub struct Tls {
        /// The certificate, and those that vouch for it, in a PEM file. Read again when it changes.
        certificate: Option<PathBuf> = OptionalFile "";
        /// The certificate's private key, in a PEM file that nobody else may read.
        key: Option<PathBuf> = OptionalFile "";
        /// The oldest version of TLS that is spoken.
        min_version: TlsVersion = TlsVersionName "1.2";
    }
}

options! {
    /// `[redis]`: where the engine of that name keeps everything.
    pub struct Redis {
        /// Where it is: `redis://user:password@host:6379/0`, or `rediss://` for TLS. With `sentinels` or a `cluster` the host does not matter.
        url: RedisUrl = RedisUrlText "redis://127.0.0.1:6379";
        /// Its sentinels, like `redis://sentinel-1:26379`: they say where the master is.
        sentinels: Vec<RedisUrl> = RedisUrls "";
        /// What the sentinels call the master.
        master: String = Name "mymaster";
        /// Servers of a Redis Cluster, like `redis://redis-1:6379`: they say where its masters are. None: it is no cluster.
        cluster: Vec<RedisUrl> = RedisUrls "";
        /// What every key begins with. Servers with the same prefix share their channels.
        prefix: String = KeyPrefix "plainwire:";
        /// How long a write or a read waits for Redis before it is answered 503.
        timeout: Duration = Span "5s" in "100ms".."1m";
    }
}

options! {
    /// `[nats]`: where the engine of that name keeps everything.
    pub struct Nats {
        /// Where it is: servers of one cluster, or one server, like `nats://user:password@host:4222`, or `tls://` for TLS.
        urls: Vec<NatsUrl> = NatsUrls "nats://127.0.0.1:4222";
        /// A file of credentials, as `nsc` writes it.
        credentials_file: Option<PathBuf> = OptionalFile "";
        /// What the stream of JetStream is called, and what its subjects begin with. Servers with the same share their channels.
        stream: String = StreamName "plainwire";
        /// On how many servers of a cluster the stream is kept. Read when it is created.
        replicas: usize = Count "1" in "1".."5";
        /// How long a write or a read waits for NATS before it is answered 503.
        timeout: Duration = Span "5s" in "100ms".."1m";
    }
}

options! {
    /// `[kafka]`: where the engine of that name keeps everything.
    pub struct Kafka {
        /// Brokers of the cluster, like `kafka-1:9092`: one that answers says which others there are.
        brokers: Vec<String> = Brokers "127.0.0.1:9092";
        /// What every topic begins with, up to the first dot. Servers with the same prefix share their channels.
        prefix: String = TopicPrefix "plainwire";
        /// Whether connections are encrypted.
        tls: bool = Switch "false";
        /// Certificates of the authorities that vouch for the brokers, as PEM. None: those that the system trusts.
        ca_file: Option<PathBuf> = OptionalFile "";
        /// The user to say who this is as, by SASL. None: nobody says.
        user: Option<String> = UserName "";
        /// A file with that user's password.
        password_file: Option<PathBuf> = OptionalFile "";
        /// How the password is proved. `plain` sends it as it is.
        mechanism: SaslMechanism = MechanismName "scram-sha-256";
        /// How long a write or a read waits for Kafka before it is answered 503.
        timeout: Duration = Span "5s" in "100ms".."1m";
    }
}

options! {
    /// `[tls.acme]`: a certificate that the server orders and renews by itself.
    pub struct Acme {
        /// The domains that the certificate is for. Each must lead to this server, at port 443.
        domains: Vec<String> = Domains "";
        /// Whether you agree to the authority's terms of service. Without that it issues nothing.
        terms_agreed: bool = Switch "false";
        /// Whom the authority may write to: `mailto:` addresses. Told when the account is made.
        contact: Vec<String> = Contacts "";
        /// The authority's directory. That of Let's Encrypt for trials is `https://acme-staging-v02.api.letsencrypt.org/directory`.
        directory: Uri = HttpsUrl "https://acme-v02.api.letsencrypt.org/directory";
        /// Who vouches for the directory, in a PEM file, if it is an authority of your own. None: whom the machine trusts.
        root: Option<PathBuf> = OptionalFile "";
        /// Where the account's key and the certificate with its key are kept, readable by the server's user alone. Servers do not share it.
        cache: PathBuf = Directory "plainwire-acme";
        /// How long to wait after an order that failed, jittered. Twice as long after each further one, 12 hours at most.
        retry: Duration = Span "2m" in "1s".."12h";
    }
}

options! {
    /// `[tail]`: the newest messages of each channel, kept in memory while somebody listens to it. Who is further behind reads
    /// from the log.
    pub struct Tail {
        /// Most messages kept for a channel.
        max_count: usize = Count "1024" in "1".."1000000" beyond "older ones are read from the log";
        /// Most bytes kept for a channel.
        max_bytes: usize = Size "1MiB" in "1KiB".."1GiB" beyond "older ones are read from the log";
    }
}

options! {
    /// `[limits]`: what one client, and all of them together, may take.
    pub struct Limits {
        /// Most connections open. Fewer if the process may not have so many descriptors, which it says when it starts.
        connections: usize = Count "100000" in "1".."10000000" beyond "503 `connections`, and the connection is closed";
        /// Most connections of one address, and behind a trusted proxy streams of one client; of IPv6 a /64 is one. 0 is a fifth of `connections`.
        connections_per_address: usize = Count "0" in "0".."10000000" beyond "429 `connections`, and the connection is closed";
        /// Most streams of one principal, WebSockets and waiting long polls included, over all of its connections.
        connections_per_principal: usize = Count "1000" in "1".."10000000" beyond "429 `connections`";
        /// Most channels in use at a time: watched, or written to at the moment.
        channels: usize = Count "100000" in "1".."10000000" beyond "503 `channels`";
        /// Most header lines of a request.
        header_count: usize = Count "100" in "8".."1000" beyond "431 `headers`";
        /// Most bytes of a request's header lines.
        header_bytes: usize = Size "32KiB" in "4KiB".."1MiB" beyond "431 `headers`";
        /// Most bytes of a request's query.
        query_bytes: usize = Size "16KiB" in "256B".."64KiB" beyond "414 `query_too_long`";
        /// Most requests of one HTTP/2 connection under way, streams included.
        streams_per_connection: usize = Count "256" in "1".."65536" beyond "the stream is reset: REFUSED_STREAM";
        /// Most requests of all clients that are worked on at a time, those that only wait not included.
        requests_in_flight: usize = Count "10000" in "1".."1000000" beyond "503 `busy`";
        /// Most bytes that the server holds for all clients together, bodies that arrive and answers that wait to be taken; 64 KiB of each are free. At least `max_body` and `max_message`.
        held_bytes: usize = Size "64MiB" in "1MiB".."1TiB" beyond "503 `busy`; pages are shorter";
        /// Messages a second, of one principal and of one address, on average. 0 is any number.
        publish_rate: usize = Count "10000" in "0".."1000000" beyond "429 `rate`";
        /// Messages at once beyond the average.
        publish_burst: usize = Count "20000" in "1".."1000000" beyond "429 `rate`";
        /// Commands and other changes of a state a second, of one principal and of one address, on average. 0 is any number.
        command_rate: usize = Count "10000" in "0".."1000000" beyond "429 `rate`";
        /// Commands at once beyond the average.
        command_burst: usize = Count "20000" in "1".."1000000" beyond "429 `rate`";
        /// How long the body of a request may take to arrive.
        body_timeout: Duration = Span "30s" in "1s".."10m" beyond "408 `timeout`, and the connection is closed";
        /// How long a connection may be without a request. More than a reverse proxy keeps one.
        idle_timeout: Duration = Span "75s" in "1s".."1h" beyond "the connection is closed";
        /// How long a client may take nothing of what is sent to it; two heartbeats on a stream, if that is less.
        write_timeout: Duration = Span "60s" in "1s".."10m" beyond "the connection is cut; the client resumes from its cursor";
    }
}

options! {
    /// `[ice]`: the servers that WebRTC needs beside this one.
    pub struct Ice {
        /// STUN and TURN servers, like `stun:stun.example.com` and `turn:turn.example.com:3478?transport=udp`. None: peers find one another within one network only.
        urls: Vec<IceUrl> = IceUrls "";
        /// What the TURN servers share with this one (coturn: `use-auth-secret` and `static-auth-secret`). Credentials are made with it.
        secret: Option<IceSecret> = IceSecretText "";
        /// A file that holds the secret instead. It is read whenever it is needed.
        secret_file: Option<PathBuf> = OptionalFile "";
        /// How long a credential lasts: longer than a call does.
        ttl: Duration = Span "12h" in "1m".."7d";
        /// Whether everybody is given credentials, without a token too. In dev mode everybody is.
        public: bool = Switch "false";
    }
}

options! {
    /// `[auth]`: who a request is from.
    pub struct AuthOptions {
        /// The secret that signs tokens (HS256), at least 32 random bytes: `openssl rand -hex 32`. For one backend and for trials.
        secret: Option<Secret> = SecretText "";
        /// Where an issuer publishes its keys (a JWK Set, RFC 7517).
        jwks: Option<Uri> = Url "";
        /// The issuers (`iss`) that are taken. None: any that has a key.
        issuer: Vec<String> = Names "";
        /// What this server is called in `aud`: a token must name one of these. None: a token with an `aud` is refused.
        audience: Vec<String> = Names "";
        /// The algorithms that are taken. None: all that the keys can do.
        algorithms: Vec<Algorithm> = AlgorithmNames "";
        /// Whether a token must say when it expires (`exp`).
        require_exp: bool = Switch "true";
        /// Longest time from a token's `iat`, or from now if it has none, to its `exp`. It says when a revocation without an end is needed no more.
        max_token_lifetime: Option<Duration> = Age "366d" in "1m".."36500d" beyond "401 `token`";
        /// How far the issuer's clock may be ahead (`nbf`). A token ends on the second that it says.
        leeway: Duration = Span "5s" in "0s".."60s";
        /// The cookie that may hold a token.
        cookie: String = CookieName "plainwire";
        /// Longest time that a JWK Set counts as fresh, whatever its `Cache-Control` says.
        jwks_max_age: Duration = Span "10m" in "1s".."24h";
        /// Least time between two fetches because of keys that are unknown (`kid`).
        jwks_cooldown: Duration = Span "30s" in "1s".."1h";
        /// How long a fetch of a JWK Set may take.
        jwks_timeout: Duration = Span "5s" in "100ms".."60s";
        /// Most tokens that are remembered as verified, at about a KiB each.
        verified_tokens: usize = Count "10000" in "0".."1000000";
    }
}

options! {
    /// `[admin]`: a listener for whoever runs the server: metrics, health, revocations.
    pub struct Admin {
        /// Where it listens. None: not at all.
        listen: Option<SocketAddr> = OptionalAddress "";
        /// What whoever uses it sends as `Authorization: Bearer`. Needed unless it listens on loopback.
        token: Option<AdminToken> = AdminTokenText "";
        /// A file that holds the token instead. It is read whenever it is needed.
        token_file: Option<PathBuf> = OptionalFile "";
    }
}

options! {
    /// The plain options of a `[channel."pattern"]`.
    pub(super) struct ChannelOptions {
        /// What an acknowledged message has survived: the end of the machine (`fsync`), of the process (`write`), or nothing (`memory`).
        durability: Durability = Durable "fsync";
        /// How long the outcome of an `Idempotency-Key` is kept.
        key_window: Duration = Span "24h" in "1s".."30d" beyond "it is dropped: a retry is taken for a new request";
        /// Most outcomes of `Idempotency-Key`s kept: eleven writes a second for a whole day.
        key_count: usize = Count "1000000" in "1".."100000000" beyond "the oldest are dropped";
        /// Most bytes of outcomes kept, each with its key and the state that it led to. As much as of messages, by default.
        key_bytes: usize = Size "256MiB" in "1KiB".."16TiB" beyond "the oldest are dropped, never the newest";
        /// How long the app at `handler` may take for a command.
        handler_timeout: Duration = Span "10s" in "100ms".."5m" beyond "504 `handler_timeout`";
        /// Whether `PUT` replaces the state.
        replace: bool = Switch "false";
        /// Whether `PATCH` changes the state.
        patch: bool = Switch "false";
        /// Whether a plain `POST` publishes. Channels without a state always take messages.
        messages: bool = Switch "false";
        /// Whether these are finite streams: `POST /CHANNEL:complete` or `:fail` ends one for good, and `:cancel` asks its producer to. See [recipes](recipes.md#ai-token-streams).
        finite: bool = Switch "false";
        /// Whether these channels are for what is over in a moment, cursors and typing: nothing is written to disk, and little is kept in memory (`retain` is 100 messages, 256 KiB and one minute unless it is said). See [channels](channels.md#ephemeral).
        ephemeral: bool = Switch "false";
        /// Whether a reader that lags gets the newest message only (`true`), or the newest of each value at a place in the messages' data, a JSON Pointer like `"/symbol"`. What is left out is said (`@skipped`). See [channels](channels.md).
        conflate: Option<Conflate> = Replaced "false";
        /// Whether a message may be bytes: a `POST` with `Content-Type: application/octet-stream`. In JSON they are base64. See [binary messages](http.md#binary-messages).
        binary: bool = Switch "false";
        /// How many times a second a reader is given something at most: what is newest then, as `conflate` says, which is `true` unless it is said. 0 is any number. See [channels](channels.md#rate).
        rate: usize = Count "0" in "0".."1000" beyond "newer messages replace older ones";
        /// Whether `/CHANNEL/@presence` tells who is there, and what an entry of its list is: a `principal`, however many connections it has, or a `connection`; or `count`: how many there are, and no list. None: it is 404. See [presence](presence.md).
        presence: Option<Mode> = ModeName "";
        /// How long a client that was lost may take to come back, to whichever node, before it has left. It is also what a long poller may be away between two polls.
        presence_grace: Duration = Span "5s" in "0s".."5m";
        /// Most entries of the list of who is there; and of bytes 256 KiB.
        presence_members: usize = Count "1000" in "1".."10000" beyond "they are counted and not listed";
        /// Whether each member has an inbox, `/CHANNEL/@to/MEMBER`, which that member alone reads, and to which whoever may post to the channel posts. See [WebRTC](webrtc.md#inboxes).
        inboxes: bool = Switch "false";
    }
}

options! {
    /// `retain` of a `[channel."pattern"]`: which messages are kept. The state is kept whatever becomes of the messages.
    pub(super) struct Retain {
        /// Most messages kept.
        count: usize = Count "1000000" in "1".."1000000000" beyond "the oldest are trimmed";
        /// Most bytes of messages kept.
        bytes: usize = Size "256MiB" in "1KiB".."16TiB" beyond "the oldest are trimmed";
        /// Longest time a message is kept.
        age: Option<Duration> = Age "7d" in "1s".."36500d" beyond "it is trimmed";
    }
}
