//! The exposition: everything that is counted, in the OpenMetrics text format.

use std::fmt;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use plainwire_log::LogStats;
use plainwire_log::stats::Distribution;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::registry::Registry;

use super::counts::RESETS;
use super::labels::{Carrier, Http, Label, Rejection, StatusClass, Transport, Written};
use super::process::Process;
use super::table::{self, Metric};
use super::{Counts, Metrics};
use crate::channels::Channels;
use crate::tls::Tls;

/// The exposition's media type.
pub(crate) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Microseconds in a second.
const MICROS: f64 = 1e6;
/// Those that hold streams, or wait for an answer.
const STREAMS: [Transport; 4] =
    [Transport::LongPoll, Transport::Sse, Transport::Ndjson, Transport::WebSocket];
/// Those that deliver messages.
const READERS: [Transport; 7] = [
    Transport::Poll,
    Transport::Page,
    Transport::LongPoll,
    Transport::Sse,
    Transport::Ndjson,
    Transport::WebSocket,
    Transport::Embedded,
];

/// Everything as text. Reads some files of the system: not for a worker's thread.
pub(crate) fn expose(channels: &Arc<Channels>, tls: Option<&Arc<Tls>>) -> String {
    let scrape = Scrape {
        stats: channels.log().stats(),
        process: Process::ask(),
        channels: channels.clone(),
        tls: tls.cloned(),
        now: Instant::now(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut out = String::with_capacity(32 << 10);
    text::encode(&mut out, &registry).expect("writing to memory");
    out
}

struct Scrape {
    channels: Arc<Channels>,
    tls: Option<Arc<Tls>>,
    stats: LogStats,
    process: Process,
    now: Instant,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Writer(encoder);
        self.process(&mut out)?;
        self.connections(&mut out)?;
        self.requests(&mut out)?;
        self.delivery(&mut out)?;
        self.log(&mut out)?;
        self.workers(&mut out)
    }
}

impl Scrape {
    fn metrics(&self) -> &Metrics {
        self.channels.metrics()
    }

    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.metrics().sum(count)
    }

    fn process(&self, out: &mut Writer<'_>) -> fmt::Result {
        let started = self.metrics().started.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let Process { resident_bytes, open_descriptors, max_descriptors, cpu_seconds } = self.process;
        out.metric(&table::BUILD)?.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        out.metric(&table::START_TIME)?.encode_gauge(&started.as_secs_f64())?;
        let mut cpu = out.metric(&table::CPU)?;
        if let Some(seconds) = cpu_seconds {
            cpu.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
        }
        out.gauge_if(&table::RESIDENT, resident_bytes)?;
        out.gauge_if(&table::OPEN_FDS, open_descriptors)?;
        out.gauge_if(&table::MAX_FDS, max_descriptors)
    }

    fn connections(&self, out: &mut Writer<'_>) -> fmt::Result {
        let metrics = self.metrics();
        out.gauge(&table::CONNECTIONS, metrics.connections() as u64)?;
        out.counter(&table::CONNECTIONS_OPENED, metrics.connections_opened.get())?;
        out.counter(&table::ACCEPT_ERRORS, metrics.accept_errors.get())?;
        self.tls(out)?;
        let pairs =
            || STREAMS.iter().flat_map(|&transport| Http::ALL.iter().map(move |&http| (transport, http)));
        out.gauges(
            &table::STREAMS,
            pairs().map(|(transport, http)| {
                ([transport.word(), http.word()], self.sum(|counts| counts.open_streams(http, transport)))
            }),
        )?;
        out.counters(
            &table::STREAMS_OPENED,
            pairs().map(|(transport, http)| {
                ([transport.word(), http.word()], self.sum(|counts| counts.opened_streams(http, transport)))
            }),
        )?;
        out.gauges(
            &table::SUBSCRIPTIONS,
            READERS.iter().map(|&transport| {
                ([transport.word()], self.sum(|counts| counts.subscriptions.of(transport).get()))
            }),
        )
    }

    fn tls(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.counter(&table::TLS_FAILURES, self.metrics().tls_failures.get())?;
        let certificate = self.tls.as_ref().and_then(|tls| tls.certificate());
        let not_after = certificate.and_then(|shown| shown.not_after().duration_since(UNIX_EPOCH).ok());
        out.gauge_if(&table::TLS_NOT_AFTER, not_after.map(|since| since.as_secs()))?;
        let failures = self.tls.as_ref().map_or(0, |tls| tls.renewal_failures());
        out.counter(&table::TLS_RENEWAL_FAILURES, failures)
    }

    fn requests(&self, out: &mut Writer<'_>) -> fmt::Result {
        let metrics = self.metrics();
        let pairs = Transport::ALL.iter().filter(|&&transport| transport != Transport::Embedded);
        let pairs =
            pairs.flat_map(|&transport| StatusClass::ALL.iter().map(move |&class| (transport, class)));
        out.counters(
            &table::REQUESTS,
            pairs.map(|(transport, class)| {
                ([transport.word(), class.word()], self.sum(|counts| counts.requests(class, transport)))
            }),
        )?;
        out.counters(
            &table::FRAMES,
            StatusClass::ALL.iter().map(|&class| ([class.word()], self.sum(|counts| counts.replies(class)))),
        )?;
        out.counters(
            &table::REJECTED,
            Rejection::all()
                .map(|rejection| ([rejection.word()], self.sum(|counts| counts.rejections(rejection)))),
        )?;
        out.counters(
            &table::MESSAGES_IN,
            Written::ALL.iter().map(|&kind| ([kind.word()], metrics.written.of(kind).get())),
        )?;
        out.counter(&table::REPLAYS, metrics.replays.get())?;
        out.histogram(&table::WRITE_TIME, &metrics.write_micros.get(), MICROS)
    }

    fn delivery(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.counters(
            &table::MESSAGES_OUT,
            READERS.iter().map(|&transport| {
                ([transport.word()], self.sum(|counts| counts.messages.of(transport).get()))
            }),
        )?;
        out.counters(
            &table::BYTES_IN,
            Carrier::ALL
                .iter()
                .map(|&carrier| ([carrier.word()], self.sum(|counts| counts.bytes_in.of(carrier).get()))),
        )?;
        out.counters(
            &table::BYTES_OUT,
            Carrier::ALL
                .iter()
                .map(|&carrier| ([carrier.word()], self.sum(|counts| counts.bytes_out.of(carrier).get()))),
        )?;
        out.counters(
            &table::RESUMES,
            READERS.iter().flat_map(|&transport| {
                let kept = self.sum(|counts| counts.resumes_kept.of(transport).get());
                let lost = self.sum(|counts| counts.resumes_lost.of(transport).get());
                [([transport.word(), "kept"], kept), ([transport.word(), "lost"], lost)]
            }),
        )?;
        out.counters(
            &table::RESETS,
            RESETS.iter().map(|&reason| ([reason.as_str()], self.sum(|counts| counts.resets(reason)))),
        )?;
        out.histogram(&table::LAG, &self.merged(|counts| counts.lag.get()), 1.0)?;
        out.gauge(&table::CHANNELS, self.channels.count() as u64)?;
        out.gauge(&table::TAIL_BYTES, self.metrics().tail_bytes.get())?;
        out.gauge(&table::HELD_BYTES, self.channels.memory().held() as u64)
    }

    fn log(&self, out: &mut Writer<'_>) -> fmt::Result {
        let stats = &self.stats;
        out.gauge(&table::QUEUE_APPENDS, stats.waiting_appends)?;
        out.gauge(&table::QUEUE_BYTES, stats.waiting_bytes)?;
        out.histogram(&table::COMMITS, &stats.commits, 1.0)?;
        out.histogram(&table::SYNCS, &stats.syncs, MICROS)?;
        out.counter(&table::KEYS_DROPPED, stats.keys_dropped)?;
        out.counter(&table::LOG_ERRORS, stats.errors)
    }

    fn workers(&self, out: &mut Writer<'_>) -> fmt::Result {
        out.histogram(&table::TURN_TIME, &self.merged(|counts| counts.turns.get()), MICROS)?;
        out.metric(&table::WORKER_LAG)?.encode_gauge(&self.metrics().lag(self.now).as_secs_f64())?;
        out.counter(&table::LINES_DROPPED, self.metrics().log_lines_dropped.get())
    }

    fn merged(&self, distribution: impl Fn(&Counts) -> Distribution) -> Distribution {
        let mut all = distribution(&self.metrics().common);
        self.metrics().workers.read().iter().for_each(|worker| all.merge(&distribution(&worker.counts)));
        all
    }
}

/// Writes metrics with the names and labels of the table.
struct Writer<'a>(DescriptorEncoder<'a>);

impl Writer<'_> {
    fn metric(&mut self, metric: &'static Metric) -> Result<MetricEncoder<'_>, fmt::Error> {
        self.0.encode_descriptor(metric.name, metric.help, None, metric.kind)
    }

    fn counter(&mut self, metric: &'static Metric, value: u64) -> fmt::Result {
        self.metric(metric)?.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn counters<const N: usize>(
        &mut self,
        metric: &'static Metric,
        samples: impl Iterator<Item = ([&'static str; N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(metric)?;
        for (labels, value) in samples {
            let labels = labelled(metric, labels);
            encoder.encode_family(&&*labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, metric: &'static Metric, value: u64) -> fmt::Result {
        self.metric(metric)?.encode_gauge(&value)
    }

    fn gauge_if(&mut self, metric: &'static Metric, value: Option<u64>) -> fmt::Result {
        let mut encoder = self.metric(metric)?;
        value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn gauges<const N: usize>(
        &mut self,
        metric: &'static Metric,
        samples: impl Iterator<Item = ([&'static str; N], u64)>,
    ) -> fmt::Result {
        let mut encoder = self.metric(metric)?;
        for (labels, value) in samples {
            let labels = labelled(metric, labels);
            encoder.encode_family(&&*labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// `unit` is how many of the distribution's units are one of the metric's.
    fn histogram(&mut self, metric: &'static Metric, found: &Distribution, unit: f64) -> fmt::Result {
        let bounds = found.bounds.iter().map(|&bound| bound as f64 / unit).chain([f64::INFINITY]);
        let mut buckets: Vec<(f64, u64)> = bounds.zip(found.counts.iter().copied()).collect();
        if buckets.is_empty() {
            buckets.push((f64::INFINITY, 0));
        }
        let sum = found.sum as f64 / unit;
        self.metric(metric)?.encode_histogram::<NoLabelSet>(sum, found.count(), &buckets, None)
    }
}

fn labelled<const N: usize>(metric: &Metric, values: [&'static str; N]) -> Vec<(&'static str, &'static str)> {
    debug_assert_eq!(metric.labels.len(), N);
    metric.labels.iter().copied().zip(values).collect()
}
