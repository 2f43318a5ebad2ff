use super::*;
use crate::report::{Column, Kind};

const COLUMNS: [Column; 4] = [
    Column { csv: "policy", title: "policy", kind: Kind::Text, about: "" },
    Column { csv: "block_size_bytes", title: "block", kind: Kind::Count, about: "" },
    Column { csv: "rtt_ms", title: "RTT", kind: Kind::Number(0), about: "" },
    Column { csv: "delay_ms", title: "delay", kind: Kind::Number(1), about: "" },
];
const POLICIES: [&str; 3] = ["immediate", "a <b> & \"c\"", "more"];
const BARS: Chart = Chart::Bars {
    title: "Delay & <more>, ms",
    panel: "{block_size_bytes}, {rtt_ms} ms",
    series: "policy",
    value: "delay_ms",
    leave_out: &[],
    highlight: &["more"],
};

fn report() -> Report {
    let mut report = Report::new("sample", &COLUMNS);
    for policy in POLICIES {
        for block in [512, 2 << 20] {
            for rtt in [1.0, 10.0, 200.0] {
                let delay = if policy == "more" { rtt } else { rtt * 3.5 };
                let name = Value::Text(policy.to_owned());
                report.row(vec![name, Value::Count(block), Value::Number(rtt), Value::Number(delay)]);
            }
        }
    }
    report
}

/// All text of a picture, which must be well-formed XML.
fn texts(svg: &str) -> Vec<String> {
    let tree = roxmltree::Document::parse(svg).expect("well-formed");
    assert_eq!(tree.root_element().tag_name().name(), "svg");
    let texts = tree.descendants().filter(|n| n.has_tag_name("text"));
    texts.filter_map(|n| n.text()).map(|t| t.trim().to_owned()).collect()
}

#[test]
fn pictures_are_well_formed_and_name_everything() {
    let texts = texts(&draw(&BARS, &report()).expect("drawn"));
    for expected in POLICIES.iter().chain(&["512 B, 10 ms", "2 MiB, 200 ms", "Delay & <more>, ms"]) {
        assert!(texts.iter().any(|t| t == expected), "no {expected:?} in {texts:?}");
    }
}

#[test]
fn bars_are_as_long_as_their_figures() {
    let svg = draw(&BARS, &report()).expect("drawn");
    let tree = roxmltree::Document::parse(&svg).expect("well-formed");
    let widths: Vec<f64> = tree
        .descendants()
        .filter(|n| n.has_tag_name("rect"))
        .map(|n| n.attribute("width").and_then(|w| w.parse().ok()).expect("a width"))
        .collect();
    // The last panel has immediate, the one with the odd name, and more: 3.5 to 3.5 to 1.
    let [.., first, second, ours] = widths[..] else { panic!("too few bars: {widths:?}") };
    assert_eq!(first, second);
    assert!((first / ours - 3.5).abs() < 0.05, "{first} {ours}");
}

#[test]
fn nothing_to_draw_is_no_failure() {
    texts(&draw(&BARS, &Report::new("sample", &COLUMNS)).expect("a headline alone"));
}

#[test]
fn columns_that_do_not_exist_are_named() {
    let Chart::Bars { title, series, highlight, .. } = BARS;
    let chart = |panel, value| Chart::Bars { title, panel, series, value, leave_out: &[], highlight };
    for (chart, part) in [(chart("", "speed"), "no column speed"), (chart("{nothing}", "delay_ms"), "{nothing}")] {
        let line = draw(&chart, &report()).expect_err("no such column").to_string();
        assert!(line.contains(part), "{line}");
    }
}

#[test]
fn what_is_left_out_has_no_bar() {
    let Chart::Bars { title, panel, series, value, highlight, .. } = BARS;
    let chart = Chart::Bars { title, panel, series, value, highlight, leave_out: &["more"] };
    let (all, less) = (draw(&BARS, &report()).expect("drawn"), draw(&chart, &report()).expect("drawn"));
    assert!(texts(&all).iter().any(|text| text == "more") && !texts(&less).iter().any(|text| text == "more"));
}

#[test]
fn figures_are_short() {
    let cases = [(0.0, "0"), (0.875, "0.88"), (1.0, "1"), (12.34, "12.3"), (9876.0, "9876"), (12_345.0, "12.3 k")];
    for (number, text) in cases.into_iter().chain([(1_234_567.0, "1.23 M"), (2.5e9, "2.5 G"), (0.0123, "0.012")]) {
        assert_eq!(short(number), text);
    }
    let sizes = [(512, "512 B"), (1391, "1391 B"), (32 << 10, "32 KiB"), (2 << 20, "2 MiB"), (1 << 30, "1 GiB")];
    for (bytes, text) in sizes {
        assert_eq!(size(bytes), text);
    }
}

/// WCAG 2.2's contrast ratio.
fn contrast(a: RGBColor, b: RGBColor) -> f64 {
    let luminance = |RGBColor(r, g, b): RGBColor| {
        let [r, g, b] = [r, g, b].map(|c| {
            let c = f64::from(c) / 255.0;
            if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
        });
        0.2126 * r + 0.7152 * g + 0.0722 * b
    };
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_stand_out_on_light_and_dark_pages() {
    for page in [RGBColor(0xff, 0xff, 0xff), RGBColor(0x0d, 0x11, 0x17)] {
        assert!(contrast(TEXT, page) >= 4.3, "{TEXT:?} on {page:?}: {}", contrast(TEXT, page));
        for colour in [HIGHLIGHTED_BAR, ORDINARY_BAR] {
            assert!(contrast(colour, page) >= 3.0, "{colour:?} on {page:?}: {}", contrast(colour, page));
        }
    }
}
