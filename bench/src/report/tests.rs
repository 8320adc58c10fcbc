//! The report of a small made-up run.

use std::collections::BTreeMap;

use super::*;
use crate::model::{Machine, Measured, Metric, Placement, Repeats, Run, Scenario, Transport};

fn run(server: &str, scenario: Scenario, transport: Transport, metrics: &[(Metric, &[f64])]) -> Run {
    let metrics: BTreeMap<_, _> =
        metrics.iter().map(|(metric, values)| (*metric, Repeats(values.to_vec()))).collect();
    Run {
        server: server.into(),
        placement: Placement::OneCore,
        scenario,
        transport: Some(transport),
        subscribers: 1000,
        channels: 1,
        metrics,
        failure: None,
    }
}

fn cpu(server: &str, transport: Transport, user: &[f64], total: &[f64]) -> Run {
    let kernel: Vec<_> = user.iter().zip(total).map(|(user, total)| total - user).collect();
    let metrics: [(Metric, &[f64]); 6] = [
        (Metric::CpuPerDelivery, total),
        (Metric::UserPerDelivery, user),
        (Metric::SystemPerDelivery, &kernel),
        (Metric::Lost, &[0.0, 0.0, 0.0]),
        (Metric::Repeated, &[0.0, 0.0, 0.0]),
        (Metric::OutOfOrder, &[0.0, 0.0, 0.0]),
    ];
    run(server, Scenario::OneByOne, transport, &metrics)
}

fn idle(server: &str, transport: Transport, user: f64, kernel: f64) -> Run {
    run(server, Scenario::Idle, transport, &[(Metric::UserBytes, &[user]), (Metric::KernelBytes, &[kernel])])
}

fn latency(server: &str, p99: f64) -> Run {
    let metrics: [(Metric, &[f64]); 3] = [
        (Metric::LatencyP50, &[p99 / 2.0]),
        (Metric::LatencyP99, &[p99]),
        (Metric::LatencyP999, &[p99 * 3.0]),
    ];
    run(server, Scenario::Latency, Transport::Sse, &metrics)
}

fn stalled(after: f64, after_stalled: f64) -> Run {
    let metrics: [(Metric, &[f64]); 4] = [
        (Metric::LatencyP99, &[200.0]),
        (Metric::LatencyP99Stalled, &[250.0]),
        (Metric::MemoryAfter, &[after]),
        (Metric::MemoryAfterStalled, &[after_stalled]),
    ];
    run("plainwire", Scenario::Stalled, Transport::Sse, &metrics)
}

fn scaling(subscribers: usize, cost: f64) -> Run {
    let run = run("plainwire", Scenario::Scaling, Transport::Sse, &[(Metric::CpuPerDelivery, &[cost])]);
    Run { subscribers, ..run }
}

fn results() -> Results {
    let server =
        |name: &str| Measured { name: name.into(), version: Some(format!("{name} 1.0")), left_out: None };
    let left_out =
        Measured { name: "centrifugo".into(), version: None, left_out: Some("there is no go | here".into()) };
    let (sse, websocket) = (Transport::Sse, Transport::WebSocket);
    Results {
        began: 1_795_260_283,
        seconds: 1800,
        command: "cargo xtask bench --out /there --repeats 3 --work=/here".into(),
        commit: "abc".into(),
        quick: false,
        repeats: 3,
        machine: Machine {
            processor: "A <fast> one".into(),
            cores: 2,
            memory: 8 << 30,
            ..Machine::default()
        },
        servers: vec![server("plainwire"), server("bare"), server("nchan"), left_out],
        runs: vec![
            cpu("plainwire", sse, &[0.3, 0.5, 0.4], &[6.5, 6.6, 9.9]),
            cpu("bare", sse, &[0.1, 0.1, 0.1], &[6.0, 6.0, 6.1]),
            cpu("nchan", sse, &[2.4, 2.4, 2.4], &[6.2, 6.3, 6.4]),
            cpu("plainwire", websocket, &[0.2, 0.2, 0.2], &[6.7, 6.8, 6.9]),
            cpu("bare", websocket, &[0.1, 0.1, 0.1], &[6.0, 6.0, 6.0]),
            idle("plainwire", sse, 500.0, 4500.0),
            idle("plainwire", websocket, 750.0, 4750.0),
            idle("nchan", sse, 8000.0, 4500.0),
            idle("nchan", websocket, 4000.0, 4500.0),
            latency("plainwire", 240.0),
            latency("bare", 200.0),
            stalled(20_000_000.0, 20_600_000.0),
            scaling(100, 6.0),
            scaling(18_000, 7.2),
            Run {
                failure: Some("did not\nlisten".into()),
                ..run("nchan", Scenario::PiledUp, Transport::LongPoll, &[])
            },
        ],
    }
}

fn rendered(results: &Results) -> String {
    page(results, &plots::all(Figures(results)))
}

/// The line of a table that begins like this.
fn line<'a>(page: &'a str, beginning: &str) -> &'a str {
    page.lines().find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{beginning}\n{page}"))
}

#[test]
fn tables_have_medians_spreads_and_ratios() {
    let page = rendered(&results());
    let row = line(&page, "| SSE | **Plainwire** | 1,000 | 6.60 (6.50–9.90) |");
    assert!(row.contains("| 1.10 | 0.400 (0.300–0.500) |"), "{row}");
    let row = line(&page, "| SSE | Nchan | 1,000 | 6.30 (6.20–6.40) |");
    assert!(row.contains("| 1.05 |"), "{row}");
    assert!(line(&page, "| SSE | Nchan | 1,000 | 8,000 |").ends_with("| 8,000 | 4,500 |"), "{page}");
    let failed = line(&page, "| long poll | Nchan");
    assert!(failed.contains("failed: did not listen"), "{failed}");
    assert_eq!(
        line(&page, "- Nchan, 32 messages"),
        "- Nchan, 32 messages piled up, long poll, one core: did not listen"
    );
    assert_eq!(failed.matches('|').count(), line(&page, "| SSE | Nchan").matches('|').count());
}

#[test]
fn goals_have_verdicts() {
    let page = rendered(&results());
    let verdict = |beginning: &str| line(&page, beginning).rsplit('|').nth(1).unwrap().trim().to_owned();
    assert_eq!(verdict("| CPU per delivery, SSE | ≤ 1.10 × bare write | 1.10 × (6.60 to 6.00)"), "reached");
    assert_eq!(verdict("| CPU per delivery, WebSocket | ≤ 1.10 × bare write | 1.13 ×"), "**not reached**");
    assert_eq!(
        verdict("| CPU per delivery, SSE | less than every other server | 6.60 to 6.30 of Nchan"),
        "**not reached**"
    );
    assert_eq!(verdict("| of it in user space, SSE | ≤ 0.400 µs | 0.400 µs"), "reached");
    assert_eq!(verdict("| own memory per idle connection, WebSocket |"), "reached");
    assert_eq!(verdict("| p99 from publish to receipt, SSE | ≤ 1.20 × bare write | 1.20 ×"), "reached");
    assert_eq!(
        verdict("| CPU per delivery from few to many subscribers, SSE | flat within 15 % | 20 %"),
        "**not reached**"
    );
    assert_eq!(
        verdict("| p99 beside 1,000 stalled readers, µs, SSE | ≤ 1.20 × without them | 1.25 ×"),
        "**not reached**"
    );
    assert_eq!(
        verdict("| bytes for each stalled reader, SSE | ≤ 1.50 × an idle one | 1.20 × (600 to 500)"),
        "reached"
    );
    assert_eq!(verdict("| publishes a second, synced"), "not measured");
    assert_eq!(verdict("| lost / repeated / out of order, everywhere | 0 / 0 / 0 | 0 / 0 / 0"), "reached");
}

#[test]
fn one_lost_message_is_a_goal_missed() {
    let mut results = results();
    results.runs[0].metrics.insert(Metric::Lost, Repeats(vec![0.0, 1.0, 0.0]));
    let page = rendered(&results);
    assert!(
        line(&page, "| lost / repeated / out of order").ends_with("| 1 / 0 / 0 | **not reached** |"),
        "{page}"
    );
    assert_eq!(line(&page, "| Plainwire | 1 |"), "| Plainwire | 1 | 0 | 0 |");
    line(&page, "| SSE | **Plainwire** (1 lost, 0 repeated, 0 out of order) | 1,000 | 6.60");
}

#[test]
fn what_a_failed_run_measured_is_no_figure() {
    let mut results = results();
    results.runs[0].failure = Some("broke off".into());
    let page = rendered(&results);
    assert!(line(&page, "| of it in user space, SSE").ends_with("| – | not measured |"), "{page}");
    line(&page, "- Plainwire, One message at a time, SSE, one core: broke off");
}

#[test]
fn losses_are_said() {
    let page = rendered(&results());
    assert!(
        page.contains("Of 3 comparisons with the other servers Plainwire is ahead in 2, and not in 1:"),
        "{page}"
    );
    let loss = "- µs of CPU per delivery, one message at a time, SSE, one core: Nchan 6.30, Plainwire 6.60";
    assert_eq!(line(&page, "- µs"), loss);
}

#[test]
fn the_claim_is_answered_from_the_figures() {
    let page = rendered(&results());
    let finding = line(&page, "With Plainwire an idle WebSocket");
    assert!(finding.contains("takes 50 % more of the server's own memory"), "{finding}");
    assert!(
        finding.contains(
            "10 % more with the kernel's part. So there is a difference, but less than the claimed 30 to 40 %."
        ),
        "{finding}"
    );
    assert!(finding.contains("With Nchan an idle WebSocket takes 50 % less"), "{finding}");
    let busy = line(&page, "| SSE | 500 | 4,500 |");
    assert_eq!(busy, "| SSE | 500 | 4,500 | 6.60 (0.400) | 15,152 | 0.240 |");
}

#[test]
fn circumstances_and_what_was_left_out_are_said() {
    let page = rendered(&results());
    assert!(page.contains("| date | 2026-11-21 (took 30 minutes) |"), "{page}");
    assert!(page.contains("| memory | 8.0 GiB |"), "{page}");
    line(&page, "| command | `cargo xtask bench --repeats 3` |");
    assert!(page.contains("| Centrifugo | left out: there is no go \\| here |"), "{page}");
    assert!(!page.contains("quick run"));
    assert!(rendered(&Results { quick: true, ..results() }).contains("**A quick run**"));
}

#[test]
fn every_plot_is_well_formed_and_shown() {
    let results = results();
    let page = rendered(&results);
    let plots = plots::all(Figures(&results));
    let files: Vec<_> = plots.iter().map(|plot| plot.file).collect();
    assert_eq!(files, ["cpu.svg", "memory.svg", "scaling.svg", "latency.svg"]);
    for plot in plots {
        assert!(page.contains(&format!("]({})", plot.file)));
        well_formed(&plot.svg).unwrap_or_else(|reason| panic!("{}: {reason}\n{}", plot.file, plot.svg));
        assert!(!plot.svg.contains("NaN") && !plot.svg.contains("inf"), "{}", plot.svg);
    }
}

#[test]
fn memory_that_shrank_is_drawn_as_none() {
    let mut results = results();
    results.runs = vec![idle("plainwire", Transport::Sse, 500.0, -2000.0)];
    let plots = plots::all(Figures(&results));
    assert!(plots[0].svg.contains(">500</text>"), "{}", plots[0].svg);
    assert!(rendered(&results).contains("| SSE | 500 | -2,000 |"));
}

#[test]
fn a_run_of_nothing_has_a_report() {
    let page = rendered(&Results { runs: Vec::new(), servers: Vec::new(), ..results() });
    assert!(page.contains("0 reached, 0 not reached"), "{page}");
    assert!(!page.contains("## Plots"));
}

#[test]
fn files_are_written_for_each_plot() {
    let out = tempfile::tempdir().unwrap();
    let nested = out.path().join("a/b");
    write(&results(), &nested).unwrap();
    for name in ["README.md", "cpu.svg", "memory.svg", "scaling.svg", "latency.svg"] {
        assert!(nested.join(name).metadata().unwrap().len() > 500, "{name}");
    }
}

/// Whether tags nest, attributes are quoted and single, and `&` begins an entity: what XML asks of documents as simple as these.
fn well_formed(document: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = document.trim();
    while let Some(start) = rest.find('<') {
        text(&rest[..start])?;
        let end = start + rest[start..].find('>').ok_or("a tag does not end")?;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let opened = open.pop();
            if opened != Some(name) {
                return Err(format!("</{name}> closes {opened:?}"));
            }
            continue;
        }
        let (tag, empty) = tag.strip_suffix('/').map_or((tag, false), |tag| (tag, true));
        let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
        quoted(attributes)?;
        if !empty {
            open.push(name);
        }
        if open.is_empty() {
            return Err(format!("<{name}> stands alone"));
        }
    }
    text(rest)?;
    if open.is_empty() { Ok(()) } else { Err(format!("not closed: {open:?}")) }
}

fn text(text: &str) -> Result<(), String> {
    let entities = ["amp;", "lt;", "gt;", "quot;"];
    let good = text.split('&').skip(1).all(|after| entities.iter().any(|entity| after.starts_with(entity)));
    if good { Ok(()) } else { Err(format!("a bare & in {text}")) }
}

fn quoted(mut attributes: &str) -> Result<(), String> {
    let mut names: Vec<&str> = Vec::new();
    while !attributes.trim().is_empty() {
        let (name, after) = attributes.trim_start().split_once("=\"").ok_or(attributes)?;
        let (value, after) = after.split_once('"').ok_or(attributes)?;
        text(value)?;
        if value.contains('<') || names.contains(&name) {
            return Err(format!("{name}={value}"));
        }
        names.push(name);
        attributes = after;
    }
    Ok(())
}

#[test]
fn what_is_not_well_formed_is_told_apart() {
    for bad in
        ["<a><b></a></b>", "<a>", "<a b=c></a>", "<a>&b</a>", "<a b=\"1\" b=\"2\"/>", "<a b=\"<\"></a>"]
    {
        assert!(well_formed(bad).is_err(), "{bad}");
    }
    assert_eq!(well_formed("<a b=\"1\"><c d=\"&lt;\"/>x &amp; y</a>"), Ok(()));
}
