//! Pictures of a report: bars for one figure of each row, or lines over a second figure.
//!
//! They have no background, and colours that stand out from white and from near black alike, so
//! that one file suits a light and a dark page. No fonts are needed to draw them: the text stays
//! text, and whoever shows it chooses the font.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::{
    Circle, DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle, TextStyle};
use tls_cork_programs::Failure;

use crate::{Median, Report, Value};

/// Which columns of a report make its picture. Columns go by their names in the CSV header.
///
/// Rows are spread over panels by `panel`: a text in which `{name}` stands for the row's value in
/// the column of that name, as in `"{block_size_bytes}, depth {queue_depth}"`.
#[derive(Debug, Clone, Copy)]
pub enum Chart {
    /// One horizontal bar from zero for each row, with its name and its figure; each panel has its own scale.
    Bars {
        /// Headline: what is shown, its unit, and which way is better.
        title: &'static str,
        /// Panels, as above.
        panel: &'static str,
        /// The column that names the bars.
        series: &'static str,
        /// The column with the figures; a spread is drawn across the end of the bar.
        value: &'static str,
        /// Names of rows that get no bar, since it would dwarf the others.
        leave_out: &'static [&'static str],
        /// Names of bars that stand out.
        highlight: &'static [&'static str],
    },
    /// One line for each name in `series`, with the same colour in each panel. Where lines would hide each other, they are
    /// drawn side by side.
    Lines {
        /// Headline: what is shown, and its unit.
        title: &'static str,
        /// Panels, as above; empty for a single one.
        panel: &'static str,
        /// The column that names the lines.
        series: &'static str,
        /// The column along the bottom.
        x: &'static str,
        /// What is written along the bottom.
        x_title: &'static str,
        /// The column with the figures.
        y: &'static str,
        /// A logarithmic scale along the bottom.
        log_x: bool,
        /// A logarithmic scale upwards.
        log_y: bool,
    },
}

const WIDTH: u32 = 960;
const MARGIN: i32 = 12;
const TITLE_HEIGHT: i32 = 40;
const BAR_HEIGHT: i32 = 20;
const PANEL_TITLE_HEIGHT: i32 = 28;
const LINES_PANEL_HEIGHT: i32 = 260;
const LEGEND_LINE_HEIGHT: i32 = 20;

/// Mid-tones: 4.3 : 1 on white and on #0d1117 for text, 3 : 1 or better for the rest (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT: RGBColor = RGBColor(0x79, 0x79, 0x79);
const ORDINARY_BAR: RGBColor = RGBColor(0x73, 0x83, 0x94);
const LINES: [RGBColor; 8] = [
    RGBColor(0x2f, 0x81, 0xf7),
    RGBColor(0xd9, 0x6c, 0x0d),
    RGBColor(0x2c, 0x97, 0x5a),
    RGBColor(0xd6, 0x48, 0x4d),
    RGBColor(0x9a, 0x5c, 0xd6),
    RGBColor(0x0d, 0x94, 0xa3),
    RGBColor(0x9c, 0x6b, 0x35),
    RGBColor(0xd1, 0x4f, 0x9b),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) fn draw(chart: &Chart, report: &Report) -> Result<String, Failure> {
    match *chart {
        Chart::Bars { title, panel, series, value, leave_out, highlight } => {
            let (series, value) = (column(report, series)?, column(report, value)?);
            let panels = panels(report, panel, |row| {
                let (name, figure) = (name(report, row, series), row[value].figure()?);
                let stands_out = highlight.contains(&name.as_str());
                (!leave_out.contains(&name.as_str())).then_some(Bar { name, figure, stands_out })
            })?;
            draw_bars(title, &panels)
        }
        Chart::Lines { title, panel, series, x, x_title, y, log_x, log_y } => {
            let (series, x, y) = (column(report, series)?, column(report, x)?, column(report, y)?);
            let panels = panels(report, panel, |row| {
                let (x, y) = (row[x].figure()?.median, row[y].figure()?.median);
                let drawable = (x > 0.0 || !log_x) && (y > 0.0 || !log_y);
                drawable.then(|| Point { name: name(report, row, series), x, y })
            })?;
            draw_lines(title, x_title, &panels, log_x, log_y)
        }
    }
}

struct Panel<M> {
    title: String,
    marks: Vec<M>,
}

struct Bar {
    name: String,
    figure: Median,
    stands_out: bool,
}

struct Point {
    name: String,
    x: f64,
    y: f64,
}

fn column(report: &Report, csv: &str) -> Result<usize, Failure> {
    report.columns().iter().position(|c| c.csv == csv).ok_or_else(|| failure(format!("no column {csv}")))
}

fn name(report: &Report, row: &[Value], column: usize) -> String {
    row[column].show(report.columns()[column].kind)
}

fn failure(why: impl Display) -> Failure {
    Failure::new("draw", "chart", why)
}

/// Sorts the rows that have a mark into panels, in the order in which the panels first appear.
fn panels<M>(report: &Report, template: &str, mark: impl Fn(&[Value]) -> Option<M>) -> Result<Vec<Panel<M>>, Failure> {
    let mut panels: Vec<Panel<M>> = Vec::new();
    for row in report.rows() {
        let title = fill_in(template, report, row)?;
        let Some(mark) = mark(row) else {
            continue;
        };
        match panels.iter_mut().find(|p| p.title == title) {
            Some(panel) => panel.marks.push(mark),
            None => panels.push(Panel { title, marks: vec![mark] }),
        }
    }
    Ok(panels)
}

fn fill_in(template: &str, report: &Report, row: &[Value]) -> Result<String, Failure> {
    let mut text = template.to_owned();
    for (column, value) in report.columns().iter().zip(row) {
        let shown = match value {
            Value::Count(bytes) if column.csv.ends_with("_bytes") => size(*bytes),
            _ => value.show(column.kind),
        };
        text = text.replace(&format!("{{{}}}", column.csv), &shown);
    }
    if template.contains('{') && text.contains('{') {
        return Err(failure(format!("no such column in {text:?}")));
    }
    Ok(text)
}

/// A number of bytes in the largest binary unit that divides it.
#[must_use]
pub fn size(bytes: u64) -> String {
    [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit))
        .map_or_else(|| format!("{bytes} B"), |(unit, name)| format!("{} {name}", bytes / unit))
}

/// Three significant digits, with k, M or G.
fn short(number: f64) -> String {
    let (scaled, unit) = match number.abs() {
        x if x >= 999.5e6 => (number / 1e9, " G"),
        x if x >= 999.5e3 => (number / 1e6, " M"),
        x if x >= 9_999.5 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let decimals = match scaled.abs() {
        x if x >= 99.95 || scaled == 0.0 => 0,
        x if x >= 9.995 => 1,
        x if x >= 0.1 => 2,
        _ => 3,
    };
    let digits = format!("{scaled:.decimals$}");
    let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { &digits };
    format!("{digits}{unit}")
}

/// Width of text as a viewer's sans-serif font has it, roughly and rather too wide.
fn text_width(text: &str, size: i32) -> i32 {
    text.chars().count() as i32 * size * 6 / 10
}

fn on_canvas(height: i32, paint: impl FnOnce(&Area<'_>) -> Result<(), String>) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height.unsigned_abs())).into_drawing_area();
        paint(&area).map_err(failure)?;
        area.present().map_err(failure)?;
    }
    Ok(svg)
}

fn write(area: &Area<'_>, text: &str, (x, y): (i32, i32), size: i32, h: HPos) -> Result<(), String> {
    // plotters makes fonts smaller than asked for by this factor in SVG.
    let font = ("sans-serif", f64::from(size) * 1.24).into_font();
    let style = TextStyle::from(font).color(&TEXT).pos(Pos::new(h, VPos::Center));
    area.draw(&Text::new(text.to_owned(), (x, y), style)).map_err(|e| e.to_string())
}

fn rectangle(area: &Area<'_>, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Result<(), String> {
    area.draw(&Rectangle::new([from, to], colour.filled())).map_err(|e| e.to_string())
}

fn path(area: &Area<'_>, points: Vec<(i32, i32)>, style: impl Into<ShapeStyle>) -> Result<(), String> {
    area.draw(&PathElement::new(points, style)).map_err(|e| e.to_string())
}

/// Where each panel goes: two beside each other if there are several.
fn lay_out(heights: &[i32], top: i32) -> (Vec<(i32, i32)>, i32, i32) {
    let columns = if heights.len() > 1 { 2 } else { 1 };
    let width = (WIDTH as i32 - MARGIN * (columns as i32 + 1)) / columns as i32;
    let mut places = Vec::new();
    let mut y = top;
    for row in heights.chunks(columns) {
        for column in 0..row.len() {
            places.push((MARGIN + column as i32 * (width + MARGIN), y));
        }
        y += row.iter().max().unwrap_or(&0) + MARGIN;
    }
    (places, width, y)
}

fn draw_bars(title: &str, panels: &[Panel<Bar>]) -> Result<String, Failure> {
    let heights: Vec<i32> = panels.iter().map(|p| PANEL_TITLE_HEIGHT + p.marks.len() as i32 * BAR_HEIGHT).collect();
    let (places, width, height) = lay_out(&heights, TITLE_HEIGHT);
    let names = panels.iter().flat_map(|p| &p.marks).map(|bar| text_width(&bar.name, 12)).max().unwrap_or(0);
    on_canvas(height, |area| {
        write(area, title, (MARGIN, TITLE_HEIGHT / 2), 16, HPos::Left)?;
        for (panel, (left, top)) in panels.iter().zip(places) {
            write(area, &panel.title, (left, top + PANEL_TITLE_HEIGHT / 2), 13, HPos::Left)?;
            let zero = left + names + 8;
            let most = panel.marks.iter().map(|bar| bar.figure.max).fold(f64::MIN_POSITIVE, f64::max);
            let room = f64::from(left + width - zero - text_width("1.23 M", 12) - 12);
            let at = |figure: f64| zero + (figure.max(0.0) / most * room).round() as i32;
            for (index, bar) in panel.marks.iter().enumerate() {
                let upper = top + PANEL_TITLE_HEIGHT + index as i32 * BAR_HEIGHT;
                let middle = upper + BAR_HEIGHT / 2;
                let colour = if bar.stands_out { LINES[0] } else { ORDINARY_BAR };
                write(area, &bar.name, (zero - 6, middle), 12, HPos::Right)?;
                rectangle(
                    area,
                    (zero, upper + 3),
                    (at(bar.figure.median).max(zero + 1), upper + BAR_HEIGHT - 3),
                    colour,
                )?;
                if bar.figure.max > bar.figure.min {
                    let ends = vec![(at(bar.figure.min), middle), (at(bar.figure.max), middle)];
                    path(area, ends, TEXT.stroke_width(2))?;
                }
                let end = at(bar.figure.max.max(bar.figure.median));
                write(area, &short(bar.figure.median), (end + 6, middle), 12, HPos::Left)?;
            }
        }
        Ok(())
    })
}

/// A scale along one side of a panel.
struct Scale {
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn of(figures: &[f64], log: bool) -> Self {
        let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if log {
            let ticks: Vec<f64> = (-12..=15)
                .flat_map(|power| [1.0, 2.0, 5.0].map(|m| m * 10f64.powi(power)))
                .filter(|tick| (low..=high).contains(tick))
                .collect();
            let decades = |all: &[f64]| all.iter().copied().filter(|t| is_power_of_ten(*t)).collect::<Vec<f64>>();
            let ticks = if ticks.len() > 7 { decades(&ticks) } else { ticks };
            return Self { log, low: low / 1.1, high: high * 1.1, ticks };
        }
        let low = low.min(0.0);
        let high = if high > low { high } else { low + 1.0 };
        let step = 10f64.powf(((high - low) / 5.0).log10().ceil());
        let step = if (high - low) / step < 2.0 { step / 5.0 } else { step / 2.0 };
        let ticks = (0..).map(|i| low + f64::from(i) * step).take_while(|t| *t <= high * 1.001).collect();
        Self { log, low, high: high * 1.02, ticks }
    }

    /// From 0 at the low end to 1 at the high end.
    fn share(&self, figure: f64) -> f64 {
        if self.log {
            (figure / self.low).ln() / (self.high / self.low).ln()
        } else {
            (figure - self.low) / (self.high - self.low)
        }
    }
}

fn is_power_of_ten(number: f64) -> bool {
    (number.log10() - number.log10().round()).abs() < 1e-9
}

fn draw_lines(
    title: &str,
    x_title: &str,
    panels: &[Panel<Point>],
    log_x: bool,
    log_y: bool,
) -> Result<String, Failure> {
    let mut names: Vec<&str> = Vec::new();
    for point in panels.iter().flat_map(|p| &p.marks) {
        if !names.contains(&point.name.as_str()) {
            names.push(&point.name);
        }
    }
    let colour = |name: &str| LINES[names.iter().position(|n| *n == name).unwrap_or(0) % LINES.len()];
    let legend = legend_places(&names);
    let legend_height = legend.last().map_or(0, |(_, y)| y + LEGEND_LINE_HEIGHT);
    let heights = vec![LINES_PANEL_HEIGHT; panels.len()];
    let (places, width, height) = lay_out(&heights, TITLE_HEIGHT + legend_height);
    on_canvas(height, |area| {
        write(area, title, (MARGIN, TITLE_HEIGHT / 2), 16, HPos::Left)?;
        for (name, (x, y)) in names.iter().zip(legend) {
            let middle = TITLE_HEIGHT + y + LEGEND_LINE_HEIGHT / 2;
            rectangle(area, (x, middle - 2), (x + 18, middle + 2), colour(name))?;
            write(area, name, (x + 24, middle), 12, HPos::Left)?;
        }
        for (panel, (left, top)) in panels.iter().zip(places) {
            let frame = Frame::new(panel, (left, top), width, log_x, log_y);
            frame.draw(area, &panel.title, x_title)?;
            let mut lines: Vec<Vec<(i32, i32)>> = Vec::new();
            for name in &names {
                let line = frame.line(panel.marks.iter().filter(|p| p.name == *name));
                let beside = lines.iter().filter(|other| coincide(other, &line)).count() as i32;
                let shifted = line.iter().map(|&(x, y)| (x, y - 3 * beside)).collect();
                draw_line(area, shifted, colour(name))?;
                lines.push(line);
            }
        }
        Ok(())
    })
}

/// Where the legend's entries go, below each other's line when one is full.
fn legend_places(names: &[&str]) -> Vec<(i32, i32)> {
    let (mut x, mut y) = (MARGIN, 0);
    let mut places = Vec::new();
    for name in names {
        let width = 24 + text_width(name, 12) + 16;
        if x + width > WIDTH as i32 && x > MARGIN {
            (x, y) = (MARGIN, y + LEGEND_LINE_HEIGHT);
        }
        places.push((x, y));
        x += width;
    }
    places
}

/// The plot of one panel of lines.
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
    x: Scale,
    y: Scale,
}

impl Frame {
    fn new(panel: &Panel<Point>, (left, top): (i32, i32), width: i32, log_x: bool, log_y: bool) -> Self {
        let xs: Vec<f64> = panel.marks.iter().map(|p| p.x).collect();
        let ys: Vec<f64> = panel.marks.iter().map(|p| p.y).collect();
        let mut x = Scale::of(&xs, log_x);
        // A few chosen places are named themselves.
        let mut chosen = xs;
        chosen.sort_by(f64::total_cmp);
        chosen.dedup();
        if chosen.len() <= 6 {
            x.ticks = chosen;
        }
        Self {
            left: left + 54,
            right: left + width - 10,
            top: top + PANEL_TITLE_HEIGHT,
            bottom: top + LINES_PANEL_HEIGHT - 40,
            x,
            y: Scale::of(&ys, log_y),
        }
    }

    fn place(&self, x: f64, y: f64) -> (i32, i32) {
        let across = self.x.share(x) * f64::from(self.right - self.left);
        let up = self.y.share(y) * f64::from(self.bottom - self.top);
        (self.left + across.round() as i32, self.bottom - up.round() as i32)
    }

    fn draw(&self, area: &Area<'_>, title: &str, x_title: &str) -> Result<(), String> {
        write(area, title, (self.left, self.top - PANEL_TITLE_HEIGHT / 2), 13, HPos::Left)?;
        for &tick in &self.y.ticks {
            let (_, y) = self.place(self.x.low, tick);
            path(area, vec![(self.left, y), (self.right, y)], TEXT.mix(0.35))?;
            write(area, &short(tick), (self.left - 6, y), 11, HPos::Right)?;
        }
        for &tick in &self.x.ticks {
            let (x, _) = self.place(tick, self.y.low);
            path(area, vec![(x, self.bottom), (x, self.bottom + 4)], TEXT)?;
            write(area, &short(tick), (x, self.bottom + 13), 11, HPos::Center)?;
        }
        path(area, vec![(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], TEXT)?;
        write(area, x_title, ((self.left + self.right) / 2, self.bottom + 30), 11, HPos::Center)
    }

    fn line<'p>(&self, points: impl Iterator<Item = &'p Point>) -> Vec<(i32, i32)> {
        let mut points: Vec<&Point> = points.collect();
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        points.iter().map(|p| self.place(p.x, p.y)).collect()
    }
}

/// Whether one line would hide the other.
fn coincide(line: &[(i32, i32)], other: &[(i32, i32)]) -> bool {
    line.len() == other.len() && line.iter().zip(other).all(|(a, b)| a.0 == b.0 && (a.1 - b.1).abs() <= 2)
}

fn draw_line(area: &Area<'_>, places: Vec<(i32, i32)>, colour: RGBColor) -> Result<(), String> {
    path(area, places.clone(), colour.stroke_width(2))?;
    for place in places {
        area.draw(&Circle::new(place, 3, colour.filled())).map_err(|e| e.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
