//! Pictures: horizontal bars, in panels.
//!
//! They have no background, and colours that stand out from white and from near black alike, so
//! that one file suits a light and a dark page. No fonts are needed to draw them: the text stays
//! text, and whoever shows it chooses the font.

use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, IntoFont, PathElement, RGBColor, Rectangle, SVGBackend, Text};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, TextStyle};

use crate::median::Median;

const WIDTH: u32 = 960;
const MARGIN: i32 = 12;
const TITLE_HEIGHT: i32 = 40;
const BAR_HEIGHT: i32 = 20;
const PANEL_TITLE_HEIGHT: i32 = 28;

/// Mid-tones: 4.3 : 1 on white and on #0d1117 for text, 3 : 1 or better for the rest (WCAG 2.2, 1.4.3 and 1.4.11).
const TEXT: RGBColor = RGBColor(0x79, 0x79, 0x79);
const ORDINARY: RGBColor = RGBColor(0x73, 0x83, 0x94);
const HIGHLIGHT: RGBColor = RGBColor(0x2f, 0x81, 0xf7);

/// Bars that have one scale.
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// From zero to the median; the spread is drawn across its end.
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) figure: Median,
    pub(crate) stands_out: bool,
}

/// A number of bytes in the largest binary unit that divides it.
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

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG file: two panels beside each other if there are several.
pub(crate) fn draw(title: &str, panels: &[Panel]) -> Result<String, String> {
    let columns = if panels.len() > 1 { 2 } else { 1 };
    let width = (WIDTH as i32 - MARGIN * (columns as i32 + 1)) / columns as i32;
    let height = |panel: &Panel| PANEL_TITLE_HEIGHT + panel.bars.len() as i32 * BAR_HEIGHT;
    let rows = panels.chunks(columns);
    let heights: Vec<i32> = rows.clone().map(|row| MARGIN + row.iter().map(height).max().unwrap_or(0)).collect();
    let whole = (TITLE_HEIGHT + heights.iter().sum::<i32>()).unsigned_abs();
    let names = panels.iter().flat_map(|p| &p.bars).map(|bar| text_width(&bar.name, 12)).max().unwrap_or(0);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, whole)).into_drawing_area();
        write(&area, title, (MARGIN, TITLE_HEIGHT / 2), 16, HPos::Left)?;
        let mut top = TITLE_HEIGHT;
        for (row, height) in rows.zip(heights) {
            let mut left = MARGIN;
            for panel in row {
                draw_panel(&area, panel, (left, top), (width, names))?;
                left += width + MARGIN;
            }
            top += height;
        }
        area.present().map_err(|e| e.to_string())?;
    }
    Ok(svg)
}

fn draw_panel(
    area: &Area<'_>,
    panel: &Panel,
    (left, top): (i32, i32),
    (width, names): (i32, i32),
) -> Result<(), String> {
    write(area, &panel.title, (left, top + PANEL_TITLE_HEIGHT / 2), 13, HPos::Left)?;
    let zero = left + names + 8;
    let most = panel.bars.iter().map(|bar| bar.figure.max).fold(f64::MIN_POSITIVE, f64::max);
    let room = f64::from(left + width - zero - text_width("1.23 M", 12) - 12);
    let at = |figure: f64| zero + (figure.max(0.0) / most * room).round() as i32;
    let mut upper = top + PANEL_TITLE_HEIGHT;
    for Bar { name, figure, stands_out } in &panel.bars {
        let middle = upper + BAR_HEIGHT / 2;
        let colour = if *stands_out { HIGHLIGHT } else { ORDINARY };
        write(area, name, (zero - 6, middle), 12, HPos::Right)?;
        let ends = [(zero, upper + 3), (at(figure.median).max(zero + 1), upper + BAR_HEIGHT - 3)];
        area.draw(&Rectangle::new(ends, colour.filled())).map_err(|e| e.to_string())?;
        if figure.max > figure.min {
            let ends = [(at(figure.min), middle), (at(figure.max), middle)];
            area.draw(&PathElement::new(ends, TEXT.stroke_width(2))).map_err(|e| e.to_string())?;
        }
        write(area, &short(figure.median), (at(figure.max.max(figure.median)) + 6, middle), 12, HPos::Left)?;
        upper += BAR_HEIGHT;
    }
    Ok(())
}

fn write(area: &Area<'_>, text: &str, (x, y): (i32, i32), size: i32, h: HPos) -> Result<(), String> {
    // plotters makes fonts smaller than asked for by this factor in SVG.
    let font = ("sans-serif", f64::from(size) * 1.24).into_font();
    let style = TextStyle::from(font).color(&TEXT).pos(Pos::new(h, VPos::Center));
    area.draw(&Text::new(text.to_owned(), (x, y), style)).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
