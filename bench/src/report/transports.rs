//! What one client costs on each transport, beside the claim that forcing one-way traffic through WebSockets costs a third more memory.

use std::fmt::Write as _;

use super::figures::{Figures, PLAINWIRE, label, shown};
use crate::model::{Metric, Placement, Scenario, Transport};

/// What is claimed: so much more memory, in per cent.
const CLAIM: (f64, f64) = (30.0, 40.0);
/// What differs by no more is the same, in per cent: repeats differ by as much.
const ALIKE: f64 = 5.0;
/// How much a busy client gets.
const BUSY_MESSAGES_PER_SECOND: f64 = 10.0;

/// The table and what it says; nothing if no transport was measured.
pub(super) fn section(figures: Figures<'_>) -> Option<String> {
    let rows: Vec<_> = Transport::ALL.into_iter().filter_map(|transport| row(figures, transport)).collect();
    if rows.is_empty() {
        return None;
    }
    let mut text = String::from(
        "| transport | idle: own memory, bytes | idle: kernel, both ends, bytes | busy: CPU per delivery, µs (user space) | \
         busy: clients a core carries at 10 messages a second | p99, ms |\n| --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in rows {
        let _ = writeln!(text, "{row}");
    }
    let _ = write!(text, "\n{}", finding(figures));
    Some(text)
}

fn row(figures: Figures<'_>, transport: Transport) -> Option<String> {
    let value = |scenario, metric| figures.median(PLAINWIRE, scenario, transport, metric);
    let user_bytes = value(Scenario::Idle, Metric::UserBytes);
    let cpu = value(Scenario::OneByOne, Metric::CpuPerDelivery);
    user_bytes.or(cpu)?;
    let text = |value: Option<f64>| value.map_or("–".into(), shown);
    let busy = cpu.map_or("–".into(), |cpu| {
        let user = value(Scenario::OneByOne, Metric::UserPerDelivery);
        format!("{} ({})", shown(cpu), text(user))
    });
    Some(format!(
        "| {transport} | {} | {} | {busy} | {} | {} |",
        text(user_bytes),
        text(value(Scenario::Idle, Metric::KernelBytes)),
        text(cpu.filter(|&cpu| cpu > 0.0).map(|cpu| 1e6 / cpu / BUSY_MESSAGES_PER_SECOND)),
        text(value(Scenario::Latency, Metric::LatencyP99).map(|micros| micros / 1000.0)),
    ))
}

/// How much more memory an idle WebSocket takes than an idle SSE stream, in per cent.
struct More {
    server: String,
    /// Of the server's own memory.
    own: f64,
    /// With what the kernel keeps.
    all: Option<f64>,
}

fn more(figures: Figures<'_>, server: &str) -> Option<More> {
    let value = |transport, metric| {
        figures.median(server, Scenario::Idle, transport, metric).filter(|&bytes| bytes > 0.0)
    };
    let own = |transport| value(transport, Metric::UserBytes);
    let all = |transport| Some(own(transport)? + value(transport, Metric::KernelBytes)?);
    let per_cent = |(websocket, sse): (f64, f64)| (websocket / sse - 1.0) * 100.0;
    Some(More {
        server: label(server, None),
        own: per_cent(own(Transport::WebSocket).zip(own(Transport::Sse))?),
        all: all(Transport::WebSocket).zip(all(Transport::Sse)).map(per_cent),
    })
}

/// What the figures say of the claim.
fn finding(figures: Figures<'_>) -> String {
    let runs = figures.runs(Placement::OneCore, Scenario::Idle);
    let mut servers: Vec<&str> = runs.iter().map(|run| run.server.as_str()).collect();
    servers.dedup();
    let (ours, others): (Vec<_>, Vec<_>) = servers.into_iter().partition(|server| *server == PLAINWIRE);
    let mut text = match ours.first().and_then(|server| more(figures, server)) {
        Some(more) => format!("{} {}", said(&more), verdict(more.all.unwrap_or(more.own))),
        None => {
            "Plainwire's WebSocket and SSE were not both measured, so nothing is said of the claim.".into()
        }
    };
    let others: Vec<_> =
        others.into_iter().filter_map(|server| more(figures, server)).map(|more| said(&more)).collect();
    if !others.is_empty() {
        let _ = write!(text, " Elsewhere: {}", others.join(" "));
    }
    text + "\n"
}

/// The figures of one server.
fn said(more: &More) -> String {
    let all = more.all.map_or(String::new(), |all| format!(", {} with the kernel's part", compared(all)));
    format!(
        "With {} an idle WebSocket takes {} of the server's own memory than an idle SSE stream{all}.",
        more.server,
        compared(more.own)
    )
}

fn compared(per_cent: f64) -> String {
    format!("{:.0} % {}", per_cent.abs(), if per_cent < 0.0 { "less" } else { "more" })
}

/// Whether the claim holds, by all the memory that the machine gives.
fn verdict(per_cent: f64) -> String {
    let (low, high) = CLAIM;
    match per_cent {
        more if more > high => format!("That is more than the claimed {low:.0} to {high:.0} %."),
        more if more >= low => format!("That is the claimed {low:.0} to {high:.0} %."),
        more if more > ALIKE => {
            format!("So there is a difference, but less than the claimed {low:.0} to {high:.0} %.")
        }
        more if more >= -ALIKE => {
            format!(
                "So the claim of {low:.0} to {high:.0} % does not hold here: both cost the same within {ALIKE:.0} %."
            )
        }
        _ => format!(
            "So the claim of {low:.0} to {high:.0} % does not hold here: the WebSocket is the cheaper one."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_the_figure() {
        assert!(verdict(120.0).contains("more than the claimed 30 to 40 %"));
        assert!(verdict(35.0).contains("is the claimed 30 to 40 %"));
        assert!(verdict(12.0).contains("but less than the claimed"));
        assert!(verdict(-3.0).contains("the same within 5 %"));
        assert!(verdict(-30.0).contains("the cheaper one"));
    }
}
