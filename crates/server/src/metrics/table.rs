//! The one table of metrics: the exposition and `docs/operations.md` both come from it.

#[cfg(test)]
use std::fmt::Write as _;

use prometheus_client::metrics::MetricType;

/// One metric, perhaps with labels.
pub(super) struct Metric {
    /// Its name, without the `_total` that a counter's series end with.
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! metrics {
    ($( $constant:ident $kind:ident $name:literal [$($label:literal),*] $help:literal; )+) => {
        $( pub(super) const $constant: Metric = Metric {
            name: $name,
            kind: MetricType::$kind,
            labels: &[$($label),*],
            help: $help,
        }; )+

        /// All of them, in the order in which they are told.
        #[cfg(test)]
        pub(super) const ALL: &[Metric] = &[$($constant),+];
    };
}

metrics! {
    BUILD Info "plainwire_build" ["version"] "The version that runs";
    START_TIME Gauge "process_start_time_seconds" [] "When the process started, in seconds since 1970";
    CPU Counter "process_cpu_seconds" [] "Processor time spent, in user and kernel mode";
    RESIDENT Gauge "process_resident_memory_bytes" [] "Memory in use";
    OPEN_FDS Gauge "process_open_fds" [] "Descriptors that are open";
    MAX_FDS Gauge "process_max_fds" [] "Descriptors that may be open";
    CONNECTIONS Gauge "plainwire_connections" [] "TCP connections that are open";
    CONNECTIONS_OPENED Counter "plainwire_connections_opened" [] "TCP connections that were accepted";
    ACCEPT_ERRORS Counter "plainwire_accept_errors" [] "Connections that could not be accepted, for want of descriptors most likely";
    TLS_FAILURES Counter "plainwire_tls_handshake_failures" [] "TLS handshakes that failed";
    TLS_NOT_AFTER Gauge "plainwire_tls_certificate_not_after_timestamp_seconds" [] "When the certificate that clients are shown expires, in seconds since 1970";
    TLS_RENEWAL_FAILURES Counter "plainwire_tls_renewal_failures" [] "Orders of a certificate that failed, and files that changed and could not be used";
    STREAMS Gauge "plainwire_streams" ["transport", "http"] "Streams and WebSockets that are open, and long polls that wait";
    STREAMS_OPENED Counter "plainwire_streams_opened" ["transport", "http"] "Streams, WebSockets and long polls that were begun";
    SUBSCRIPTIONS Gauge "plainwire_subscriptions" ["transport"] "Channels that are watched, once for each reader";
    REQUESTS Counter "plainwire_requests" ["transport", "status"] "Requests answered over HTTP, by the first digit of their status";
    FRAMES Counter "plainwire_websocket_requests" ["status"] "Requests answered over WebSocket";
    REJECTED Counter "plainwire_rejected" ["reason"] "Requests refused, over HTTP and WebSocket, by the `reason` of the problem; `custom` is what rules and apps say";
    MESSAGES_IN Counter "plainwire_messages_in" ["kind"] "Writes that were applied";
    REPLAYS Counter "plainwire_idempotency_replays" [] "Writes that were answered with the outcome of an earlier one with the same key";
    WRITE_TIME Histogram "plainwire_write_seconds" [] "From a write's place in the order to its answer, durable as promised";
    MESSAGES_OUT Counter "plainwire_messages_out" ["transport"] "Messages delivered, once for each reader";
    BYTES_IN Counter "plainwire_received_bytes" ["carrier"] "Bytes read from sockets; `requests` is HTTP/1.1 between streams, `http2` all of HTTP/2";
    BYTES_OUT Counter "plainwire_sent_bytes" ["carrier"] "Bytes written to sockets";
    RESUMES Counter "plainwire_resumes" ["transport", "outcome"] "Readers that came with a cursor: `kept` goes on there, `lost` is told `@reset` or 410";
    RESETS Counter "plainwire_resets" ["reason"] "Continuity lost, by reason";
    LAG Histogram "plainwire_reader_lag_messages" [] "How far readers were behind, in messages, each time that one read a page from the log";
    CHANNELS Gauge "plainwire_channels_open" [] "Channels in memory: watched, written to, or so lately";
    TAIL_BYTES Gauge "plainwire_tail_bytes" [] "Bytes of messages kept in memory for readers";
    HELD_BYTES Gauge "plainwire_held_bytes" [] "Bytes that the server holds for clients, bodies that arrive and answers that wait to be taken, beyond those that are free: at most `held_bytes`";
    QUEUE_APPENDS Gauge "plainwire_log_waiting_appends" [] "Writes that wait to be committed";
    QUEUE_BYTES Gauge "plainwire_log_waiting_bytes" [] "Bytes of writes that wait to be committed";
    COMMITS Histogram "plainwire_log_commit_appends" [] "Writes in each commit";
    SYNCS Histogram "plainwire_log_sync_seconds" [] "Commits that were synced to the device: the time to write and sync them";
    KEYS_DROPPED Counter "plainwire_idempotency_keys_dropped" [] "Outcomes of idempotency keys that made room for newer ones before `key_window` was over: raise `key_count` or `key_bytes`";
    LOG_ERRORS Counter "plainwire_log_errors" [] "Commits, and attempts to open the store again, that failed";
    TURN_TIME Histogram "plainwire_worker_turn_seconds" [] "How long workers took to come round once";
    WORKER_LAG Gauge "plainwire_worker_lag_seconds" [] "How late the latest worker is, or was within the last seconds";
    LINES_DROPPED Counter "plainwire_access_log_dropped_lines" [] "Lines of the access log that were given up because whoever reads it was too slow";
}

/// The table of `docs/operations.md`.
#[cfg(test)]
fn reference() -> String {
    let mut text = String::from("| metric | kind | labels | what it is |\n| --- | --- | --- | --- |\n");
    for metric in ALL {
        let (kind, end) = match metric.kind {
            MetricType::Counter => ("counter", "_total"),
            MetricType::Gauge => ("gauge", ""),
            MetricType::Histogram => ("histogram", ""),
            MetricType::Info => ("info", "_info"),
            MetricType::Unknown => ("unknown", ""),
        };
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(
            text,
            "| `{}{end}` | {kind} | {} | {} |",
            metric.name,
            labels.join(", "),
            metric.help.replace('|', "\\|")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BEGIN: &str = "<!-- metrics: written from the source; a test keeps it so -->\n";
    const END: &str = "<!-- end of metrics -->";

    #[test]
    fn the_documentation_lists_them() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
        let text = std::fs::read_to_string(&path).expect("docs/operations.md");
        let (before, rest) = text.split_once(BEGIN).expect("the beginning of the table");
        let (written, after) = rest.split_once(END).expect("the end of the table");
        if std::env::var_os("PLAINWIRE_WRITE_DOCS").is_some() {
            let text = format!("{before}{BEGIN}{}{END}{after}", reference());
            std::fs::write(&path, text).expect("a file that can be written");
            return;
        }
        assert!(written == reference(), "docs/operations.md is out of date: run with PLAINWIRE_WRITE_DOCS=1");
    }

    #[test]
    fn names_and_labels_are_legal() {
        let legal = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        for (place, metric) in ALL.iter().enumerate() {
            assert!(legal(metric.name) && metric.labels.iter().all(|label| legal(label)), "{}", metric.name);
            assert!(!metric.name.ends_with("_total"), "{}: the encoder adds it", metric.name);
            assert!(!ALL[..place].iter().any(|other| other.name == metric.name), "{}: twice", metric.name);
        }
    }
}
