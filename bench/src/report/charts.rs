//! The kinds of charts: stacked bars, ranges, curves. Each is narrow enough for a telephone, and labelled in place.

use std::fmt::Display;

use super::figures::shown;
use super::svg::{Anchor, Axis, SERIES, Svg, WIDTH};

/// Where the plotted area begins, right of the names.
const LEFT: f64 = 86.0;
/// Where it ends: the values of bars stand behind them.
const RIGHT: f64 = WIDTH - 48.0;
const ROW: f64 = 19.0;
const HEADING: f64 = 38.0;

/// What a chart shows, and below it, smaller, how that came about.
#[derive(Clone, Copy)]
pub(super) struct Title {
    pub(super) what: &'static str,
    pub(super) how: &'static str,
}

/// A bar of two parts.
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) own: bool,
    pub(super) user: f64,
    pub(super) kernel: f64,
}

/// A row with three points.
pub(super) struct Range {
    pub(super) label: String,
    pub(super) own: bool,
    pub(super) points: [f64; 3],
}

/// A line of a plot.
pub(super) struct Curve {
    pub(super) label: String,
    pub(super) own: bool,
    pub(super) points: Vec<(f64, f64)>,
}

/// The class of a row: Plainwire's stand out.
fn class(own: bool) -> &'static str {
    if own { "own" } else { "other" }
}

/// Horizontal stacked bars, in groups; nothing if there are none.
pub(super) fn bars(
    title: Title,
    unit: &str,
    parts: Option<(&str, &str)>,
    groups: &[(impl Display, Vec<Bar>)],
) -> Option<String> {
    let values: Vec<_> = groups
        .iter()
        .flat_map(|(group, bars)| {
            bars.iter().map(move |bar| (format!("{}, {group}", bar.label), bar.user + bar.kernel))
        })
        .collect();
    let largest = values.iter().map(|(_, value)| *value).reduce(f64::max)?;
    let axis = Axis::from_zero(largest, LEFT, RIGHT);
    let mut svg = Svg::new();
    let top = heading(&mut svg, title, parts);
    let height: f64 = groups.iter().map(|(_, bars)| ROW * (bars.len() as f64 + 1.3)).sum();
    grid(&mut svg, &axis, top, top + height, unit);
    let mut y = top;
    for (group, bars) in groups {
        y += ROW;
        svg.text(0.0, y, Anchor::Start, "strong", &group.to_string());
        for bar in bars {
            y += ROW;
            svg.group(class(bar.own), |svg| {
                let strong = if bar.own { "strong" } else { "" };
                svg.text(LEFT - 6.0, y, Anchor::End, strong, &bar.label);
                let middle = axis.at(bar.user);
                let end = axis.at(bar.user + bar.kernel);
                svg.rectangle(LEFT, y - 11.0, middle - LEFT, 13.0, "user");
                svg.rectangle(middle, y - 11.0, end - middle, 13.0, "kernel");
                svg.text(end + 4.0, y, Anchor::Start, strong, &shown(bar.user + bar.kernel));
            });
        }
        y += ROW * 0.3;
    }
    Some(svg.finish(top + height + 36.0, title.what, &summary(&values, unit)))
}

/// Rows with three points on a logarithmic axis, in groups; nothing if there are none.
pub(super) fn ranges(title: Title, unit: &str, groups: &[(impl Display, Vec<Range>)]) -> Option<String> {
    let all = || groups.iter().flat_map(|(_, ranges)| ranges.iter().flat_map(|range| range.points));
    let (least, most) = (all().reduce(f64::min)?, all().reduce(f64::max)?);
    let axis = Axis::decades(least, most, LEFT, RIGHT);
    let mut svg = Svg::new();
    let top = heading(&mut svg, title, None);
    let height: f64 = groups.iter().map(|(_, ranges)| ROW * (ranges.len() as f64 + 1.3)).sum();
    grid(&mut svg, &axis, top, top + height, unit);
    let mut y = top;
    for (group, ranges) in groups {
        y += ROW;
        svg.text(0.0, y, Anchor::Start, "strong", &group.to_string());
        for range in ranges {
            y += ROW;
            let series = if range.own { "own s0" } else { "other s1" };
            svg.group(series, |svg| {
                let strong = if range.own { "strong" } else { "" };
                svg.text(LEFT - 6.0, y, Anchor::End, strong, &range.label);
                let line = range.points.map(|value| (axis.at(value), y - 4.0));
                svg.line(&line);
                for ((x, y), radius) in line.into_iter().zip([5.0, 4.0, 3.0]) {
                    svg.dot(x, y, radius);
                }
                svg.text(line[2].0 + 8.0, y, Anchor::Start, strong, &shown(range.points[1]));
            });
        }
        y += ROW * 0.3;
    }
    let p99 = |range: &Range, group: &dyn Display| (format!("{}, {group}", range.label), range.points[1]);
    let values: Vec<_> =
        groups.iter().flat_map(|(group, ranges)| ranges.iter().map(move |range| p99(range, group))).collect();
    Some(svg.finish(top + height + 36.0, title.what, &summary(&values, "µs at p99")))
}

/// A panel of lines for each group, one under the other; nothing if there are none.
pub(super) fn curves(title: Title, across: &str, panels: &[(impl Display, Vec<Curve>)]) -> Option<String> {
    const PANEL: f64 = 130.0;
    let all =
        || panels.iter().flat_map(|(_, curves)| curves.iter().flat_map(|curve| curve.points.iter().copied()));
    let (least, most) = (all().map(|(x, _)| x).reduce(f64::min)?, all().map(|(x, _)| x).reduce(f64::max)?);
    let highest = all().map(|(_, y)| y).reduce(f64::max)?;
    let (left, right) = (34.0, WIDTH - 90.0);
    let columns = Axis::logarithmic(least, most, left, right);
    let mut names: Vec<&str> = Vec::new();
    for curve in panels.iter().flat_map(|(_, curves)| curves) {
        if !names.contains(&curve.label.as_str()) {
            names.push(&curve.label);
        }
    }
    let mut svg = Svg::new();
    let mut top = heading(&mut svg, title, None);
    for (group, curves) in panels {
        top += 26.0;
        svg.text(left, top, Anchor::Start, "strong", &group.to_string());
        let rows = Axis::from_zero(highest, top + PANEL, top + 12.0);
        for tick in rows.ticks() {
            svg.rule((left, rows.at(tick)), (right, rows.at(tick)));
            svg.text(left - 5.0, rows.at(tick) + 4.0, Anchor::End, "soft", &tick_text(tick));
        }
        let mut places =
            apart(curves.iter().filter_map(|curve| Some(rows.at(curve.points.last()?.1))).collect());
        for curve in curves {
            let Some(number) = names.iter().position(|name| *name == curve.label) else { continue };
            let own = if curve.own { "own" } else { "other" };
            svg.group(&format!("{own} s{}", number % SERIES), |svg| {
                let points: Vec<_> = curve.points.iter().map(|&(x, y)| (columns.at(x), rows.at(y))).collect();
                svg.line(&points);
                points.iter().for_each(|&(x, y)| svg.dot(x, y, if curve.own { 3.5 } else { 2.5 }));
                let place = places.remove(0);
                svg.dot(right + 8.0, place, 3.0);
                svg.text(
                    right + 15.0,
                    place + 4.0,
                    Anchor::Start,
                    if curve.own { "strong" } else { "" },
                    &curve.label,
                );
            });
        }
        top += PANEL;
        for tick in columns.ticks().into_iter().chain([most]) {
            svg.rule((columns.at(tick), top), (columns.at(tick), top + 4.0));
            // The largest size is seldom a power of ten: its label must not run into one.
            if tick == most || columns.at(most) - columns.at(tick) > 40.0 {
                svg.text(columns.at(tick), top + 17.0, Anchor::Middle, "soft", &tick_text(tick));
            }
        }
        top += 14.0;
    }
    svg.text(f64::midpoint(left, right), top + 20.0, Anchor::Middle, "soft", across);
    let last = |curve: &Curve, group: &dyn Display| {
        Some((format!("{}, {group}", curve.label), curve.points.last()?.1))
    };
    let values: Vec<_> = panels
        .iter()
        .flat_map(|(group, curves)| curves.iter().filter_map(move |curve| last(curve, group)))
        .collect();
    Some(svg.finish(top + 30.0, title.what, &summary(&values, "µs at the largest size")))
}

/// Moves labels apart that would stand on each other; their order by place is kept.
fn apart(places: Vec<f64>) -> Vec<f64> {
    const LINE: f64 = 13.0;
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&one, &other| places[one].total_cmp(&places[other]));
    let mut moved = places;
    // From the bottom up, as a plot has more room above its lines than below.
    for pair in (1..order.len()).rev() {
        let (above, below) = (order[pair - 1], order[pair]);
        moved[above] = moved[above].min(moved[below] - LINE);
    }
    moved
}

/// Title, what was done, and legend; gives back where the rest begins.
fn heading(svg: &mut Svg, title: Title, parts: Option<(&str, &str)>) -> f64 {
    svg.text(0.0, 14.0, Anchor::Start, "title", title.what);
    svg.text(0.0, 32.0, Anchor::Start, "soft", title.how);
    let Some((user, kernel)) = parts else { return HEADING };
    svg.rectangle(0.0, 42.0, 11.0, 11.0, "user");
    svg.text(16.0, 52.0, Anchor::Start, "soft", user);
    svg.rectangle(140.0, 42.0, 11.0, 11.0, "kernel");
    svg.text(156.0, 52.0, Anchor::Start, "soft", kernel);
    HEADING + 18.0
}

/// Vertical lines, with their values and the unit below.
fn grid(svg: &mut Svg, axis: &Axis, top: f64, bottom: f64, unit: &str) {
    let ticks = axis.ticks();
    for &tick in &ticks {
        svg.rule((axis.at(tick), top + 4.0), (axis.at(tick), bottom));
        svg.text(axis.at(tick), bottom + 13.0, Anchor::Middle, "soft", &tick_text(tick));
    }
    svg.text(f64::midpoint(LEFT, RIGHT), bottom + 29.0, Anchor::Middle, "soft", unit);
}

/// Says what the smallest and the largest value of a plot are, for those who cannot see it.
fn summary(values: &[(String, f64)], unit: &str) -> String {
    let by = |one: &&(String, f64), other: &&(String, f64)| one.1.total_cmp(&other.1);
    match (values.iter().min_by(by), values.iter().max_by(by)) {
        (Some(least), Some(most)) => {
            format!("From {} ({}) to {} ({}) {unit}.", shown(least.1), least.0, shown(most.1), most.0)
        }
        _ => String::new(),
    }
}

/// A round value as short as can be.
fn tick_text(value: f64) -> String {
    let (value, suffix) = match value {
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    // Steps are 1, 2 or 5 times a power of ten, added up: rounding drops what binary fractions leave.
    let rounded = (value * 1e6).round() / 1e6;
    format!("{rounded}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_stand_on_each_other() {
        let moved = apart(vec![50.0, 100.0, 98.0, 97.0]);
        assert_eq!(moved, [50.0, 100.0, 87.0, 74.0]);
    }

    #[test]
    fn ticks_are_short() {
        assert_eq!([0.0, 0.2 * 3.0, 2_500.0, 1e6].map(tick_text), ["0", "0.6", "2.5k", "1M"]);
    }

    #[test]
    fn nothing_measured_is_nothing_drawn() {
        let none: [(&str, Vec<Bar>); 0] = [];
        assert!(bars(Title { what: "title", how: "" }, "unit", None, &none).is_none());
    }
}
