//! The committed figures, and how those of this build compare.

use std::error::Error;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::callgrind::{self, Count};
use crate::path::Path;
use crate::rows::Row;

/// How far above its committed value a figure may be.
const SLACK: f64 = 1.03;
/// Less than an instruction is rounding.
const ROUNDING: f64 = 0.5;

/// The figures of one row over one path.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Figure {
    row: String,
    path: String,
    /// Instructions for each message, in functions of tls-cork.
    own: f64,
    /// All instructions for each message, over those of rustls alone.
    ratio: Option<f64>,
}

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("table.csv")
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Counts every row over every path.
pub(crate) fn measure() -> Result<Vec<Figure>, Box<dyn Error>> {
    let mut figures = Vec::new();
    for row in Row::value_variants() {
        let rustls = row.rival().map(|rival| callgrind::count(*row, rival)).transpose()?;
        for path in Path::value_variants().iter().filter(|path| path.is_ours()) {
            let count = callgrind::count(*row, *path)?;
            figures.push(figure(*row, *path, count, rustls));
        }
    }
    Ok(figures)
}

fn figure(row: Row, path: Path, count: Count, rustls: Option<Count>) -> Figure {
    let round = |value: f64, unit: f64| (value * unit).round() / unit;
    Figure {
        row: name(&row),
        path: name(&path),
        own: round(count.own, 10.0),
        ratio: rustls.map(|rustls| round(count.all / rustls.all, 1000.0)),
    }
}

fn committed() -> Result<Vec<Figure>, Box<dyn Error>> {
    let path = file();
    let mut reader = csv::Reader::from_path(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(reader.deserialize().collect::<Result<_, _>>()?)
}

/// Writes the committed table anew.
pub(crate) fn write(figures: &[Figure]) -> Result<(), Box<dyn Error>> {
    let mut writer = csv::Writer::from_path(file())?;
    for figure in figures {
        writer.serialize(figure)?;
    }
    writer.flush()?;
    Ok(())
}

/// Prints figures beside the committed ones.
pub(crate) fn print(figures: &[Figure]) -> Result<(), Box<dyn Error>> {
    let committed = committed()?;
    println!("{:<16}{:<11}{:>9}{:>11}{:>9}{:>11}", "row", "path", "own", "committed", "ratio", "committed");
    for figure in figures {
        let before = find(&committed, figure);
        println!(
            "{:<16}{:<11}{:>9.1}{:>11}{:>9}{:>11}",
            figure.row,
            figure.path,
            figure.own,
            text(before.map(|before| before.own), 1),
            text(figure.ratio, 3),
            text(before.and_then(|before| before.ratio), 3),
        );
    }
    println!("own: instructions for each message in functions of tls-cork");
    println!("ratio: all instructions for each message, over those of rustls alone");
    Ok(())
}

/// Prints, and fails if a figure is too far above the committed one or has none.
pub(crate) fn check(figures: &[Figure]) -> Result<(), Box<dyn Error>> {
    print(figures)?;
    let committed = committed()?;
    let worse: Vec<String> = figures.iter().filter_map(|figure| verdict(figure, find(&committed, figure))).collect();
    if worse.is_empty() {
        println!("no figure is more than 3 % above its committed value");
        return Ok(());
    }
    Err(format!("{}; mend the cause, or run `tls-cork-instructions write` and give the reason", worse.join("; "))
        .into())
}

fn find<'a>(committed: &'a [Figure], figure: &Figure) -> Option<&'a Figure> {
    committed.iter().find(|before| (&before.row, &before.path) == (&figure.row, &figure.path))
}

fn text(value: Option<f64>, digits: usize) -> String {
    value.map_or("-".into(), |value| format!("{value:.digits$}"))
}

fn verdict(figure: &Figure, before: Option<&Figure>) -> Option<String> {
    let of = format!("{} over {}", figure.row, figure.path);
    let Some(before) = before else {
        return Some(format!("{of}: not in table.csv"));
    };
    if figure.own > before.own * SLACK + ROUNDING {
        return Some(format!("{of}: {:.1} own instructions, {:.1} committed", figure.own, before.own));
    }
    match (figure.ratio, before.ratio) {
        (Some(now), Some(then)) if now > then * SLACK => Some(format!("{of}: ratio {now:.3}, {then:.3} committed")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(own: f64, ratio: Option<f64>) -> Figure {
        Figure { row: "write-540".into(), path: "core".into(), own, ratio }
    }

    #[test]
    fn three_percent_more_pass_and_four_do_not() {
        let before = figure(1000.0, Some(1.0));
        assert_eq!(verdict(&figure(1030.0, Some(1.03)), Some(&before)), None);
        assert!(verdict(&figure(1040.0, Some(1.0)), Some(&before)).is_some_and(|text| text.contains("own")));
        assert!(verdict(&figure(1000.0, Some(1.04)), Some(&before)).is_some_and(|text| text.contains("ratio")));
        assert!(verdict(&figure(1000.0, None), None).is_some_and(|text| text.contains("not in table.csv")));
    }

    #[test]
    fn the_committed_table_has_every_row_and_path() {
        let committed = committed().expect("a table");
        let paths = Path::value_variants().iter().filter(|path| path.is_ours());
        let expected: Vec<_> = Row::value_variants()
            .iter()
            .flat_map(|row| paths.clone().map(move |path| (name(row), name(path))))
            .collect();
        let found: Vec<_> = committed.into_iter().map(|figure| (figure.row, figure.path)).collect();
        assert_eq!(found, expected);
    }
}
