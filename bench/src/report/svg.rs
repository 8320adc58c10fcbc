//! Writing SVG: shapes at places, nothing else. Colours are classes, so that one style sheet serves light and dark.

use std::fmt::Write as _;

/// Light first, dark where the reader's system asks for it. The eight series keep apart for most who do not see all colours.
const STYLE: &str = "\
svg{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif}\
text{fill:#1f2328}.soft{fill:#59636e}.strong{font-weight:600}.start{text-anchor:start}.middle{text-anchor:middle}.end{text-anchor:end}\
.title{font-size:14px;font-weight:600}\
.rule{stroke:#d1d9e0;stroke-width:1}.user{fill:#0860c4}.kernel{fill:#a9bdd3}.own .kernel{fill:#8fb4e0}\
.line{fill:none;stroke-width:1.5}.own .line{stroke-width:3}\
.s0{--c:#0860c4}.s1{--c:#6e7781}.s2{--c:#b35900}.s3{--c:#1a7f37}.s4{--c:#8250df}.s5{--c:#bf3989}.s6{--c:#946b00}.s7{--c:#007d85}\
.line{stroke:var(--c)}.dot{fill:var(--c)}\
@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.soft{fill:#9198a1}.rule{stroke:#3d444d}\
.user{fill:#4493f8}.kernel{fill:#495a70}.own .kernel{fill:#35598a}\
.s0{--c:#4493f8}.s1{--c:#9198a1}.s2{--c:#f0883e}.s3{--c:#3fb950}.s4{--c:#ab7df8}.s5{--c:#f778ba}.s6{--c:#d29922}.s7{--c:#39c5cf}}";

/// How many series have a colour of their own.
pub(super) const SERIES: usize = 8;
/// The width of every drawing, in its own units: on a telephone one unit is a little less than a pixel.
pub(super) const WIDTH: f64 = 420.0;
/// How much larger a drawing is shown where there is room.
const ENLARGED: f64 = 1.5;

/// Where a text stands, seen from its place.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing that grows.
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn new() -> Self {
        Self { body: String::new() }
    }

    /// A text whose baseline begins, has its middle or ends at a place.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let class = format!("{anchor} {class}");
        self.put(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"{}\">{}</text>",
            class.trim(),
            escaped(text)
        ));
    }

    /// A filled rectangle.
    pub(super) fn rectangle(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let width = width.max(0.0);
        self.put(&format!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A straight line of the grid.
    pub(super) fn rule(&mut self, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.put(&format!("<path d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\" class=\"rule\"/>"));
    }

    /// A line through points.
    pub(super) fn line(&mut self, points: &[(f64, f64)]) {
        let path: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        self.put(&format!("<path d=\"M{}\" class=\"line\"/>", path.join("L")));
    }

    /// A point.
    pub(super) fn dot(&mut self, x: f64, y: f64, radius: f64) {
        self.put(&format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\" class=\"dot\"/>"));
    }

    /// What `draw` draws belongs together.
    pub(super) fn group(&mut self, class: &str, draw: impl FnOnce(&mut Self)) {
        self.put(&format!("<g class=\"{class}\">"));
        draw(self);
        self.put("</g>");
    }

    fn put(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    /// The document. `title` and `description` are for those who cannot see it.
    pub(super) fn finish(self, height: f64, title: &str, description: &str) -> String {
        let mut document = String::new();
        let (wide, high) = (WIDTH * ENLARGED, height * ENLARGED);
        let _ = writeln!(
            document,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide:.0}\" height=\"{high:.0}\" \
             viewBox=\"0 0 {WIDTH:.0} {height:.0}\" role=\"img\" aria-labelledby=\"title description\">"
        );
        let _ = writeln!(document, "<title id=\"title\">{}</title>", escaped(title));
        let _ = writeln!(document, "<desc id=\"description\">{}</desc>", escaped(description));
        let _ = writeln!(document, "<style>{STYLE}</style>\n{}</svg>", self.body);
        document
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// An axis: values from `low` to `high` on pixels from `from` to `to`.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    scale: Scale,
}

#[derive(Clone, Copy)]
enum Scale {
    /// Ticks are so far apart.
    Linear(f64),
    /// Ticks are at powers of ten.
    Logarithmic,
}

impl Axis {
    /// From nothing to a round number that is not below `largest`.
    pub(super) fn from_zero(largest: f64, from: f64, to: f64) -> Self {
        let step = step(largest);
        let high = (largest / step).ceil().max(1.0) * step;
        Self { low: 0.0, high, from, to, scale: Scale::Linear(step) }
    }

    /// Between powers of ten that hold all values.
    pub(super) fn decades(smallest: f64, largest: f64, from: f64, to: f64) -> Self {
        let low = 10_f64.powf(smallest.log10().floor());
        let high = 10_f64.powf(largest.log10().ceil());
        Self::logarithmic(low, high, from, to)
    }

    /// Between two values, by their logarithm.
    pub(super) fn logarithmic(low: f64, high: f64, from: f64, to: f64) -> Self {
        Self { low, high: if high > low { high } else { low * 10.0 }, from, to, scale: Scale::Logarithmic }
    }

    /// Where a value is.
    pub(super) fn at(&self, value: f64) -> f64 {
        let part = match self.scale {
            Scale::Linear(_) => (value - self.low) / (self.high - self.low),
            Scale::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.from + part * (self.to - self.from)
    }

    /// Round values to label: each power of ten, or a few equal steps.
    pub(super) fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear(step) => {
                let count = (self.high / step).round() as u32;
                (0..=count).map(|number| f64::from(number) * step).collect()
            }
            Scale::Logarithmic => {
                let powers = self.low.log10().ceil() as i32..=self.high.log10().floor() as i32;
                powers.map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// One, two or five times a power of ten, so that two to five of them reach the value.
fn step(largest: f64) -> f64 {
    if !(largest.is_finite() && largest > 0.0) {
        return 1.0;
    }
    let third = largest / 3.0;
    let power = 10_f64.powf(third.log10().floor());
    let digit = match third / power {
        digit if digit >= 8.0 => 10.0,
        digit if digit >= 4.0 => 5.0,
        digit if digit >= 1.6 => 2.0,
        _ => 1.0,
    };
    power * digit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        let ticks = |largest| Axis::from_zero(largest, 0.0, 100.0).ticks();
        assert_eq!(ticks(27.4), [0.0, 10.0, 20.0, 30.0]);
        assert_eq!(ticks(145_191.0), [0.0, 50_000.0, 100_000.0, 150_000.0]);
        assert_eq!(ticks(6.3), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(ticks(0.0), [0.0, 1.0]);
        assert_eq!(Axis::decades(110.0, 18_000.0, 0.0, 1.0).ticks(), [100.0, 1000.0, 10_000.0, 100_000.0]);
        assert_eq!(Axis::logarithmic(100.0, 18_000.0, 0.0, 1.0).ticks(), [100.0, 1000.0, 10_000.0]);
        for largest in [1e-3, 0.7, 1.0, 3.0, 9.9, 42.0, 137_000.0] {
            let ticks = ticks(largest);
            assert!((4..=6).contains(&ticks.len()), "{largest}: {ticks:?}");
            assert!(ticks.last().is_some_and(|last| *last >= largest), "{largest}: {ticks:?}");
        }
    }

    #[test]
    fn an_axis_begins_and_ends_where_it_should() {
        let axis = Axis::decades(200.0, 9_000.0, 10.0, 30.0);
        assert!((axis.at(100.0) - 10.0).abs() < 1e-9 && (axis.at(1000.0) - 20.0).abs() < 1e-9);
        assert!((Axis::from_zero(40.0, 0.0, 400.0).at(10.0) - 100.0).abs() < 1e-9);
    }

    #[test]
    fn what_is_markup_elsewhere_is_text_here() {
        let mut svg = Svg::new();
        svg.text(0.0, 0.0, Anchor::End, "", "a<b & \"c\"");
        let document = svg.finish(10.0, "<t>", "&");
        assert!(document.contains(">a&lt;b &amp; &quot;c&quot;</text>"), "{document}");
        assert!(document.contains(">&lt;t&gt;</title>"), "{document}");
    }
}
