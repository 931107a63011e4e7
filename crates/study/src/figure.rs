//! A line chart as SVG, written by hand: the same text for the same numbers, readable on light and dark ground.

use std::fmt::Write;

/// How values lie along an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Evenly.
    Linear,
    /// By their logarithm; values must be above 0.
    Logarithmic,
}

impl Scale {
    /// Where a value lies; not finite for one that has no place.
    fn place(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Logarithmic => value.log10(),
        }
    }
}

/// One axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// What it shows, with the unit.
    pub title: String,
    /// How values lie along it.
    pub scale: Scale,
}

/// Points that belong together, joined in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its points `(x, y)` in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Said above it.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// What it shows; nine at most have a colour of their own.
    pub series: Vec<Series>,
}

/// Width and height of the picture, and of the margins around its plot.
const SIZE: (f64, f64) = (760.0, 400.0);
const LEFT: f64 = 64.0;
const RIGHT: f64 = 250.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 52.0;

/// Of middling lightness, so that they stand out on white and on black.
const COLOURS: [&str; 9] =
    ["#0a84d0", "#d9730d", "#2e9e5b", "#c2418f", "#8a6fe8", "#b3870b", "#d64545", "#1aa3a3", "#808080"];

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.axis{stroke:#1f2328}\
.grid{stroke:#8884}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.axis{stroke:#e6edf3}}";

/// Where values of one axis lie on the picture.
struct Span {
    scale: Scale,
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Span {
    /// Over all `values`, with a little room at both ends; `None` without a value that can be shown.
    fn over(axis: &Axis, values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Span> {
        let placed: Vec<f64> =
            values.map(|value| axis.scale.place(value)).filter(|value| value.is_finite()).collect();
        let low = placed.iter().copied().reduce(f64::min)?;
        let high = placed.iter().copied().reduce(f64::max)?;
        let room = if high > low { 0.05 * (high - low) } else { 0.5 };
        Some(Span { scale: axis.scale, low: low - room, high: high + room, from, to })
    }

    /// Where a value lies; `None` for one that has no place.
    fn at(&self, value: f64) -> Option<f64> {
        let share = (self.scale.place(value) - self.low) / (self.high - self.low);
        share.is_finite().then_some(self.from + share * (self.to - self.from))
    }

    /// Round values to write beside the axis.
    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Linear => {
                let rough = (self.high - self.low) / 5.0;
                let power = 10f64.powf(rough.log10().floor());
                let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| *s >= rough);
                let step = step.unwrap_or(rough);
                let (first, last) = ((self.low / step).ceil() as i64, (self.high / step).floor() as i64);
                (first..=last).map(|n| n as f64 * step).collect()
            }
            Scale::Logarithmic => {
                let decades = self.low.floor() as i32..=self.high.ceil() as i32;
                let all = decades.flat_map(|n| [1.0, 3.0].map(|m| m * 10f64.powi(n)));
                let inside = |value: &f64| (self.low..=self.high).contains(&value.log10());
                all.filter(inside).collect()
            }
        }
    }
}

/// A number beside an axis: three digits that count, no zeros behind them.
fn number(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { (2 - value.abs().log10().floor() as i32).clamp(0, 6) as usize };
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Text as XML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Figure {
    /// The chart as an SVG file; `None` where there is nothing to show.
    pub fn svg(&self) -> Option<String> {
        let (width, height) = SIZE;
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let x = Span::over(&self.x, points().map(|p| p.0), LEFT, width - RIGHT)?;
        let y = Span::over(&self.y, points().map(|p| p.1), height - BOTTOM, TOP)?;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n\
             <title>{title}</title>\n<style>{STYLE}</style>\n<text x=\"{LEFT}\" y=\"20\">{title}</text>\n",
            title = escaped(&self.title),
        );
        self.axes(&mut text, &x, &y);
        for (at, series) in self.series.iter().enumerate() {
            let places = series.points.iter().filter_map(|p| Some((x.at(p.0)?, y.at(p.1)?)));
            draw(&mut text, series, at, &places.collect::<Vec<_>>());
        }
        text.push_str("</svg>\n");
        Some(text)
    }

    fn axes(&self, text: &mut String, x: &Span, y: &Span) {
        let (bottom, right) = (y.from, x.to);
        for value in x.ticks() {
            let Some(at) = x.at(value) else { continue };
            line(text, "grid", (at, TOP), (at, bottom));
            label(text, "middle", (at, bottom + 18.0), &number(value));
        }
        for value in y.ticks() {
            let Some(at) = y.at(value) else { continue };
            line(text, "grid", (LEFT, at), (right, at));
            label(text, "end", (LEFT - 8.0, at + 4.0), &number(value));
        }
        line(text, "axis", (LEFT, bottom), (right, bottom));
        line(text, "axis", (LEFT, TOP), (LEFT, bottom));
        label(text, "middle", (0.5 * (LEFT + right), bottom + 40.0), &self.x.title);
        let middle = 0.5 * (TOP + bottom);
        push(
            text,
            format_args!(
                "<text transform=\"translate(16 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
                escaped(&self.y.title)
            ),
        );
    }
}

/// Writing into a string does not fail.
fn push(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = text.write_fmt(what);
}

fn line(text: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    push(
        text,
        format_args!(
            "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>\n",
            from.0, from.1, to.0, to.1
        ),
    );
}

fn label(text: &mut String, anchor: &str, at: (f64, f64), said: &str) {
    let said = escaped(said);
    push(
        text,
        format_args!("<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{said}</text>\n", at.0, at.1),
    );
}

/// A series and its line of the legend. Colours that are used twice differ in their dashes.
fn draw(text: &mut String, series: &Series, at: usize, places: &[(f64, f64)]) {
    let colour = COLOURS[at % COLOURS.len()];
    let dash = if at < COLOURS.len() { "" } else { " stroke-dasharray=\"5 4\"" };
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let path = path.join(" ");
    push(
        text,
        format_args!(
            "<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>\n"
        ),
    );
    for (x, y) in places {
        push(text, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>\n"));
    }
    let (x, y) = (SIZE.0 - RIGHT + 20.0, TOP + 10.0 + 20.0 * at as f64);
    push(text, format_args!("<circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"4\" fill=\"{colour}\"/>\n", y - 4.0));
    label(text, "start", (x + 12.0, y), &series.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(scale: Scale) -> Figure {
        let axis = |title: &str, scale| Axis { title: title.into(), scale };
        Figure {
            title: "a < b".into(),
            x: axis("x", scale),
            y: axis("y", Scale::Linear),
            series: vec![
                Series { name: "first".into(), points: vec![(1.0, 10.0), (10.0, 30.0), (100.0, 20.0)] },
                Series { name: "second".into(), points: vec![(0.0, 20.0)] },
            ],
        }
    }

    #[test]
    fn places_are_where_the_numbers_are() {
        let text = figure(Scale::Logarithmic).svg().unwrap();
        assert!(text.contains("<title>a &lt; b</title>"), "{text}");
        // 1 and 100 lie a twenty-second of the plot from its ends, 10 in the middle; 10 is lowest, 30 highest.
        let (left, right) = (64.0 + 446.0 / 22.0, 510.0 - 446.0 / 22.0);
        let (low, high) = (348.0 - 312.0 / 22.0, 36.0 + 312.0 / 22.0);
        let path = format!("{left:.1},{low:.1} 287.0,{high:.1} {right:.1},192.0");
        assert!(text.contains(&path), "{path} in {text}");
    }

    #[test]
    fn what_has_no_place_is_left_out() {
        // 0 has no logarithm: the second series keeps its line of the legend and loses its point.
        let count = |scale| figure(scale).svg().unwrap().matches("r=\"3.5\"").count();
        assert_eq!((count(Scale::Logarithmic), count(Scale::Linear)), (3, 4));
        assert_eq!(Figure { series: Vec::new(), ..figure(Scale::Linear) }.svg(), None);
    }

    #[test]
    fn numbers_beside_axes() {
        let shown: Vec<String> = [0.0, 0.003, 0.30000000000000004, 20.0, 1000.0].map(number).into();
        assert_eq!(shown, ["0", "0.003", "0.3", "20", "1000"]);
    }
}
