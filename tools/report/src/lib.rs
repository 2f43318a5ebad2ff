//! What every command does with its figures: a table on standard output, and with `--out` a CSV
//! file and a picture.
//!
//! A command lists its columns once. The table, the CSV header and the explanation in `--help`
//! all come from that list, so that they cannot drift apart.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use tls_cork_programs::Failure;

mod chart;
mod median;

pub use chart::size;
use chart::{Bar, Panel};
pub use median::Median;

/// The option that keeps the figures: flatten it into a command's options.
#[derive(Debug, Clone, Default, Args)]
pub struct OutArgs {
    /// Also write the figures as COMMAND.csv and a picture of them as COMMAND.svg into this
    /// directory, which is created if missing.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl OutArgs {
    /// Creates the directory, so that a wrong one is reported before the measuring and not after.
    pub fn prepare(&self) -> Result<(), Failure> {
        let Some(dir) = &self.out else {
            return Ok(());
        };
        fs::create_dir_all(dir).map_err(|e| Failure::new("create directory", dir.display(), e))?;
        tempfile::tempfile_in(dir).map(drop).map_err(|e| Failure::new("write to directory", dir.display(), e))
    }

    /// Writes a file into the directory, if one was asked for.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), Failure> {
        let Some(path) = self.out.as_ref().map(|dir| dir.join(name)) else {
            return Ok(());
        };
        fs::write(&path, contents).map_err(|e| Failure::new("write", path.display(), e))
    }
}

/// One column of a report.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in the CSV header: snake_case, with the unit as its end.
    pub csv: &'static str,
    /// Its title in the printed table; a column without one is in the CSV file only.
    pub title: &'static str,
    /// What its values are, and how they are printed.
    pub kind: Kind,
    /// What it says, for `--help`.
    pub about: &'static str,
}

/// What the values of a column are, and how they are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// [`Value::Text`].
    Text,
    /// [`Value::Count`].
    Count,
    /// [`Value::Number`] with this many decimals in the table, all that matter in the file.
    Number(usize),
    /// [`Value::Spread`]; the table has the median alone, with this many decimals. The file has
    /// three columns: `x`, `x_min` and `x_max`.
    Middle(usize),
    /// The same, but in the table as `1.08 (0.87–1.36)`.
    Spread(usize),
}

impl Kind {
    fn is_spread(self) -> bool {
        matches!(self, Self::Middle(_) | Self::Spread(_))
    }
}

/// One figure of a row. `Missing` fits every column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A name.
    Text(String),
    /// A number of things.
    Count(u64),
    /// A single measurement.
    Number(f64),
    /// The middle of several measurements.
    Spread(Median),
    /// Not measured, or without meaning here: an empty field.
    Missing,
}

impl Value {
    /// A spread, or nothing if there were no measurements.
    pub fn spread(median: Option<Median>) -> Self {
        median.map_or(Self::Missing, Self::Spread)
    }

    /// As a figure of a chart: the value, and from where to where it spreads.
    fn figure(&self) -> Option<Median> {
        match *self {
            Self::Count(count) => Median::of([count as f64]),
            Self::Number(number) => Median::of([number]),
            Self::Spread(median) => Some(median),
            Self::Text(_) | Self::Missing => None,
        }
        .filter(|m| [m.median, m.min, m.max].iter().all(|x| x.is_finite()))
    }

    fn fits(&self, kind: Kind) -> bool {
        match self {
            Self::Text(_) => kind == Kind::Text,
            Self::Count(_) => kind == Kind::Count,
            Self::Number(_) => matches!(kind, Kind::Number(_)),
            Self::Spread(_) => kind.is_spread(),
            Self::Missing => true,
        }
    }

    /// As a field of the printed table.
    pub fn show(&self, kind: Kind) -> String {
        match (self, kind) {
            (Self::Text(text), _) => text.clone(),
            (Self::Count(count), _) => count.to_string(),
            (Self::Number(number), Kind::Number(decimals)) => format!("{number:.decimals$}"),
            (Self::Spread(m), Kind::Middle(decimals)) => format!("{:.decimals$}", m.median),
            (Self::Spread(m), Kind::Spread(decimals)) => {
                format!("{:.decimals$} ({:.decimals$}–{:.decimals$})", m.median, m.min, m.max)
            }
            _ => String::new(),
        }
    }

    /// As fields of the CSV file.
    fn fields(&self, kind: Kind) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::Count(count) => vec![count.to_string()],
            Self::Number(number) => vec![plain(*number)],
            Self::Spread(m) => [m.median, m.min, m.max].map(plain).to_vec(),
            Self::Missing => vec![String::new(); if kind.is_spread() { 3 } else { 1 }],
        }
    }
}

/// The shortest text that reads back as the same number; nothing for what is none.
fn plain(number: f64) -> String {
    if number.is_finite() { number.to_string() } else { String::new() }
}

/// Which columns of a report make its picture. Columns go by their names in the CSV header.
#[derive(Debug, Clone, Copy)]
pub struct Chart {
    /// Headline: what is shown, its unit, and which way is better.
    pub title: &'static str,
    /// The title of a row's panel: `{name}` stands for the row's value in the column of that name, as in
    /// `"{block_size_bytes}, depth {queue_depth}"`. Rows with the same title share a panel and its scale.
    pub panel: &'static str,
    /// The column that names the bars.
    pub series: &'static str,
    /// The column with the figures; a spread is drawn across the end of the bar.
    pub value: &'static str,
    /// Names of rows that get no bar, since it would dwarf the others.
    pub leave_out: &'static [&'static str],
    /// Names of bars that stand out.
    pub highlight: &'static [&'static str],
}

/// The figures of one command.
#[derive(Debug, Clone)]
pub struct Report {
    command: &'static str,
    columns: &'static [Column],
    rows: Vec<Vec<Value>>,
}

impl Report {
    /// A report without rows; `command` names its files.
    pub fn new(command: &'static str, columns: &'static [Column]) -> Self {
        Self { command, columns, rows: Vec::new() }
    }

    /// Adds a row.
    ///
    /// # Panics
    ///
    /// When a value does not fit its column: a mistake in the command, not in its input.
    pub fn row(&mut self, values: Vec<Value>) {
        assert_eq!(values.len(), self.columns.len(), "one value for each column");
        for (value, column) in values.iter().zip(self.columns) {
            assert!(value.fits(column.kind), "{}: {value:?} does not fit {:?}", column.csv, column.kind);
        }
        self.rows.push(values);
    }

    /// The printed table, without columns that have no values.
    pub fn table(&self) -> String {
        let has_values = |i: usize| self.rows.iter().any(|row| row[i] != Value::Missing);
        let is_shown = |&i: &usize| !self.columns[i].title.is_empty() && has_values(i);
        let shown: Vec<usize> = (0..self.columns.len()).filter(is_shown).collect();
        let mut table = Table::new();
        table.load_preset(presets::ASCII_MARKDOWN);
        table.set_header(shown.iter().map(|&i| self.columns[i].title));
        for (&index, column) in shown.iter().zip(table.column_iter_mut()) {
            let left = self.columns[index].kind == Kind::Text;
            column.set_cell_alignment(if left { CellAlignment::Left } else { CellAlignment::Right });
        }
        for row in &self.rows {
            table.add_row(shown.iter().map(|&i| row[i].show(self.columns[i].kind)));
        }
        table.to_string()
    }

    /// Prints the table.
    pub fn print(&self) -> Result<(), Failure> {
        print(&self.table())
    }

    /// Writes `COMMAND.csv` and `COMMAND.svg`, if `--out` was given.
    pub fn save(&self, out: &OutArgs, chart: &Chart) -> Result<(), Failure> {
        self.save_drawing(out, self, chart)
    }

    /// The same, where the picture shows other rows than all of the file's.
    pub fn save_drawing(&self, out: &OutArgs, drawn: &Self, chart: &Chart) -> Result<(), Failure> {
        let Some(dir) = &out.out else {
            return Ok(());
        };
        out.prepare()?;
        for (suffix, contents) in [("csv", self.csv()?), ("svg", drawn.svg(chart)?.into_bytes())] {
            let path = dir.join(format!("{}.{suffix}", self.command));
            fs::write(&path, contents).map_err(|e| Failure::new("write", path.display(), e))?;
        }
        Ok(())
    }

    /// The contents of the CSV file.
    pub fn csv(&self) -> Result<Vec<u8>, Failure> {
        let fail = |why: &dyn std::fmt::Display| Failure::new("write CSV", self.command, why);
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().flat_map(names)).map_err(|e| fail(&e))?;
        for row in &self.rows {
            let fields = row.iter().zip(self.columns).flat_map(|(value, column)| value.fields(column.kind));
            writer.write_record(fields).map_err(|e| fail(&e))?;
        }
        writer.into_inner().map_err(|e| fail(&e))
    }

    /// The contents of the SVG file.
    pub fn svg(&self, chart: &Chart) -> Result<String, Failure> {
        let fail = |why: String| Failure::new("draw", "chart", why);
        let column =
            |csv: &str| self.columns.iter().position(|c| c.csv == csv).ok_or_else(|| fail(format!("no column {csv}")));
        let (series, value) = (column(chart.series)?, column(chart.value)?);
        let mut panels: Vec<Panel> = Vec::new();
        for row in &self.rows {
            let title = self.panel(chart.panel, row);
            if title.contains('{') {
                return Err(fail(format!("no such column in {title:?}")));
            }
            let name = row[series].show(self.columns[series].kind);
            let Some(figure) = row[value].figure().filter(|_| !chart.leave_out.contains(&name.as_str())) else {
                continue;
            };
            let bar = Bar { stands_out: chart.highlight.contains(&name.as_str()), name, figure };
            match panels.iter_mut().find(|panel| panel.title == title) {
                Some(panel) => panel.bars.push(bar),
                None => panels.push(Panel { title, bars: vec![bar] }),
            }
        }
        chart::draw(chart.title, &panels).map_err(fail)
    }

    /// `template` with the values of `row`.
    fn panel(&self, template: &str, row: &[Value]) -> String {
        self.columns.iter().zip(row).fold(template.to_owned(), |text, (column, value)| {
            let shown = match value {
                Value::Count(bytes) if column.csv.ends_with("_bytes") => size(*bytes),
                _ => value.show(column.kind),
            };
            text.replace(&format!("{{{}}}", column.csv), &shown)
        })
    }
}

/// Prints text and a line break on standard output.
pub fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}").map_err(|e| Failure::new("print", "standard output", e))
}

/// Prints figures as indented JSON on standard output.
pub fn print_json(figures: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(figures).map_err(|e| Failure::new("print", "standard output", e))?;
    print(&text)
}

/// Names of a column in the CSV header.
fn names(column: &Column) -> Vec<String> {
    let name = column.csv;
    if column.kind.is_spread() {
        vec![name.to_owned(), format!("{name}_min"), format!("{name}_max")]
    } else {
        vec![name.to_owned()]
    }
}

/// The part of `--help` that documents the CSV file: for `#[command(after_long_help = …)]`.
pub fn help_columns(command: &str, columns: &[Column]) -> String {
    let mut text = format!("Columns of {command}.csv:\n");
    let shown: Vec<(String, &str)> = columns.iter().map(|c| (names(c).join(", "), c.about)).collect();
    for (names, about) in shown {
        text.push_str(&format!("  {names}\n          {about}\n"));
    }
    if columns.iter().any(|c| c.kind.is_spread()) {
        text.push_str("\nWhere a column has a _min and a _max beside it, it is the median of several runs.\n");
    }
    text
}

/// A progress bar on standard error, for what takes more than two seconds.
pub fn progress(len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 5] = [
        Column { csv: "stack", title: "stack", kind: Kind::Text, about: "Who sends." },
        Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "Payload of each message." },
        Column { csv: "messages_per_s", title: "messages/s", kind: Kind::Middle(0), about: "Messages each second." },
        Column { csv: "delay_p50_us", title: "", kind: Kind::Number(1), about: "Half of the delays are shorter." },
        Column { csv: "ratio", title: "× first (min–max)", kind: Kind::Spread(2), about: "Over the first's." },
    ];

    fn spread(figures: [f64; 3]) -> Value {
        Value::spread(Median::of(figures))
    }

    fn report() -> Report {
        let mut report = Report::new("sample", &COLUMNS);
        let (speed, ratio) = (spread([1000.25, 900.5, 1100.0]), spread([1.0, 0.875, 1.36]));
        report.row(vec![Value::Text("rustls, \"plain\"".into()), Value::Count(512), speed, Value::Number(12.5), ratio]);
        let (none, nan) = (Value::Missing, Value::Number(f64::NAN));
        report.row(vec![Value::Text("ours <&>".into()), Value::Count(512), spread([2e3; 3]), nan, none]);
        report
    }

    const CHART: Chart = Chart {
        title: "Messages <per> second",
        panel: "{block_size_bytes} & more",
        series: "stack",
        value: "messages_per_s",
        leave_out: &[],
        highlight: &["ours"],
    };

    #[test]
    fn csv_reads_back_as_it_was() {
        let contents = report().csv().expect("CSV");
        let mut reader = csv::Reader::from_reader(contents.as_slice());
        let header: Vec<String> = reader.headers().expect("header").iter().map(str::to_owned).collect();
        let expected = "stack block_size_bytes messages_per_s messages_per_s_min messages_per_s_max delay_p50_us \
                        ratio ratio_min ratio_max";
        assert_eq!(header.join(" "), expected);
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
        let rows: Vec<Vec<&str>> = rows.iter().map(|row| row.iter().collect()).collect();
        let first = ["rustls, \"plain\"", "512", "1000.25", "900.5", "1100", "12.5", "1", "0.875", "1.36"];
        assert_eq!(rows, [first, ["ours <&>", "512", "2000", "2000", "2000", "", "", "", ""]]);
    }

    #[test]
    fn table_leaves_out_what_has_no_title() {
        let table = report().table();
        let cells: Vec<Vec<&str>> =
            table.lines().map(|l| l.trim_matches('|').split('|').map(str::trim).collect()).collect();
        assert_eq!(cells[0], ["stack", "block", "messages/s", "× first (min–max)"]);
        assert_eq!(cells[2], ["rustls, \"plain\"", "512", "1000", "1.00 (0.88–1.36)"]);
        assert_eq!(cells[3], ["ours <&>", "512", "2000", ""]);
    }

    #[test]
    fn help_has_every_name_of_the_header() {
        let help = help_columns("sample", &COLUMNS);
        let contents = report().csv().expect("CSV");
        let header = String::from_utf8(contents).expect("text");
        for name in header.lines().next().expect("a header").split(',') {
            assert!(help.contains(name), "no {name} in: {help}");
        }
        assert!(help.contains("Who sends."));
    }

    #[test]
    fn a_chart_has_a_bar_for_each_row_but_those_left_out() {
        let all = report().svg(&CHART).expect("drawn");
        assert!(all.contains("512 B &amp; more") && all.contains("rustls") && all.contains("ours"), "{all}");
        let less = report().svg(&Chart { leave_out: &["ours <&>"], ..CHART }).expect("drawn");
        assert!(less.contains("rustls") && !less.contains("ours"), "{less}");
    }

    #[test]
    fn columns_that_do_not_exist_are_named() {
        let cases = [
            (Chart { value: "speed", ..CHART }, "no column speed"),
            (Chart { panel: "{nothing}", ..CHART }, "{nothing}"),
        ];
        for (chart, part) in cases {
            let line = report().svg(&chart).expect_err("no such column").to_string();
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn files_are_saved_only_where_asked_for() {
        let dir = tempfile::tempdir().expect("temporary directory");
        report().save(&OutArgs::default(), &CHART).expect("nothing to do");
        let out = OutArgs { out: Some(dir.path().join("new/place")) };
        for _ in 0..2 {
            report().save(&out, &CHART).expect("saved, also over older files");
        }
        let saved = |name: &str| fs::read(dir.path().join("new/place").join(name)).expect(name);
        assert_eq!(saved("sample.csv"), report().csv().expect("CSV"));
        assert_eq!(saved("sample.svg"), report().svg(&CHART).expect("SVG").into_bytes());
        let file = OutArgs { out: Some(dir.path().join("new/place/sample.csv/below")) };
        for result in [file.prepare(), report().save(&file, &CHART)] {
            let line = result.expect_err("a file is no directory").to_string();
            assert!(line.starts_with("create directory: ") && line.contains("sample.csv/below: "), "{line}");
        }
    }

    #[test]
    #[should_panic(expected = "messages_per_s")]
    fn a_value_in_the_wrong_column_is_found() {
        let (text, count) = (Value::Text("x".into()), Value::Count(1));
        Report::new("sample", &COLUMNS).row(vec![text, count.clone(), count, Value::Missing, Value::Missing]);
    }
}
