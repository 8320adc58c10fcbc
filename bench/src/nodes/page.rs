//! The page: what several nodes cost.

use std::fmt::Write as _;

use super::{CHANNELS, DELAYED_PER_SECOND, PER_SECOND, PUBLISHERS, Publishes, Results, Round, SUBSCRIBERS};
use crate::model::Repeats;
use crate::report::{cell, circumstances, shown};

/// The page's name.
pub(super) const FILE: &str = "nodes.md";

/// A figure of a round.
type Figure = fn(&Round) -> f64;

/// A round in one line.
pub(super) fn line(round: &Round) -> String {
    let rival =
        round.centrifugo.map(|rival| format!(" (Centrifugo {})", shown(rival.rate))).unwrap_or_default();
    format!(
        "{} publishes a second{rival}; µs for each delivery: alone {}, here {}, elsewhere {}; delay p99 {} and {} µs",
        shown(round.plainwire.rate),
        shown(round.alone),
        shown(round.here),
        shown(round.elsewhere),
        shown(round.own.p99),
        shown(round.other.p99)
    )
}

/// The page.
pub(super) fn page(results: &Results) -> String {
    let mut text = String::from("# What several nodes cost\n\n");
    let each = format!("{} of {} s each, in turn", results.rounds.len(), results.seconds_each);
    text += &circumstances(
        results.began,
        results.seconds,
        &results.command,
        &results.commit,
        &each,
        &results.machine,
    );
    let rival = match &results.centrifugo {
        Ok(version) => cell(version),
        Err(reason) => format!("left out: {}", cell(reason)),
    };
    let _ = write!(
        text,
        "| measured | {} |\n| store | {} |\n| Centrifugo | {rival} |\n\n",
        cell(&results.version),
        cell(&results.redis)
    );
    let _ = write!(text, "Medians of the rounds, in parentheses the least and the most.\n\n");
    let _ = write!(text, "## Publishes over Redis, with history\n\n{}\n", publishes(&results.rounds));
    let _ = write!(text, "## Deliveries\n\n{}\n", deliveries(&results.rounds));
    let _ = write!(text, "## From node to node\n\n{}\n", delay(&results.rounds));
    let _ = write!(text, "## How it is measured\n\n{}\n", method());
    text
}

fn publishes(rounds: &[Round]) -> String {
    let mut text =
        String::from("| | a second | server, µs each | Redis, µs each |\n| --- | ---: | ---: | ---: |\n");
    let mut row = |name: &str, of: &dyn Fn(&Round) -> Option<Publishes>| {
        let all: Vec<_> = rounds.iter().filter_map(of).collect();
        let figure = |figure: fn(&Publishes) -> f64| words(all.iter().map(figure));
        if !all.is_empty() {
            let (rate, server, redis) =
                (figure(|all| all.rate), figure(|all| all.server), figure(|all| all.redis));
            let _ = writeln!(text, "| {name} | {rate} | {server} | {redis} |");
        }
    };
    row("Plainwire", &|round| Some(round.plainwire));
    row("Centrifugo", &|round| round.centrifugo);
    let ratios: Vec<_> =
        rounds.iter().filter_map(|round| Some(round.plainwire.rate / round.centrifugo?.rate)).collect();
    if !ratios.is_empty() {
        let _ = write!(text, "\nPlainwire's rate is {} times Centrifugo's.\n", words(ratios.into_iter()));
    }
    text
}

fn deliveries(rounds: &[Round]) -> String {
    let mut text = String::from(
        "| | µs of the node for each | deliveries per core, of a single node's |\n| --- | ---: | ---: |\n",
    );
    let rows: [(&str, Figure); 3] = [
        ("a single node, in memory", |round| round.alone),
        ("over Redis, published at this node", |round| round.here),
        ("over Redis, published at another", |round| round.elsewhere),
    ];
    for (name, figure) in rows {
        let ratios = words(rounds.iter().map(|round| round.alone / figure(round)));
        let _ = writeln!(text, "| {name} | {} | {ratios} |", words(rounds.iter().map(figure)));
    }
    text
}

fn delay(rounds: &[Round]) -> String {
    let mut text = String::from("| | p50, µs | p99, µs |\n| --- | ---: | ---: |\n");
    let mut row = |name: &str, of: fn(&Round) -> [f64; 2]| {
        let figure = |index: usize| words(rounds.iter().map(|round| of(round)[index]));
        let _ = writeln!(text, "| {name} | {} | {} |", figure(0), figure(1));
    };
    row("at the node that was published at", |round| [round.own.p50, round.own.p99]);
    row("at another", |round| [round.other.p50, round.other.p99]);
    row("more", |round| [round.other.p50 - round.own.p50, round.other.p99 - round.own.p99]);
    text
}

fn method() -> String {
    format!(
        "- **Publishes**: {PUBLISHERS} connections, each publishing 128 bytes as soon as its last publish was acknowledged, to {CHANNELS} \
         channels in turn; nobody watches. Both keep history in the same Redis: one script for each publish, which appends to a stream and announces.\n\
         - **Deliveries**: {SUBSCRIBERS} subscribers of one channel over SSE, {PER_SECOND} messages of 128 bytes a second. The processor \
         time is the node's own, what it takes to publish included, without Redis'.\n\
         - **From node to node**: one subscriber, {DELAYED_PER_SECOND} messages a second at times fixed in advance; from just before the \
         request is written to when the subscriber has read the message.\n\
         - **Where**: servers and Redis share the first core, so that a rate says what they take together; the load generator has the last one."
    )
}

fn words(values: impl Iterator<Item = f64>) -> String {
    let repeats = Repeats(values.collect());
    format!("{} ({}–{})", shown(repeats.median()), shown(repeats.min()), shown(repeats.max()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::order::Latency;

    fn round(rate: f64, rival: Option<f64>) -> Round {
        let publishes = |rate| Publishes { rate, server: 20.0, redis: 10.0 };
        let latency = |p99| Latency { p50: 100.0, p99, ..Latency::default() };
        Round {
            plainwire: publishes(rate),
            centrifugo: rival.map(publishes),
            alone: 6.0,
            here: 8.0,
            elsewhere: 7.5,
            own: latency(300.0),
            other: latency(450.0),
        }
    }

    #[test]
    fn ratios_are_those_of_each_round() {
        let text =
            publishes(&[round(200.0, Some(100.0)), round(150.0, Some(150.0)), round(300.0, Some(200.0))]);
        assert!(text.contains("is 1.50 (1.00–2.00) times"), "{text}");
        let text = deliveries(&[round(1.0, None)]);
        assert!(
            text.contains("| over Redis, published at this node | 8.00 (8.00–8.00) | 0.750 (0.750–0.750) |"),
            "{text}"
        );
        let text = delay(&[round(1.0, None)]);
        assert!(text.contains("| more | 0 (0–0) | 150 (150–150) |"), "{text}");
    }

    #[test]
    fn who_was_not_measured_is_not_there() {
        let text = publishes(&[round(200.0, None)]);
        assert!(text.contains("| Plainwire | 200") && !text.contains("Centrifugo"), "{text}");
    }
}
