//! The sections of plain options: where each is read from, and what the reference says of it.

use super::options::Row;
use super::{
    Acme, Admin, AuthOptions, Config, Ice, Kafka, Limits, Nats, Redis, Server, Tail, Tls, reference,
};

/// A section of plain options, which the environment can set too.
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) rows: &'static [Row],
    /// The environment variable of an option.
    pub(super) variable: fn(&str) -> String,
    pub(super) set: fn(&mut Config, &str, &str) -> Result<(), String>,
    /// What the reference says after the options.
    pub(super) more: &'static str,
}

/// What comes from an authority, below `[tls]`.
pub(super) const ACME: &str = "[tls.acme]";

/// All of them, in the order of the reference.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "[server]",
        about: "The process and its connections.",
        rows: Server::ROWS,
        variable: |name| format!("PLAINWIRE_{}", name.to_uppercase()),
        set: |config, name, text| config.server.set(name, text),
        more: "",
    },
    Section {
        name: "[tls]",
        about: reference::TLS_ABOUT,
        rows: Tls::ROWS,
        variable: |name| format!("PLAINWIRE_TLS_{}", name.to_uppercase()),
        set: |config, name, text| config.tls.set(name, text),
        more: "",
    },
    Section {
        name: ACME,
        about: reference::ACME_ABOUT,
        rows: Acme::ROWS,
        variable: |name| format!("PLAINWIRE_TLS_ACME_{}", name.to_uppercase()),
        set: |config, name, text| config.acme.set(name, text),
        more: "",
    },
    Section {
        name: "[redis]",
        about: reference::REDIS_ABOUT,
        rows: Redis::ROWS,
        variable: |name| format!("PLAINWIRE_REDIS_{}", name.to_uppercase()),
        set: |config, name, text| config.redis.set(name, text),
        more: "",
    },
    Section {
        name: "[nats]",
        about: reference::NATS_ABOUT,
        rows: Nats::ROWS,
        variable: |name| format!("PLAINWIRE_NATS_{}", name.to_uppercase()),
        set: |config, name, text| config.nats.set(name, text),
        more: "",
    },
    Section {
        name: "[kafka]",
        about: reference::KAFKA_ABOUT,
        rows: Kafka::ROWS,
        variable: |name| format!("PLAINWIRE_KAFKA_{}", name.to_uppercase()),
        set: |config, name, text| config.kafka.set(name, text),
        more: "",
    },
    Section {
        name: "[limits]",
        about: "What one client, and all of them together, may take. [All limits](#limits) are listed below.",
        rows: Limits::ROWS,
        variable: |name| format!("PLAINWIRE_LIMITS_{}", name.to_uppercase()),
        set: |config, name, text| config.limits.set(name, text),
        more: "",
    },
    Section {
        name: "[tail]",
        about: "The newest messages of each channel that somebody listens to, kept in memory. Who is further behind reads from the log.",
        rows: Tail::ROWS,
        variable: |name| format!("PLAINWIRE_TAIL_{}", name.to_uppercase()),
        set: |config, name, text| config.tail.set(name, text),
        more: "",
    },
    Section {
        name: "[ice]",
        about: "STUN and TURN servers for WebRTC, which `/_/ice` tells clients, with credentials that expire. [WebRTC](webrtc.md#stun-and-turn) explains it.",
        rows: Ice::ROWS,
        variable: |name| format!("PLAINWIRE_ICE_{}", name.to_uppercase()),
        set: |config, name, text| config.ice.set(name, text),
        more: "",
    },
    Section {
        name: "[admin]",
        about: "A listener for whoever runs the server: see [operations](operations.md).",
        rows: Admin::ROWS,
        variable: |name| format!("PLAINWIRE_ADMIN_{}", name.to_uppercase()),
        set: |config, name, text| config.admin.set(name, text),
        more: "",
    },
    Section {
        name: "[auth]",
        about: reference::ABOUT_AUTH,
        rows: AuthOptions::ROWS,
        variable: |name| format!("PLAINWIRE_AUTH_{}", name.to_uppercase()),
        set: |config, name, text| config.auth.options.set(name, text),
        more: reference::AUTH_KEY,
    },
];
