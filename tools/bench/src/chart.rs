//! Pictures of a report: bars for one figure of each row.
//!
//! They have no background, and colours that stand out from white and from near black alike, so
//! that one file suits a light and a dark page. No fonts are needed to draw them: the text stays
//! text, and whoever shows it chooses the font.

use std::fmt::Display;

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle, TextStyle};

use crate::failure::Failure;
use crate::median::Median;
use crate::report::{Report, Value};

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
}

const WIDTH: u32 = 960;
const MARGIN: i32 = 12;
const TITLE_HEIGHT: i32 = 40;
const BAR_HEIGHT: i32 = 20;
const PANEL_TITLE_HEIGHT: i32 = 28;

/// Mid-tones: 4.3 : 1 on white and on #0d1117 for text, 3 : 1 or better for the rest (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT: RGBColor = RGBColor(0x79, 0x79, 0x79);
const ORDINARY_BAR: RGBColor = RGBColor(0x73, 0x83, 0x94);
const HIGHLIGHTED_BAR: RGBColor = RGBColor(0x2f, 0x81, 0xf7);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

pub(crate) fn draw(chart: &Chart, report: &Report) -> Result<String, Failure> {
    let Chart::Bars { title, panel, series, value, leave_out, highlight } = *chart;
    let (series, value) = (column(report, series)?, column(report, value)?);
    let panels = panels(report, panel, |row| {
        let (name, figure) = (name(report, row, series), row[value].figure()?);
        let stands_out = highlight.contains(&name.as_str());
        (!leave_out.contains(&name.as_str())).then_some(Bar { name, figure, stands_out })
    })?;
    draw_bars(title, &panels)
}

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    name: String,
    figure: Median,
    stands_out: bool,
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

/// Sorts the rows that have a bar into panels, in the order in which the panels first appear.
fn panels(report: &Report, template: &str, bar: impl Fn(&[Value]) -> Option<Bar>) -> Result<Vec<Panel>, Failure> {
    let mut panels: Vec<Panel> = Vec::new();
    for row in report.rows() {
        let title = fill_in(template, report, row)?;
        let Some(bar) = bar(row) else {
            continue;
        };
        match panels.iter_mut().find(|p| p.title == title) {
            Some(panel) => panel.bars.push(bar),
            None => panels.push(Panel { title, bars: vec![bar] }),
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
pub(crate) fn size(bytes: u64) -> String {
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

fn draw_bars(title: &str, panels: &[Panel]) -> Result<String, Failure> {
    let heights: Vec<i32> = panels.iter().map(|p| PANEL_TITLE_HEIGHT + p.bars.len() as i32 * BAR_HEIGHT).collect();
    let (places, width, height) = lay_out(&heights, TITLE_HEIGHT);
    let names = panels.iter().flat_map(|p| &p.bars).map(|bar| text_width(&bar.name, 12)).max().unwrap_or(0);
    on_canvas(height, |area| {
        write(area, title, (MARGIN, TITLE_HEIGHT / 2), 16, HPos::Left)?;
        for (panel, (left, top)) in panels.iter().zip(places) {
            write(area, &panel.title, (left, top + PANEL_TITLE_HEIGHT / 2), 13, HPos::Left)?;
            let zero = left + names + 8;
            let most = panel.bars.iter().map(|bar| bar.figure.max).fold(f64::MIN_POSITIVE, f64::max);
            let room = f64::from(left + width - zero - text_width("1.23 M", 12) - 12);
            let at = |figure: f64| zero + (figure.max(0.0) / most * room).round() as i32;
            for (index, bar) in panel.bars.iter().enumerate() {
                let upper = top + PANEL_TITLE_HEIGHT + index as i32 * BAR_HEIGHT;
                let middle = upper + BAR_HEIGHT / 2;
                let colour = if bar.stands_out { HIGHLIGHTED_BAR } else { ORDINARY_BAR };
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

#[cfg(test)]
mod tests;
