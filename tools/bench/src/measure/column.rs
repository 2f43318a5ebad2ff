//! Columns that several tables have.

use tls_cork_report::{Column, Kind};

pub(crate) const fn text(csv: &'static str, title: &'static str, about: &'static str) -> Column {
    Column { csv, title, kind: Kind::Text, about }
}

pub(crate) const fn figure(csv: &'static str, title: &'static str, decimals: usize, about: &'static str) -> Column {
    Column { csv, title, kind: Kind::Number(decimals), about }
}

pub(crate) const fn ratio(csv: &'static str) -> Column {
    Column { csv, title: "ours ÷ this", kind: Kind::Spread(2), about: "Ours over this stack's, in pairs." }
}

pub(crate) const fn verdict(csv: &'static str, title: &'static str) -> Column {
    text(csv, title, "The word for the ratio before it.")
}
