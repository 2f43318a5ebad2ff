use super::*;

fn panel(title: &str, figures: [f64; 3]) -> Panel {
    let names = ["immediate", "a <b> & \"c\"", "more"];
    let bar = |(name, figure): (&str, f64)| Bar {
        name: name.to_owned(),
        figure: Median { median: figure, min: figure, max: figure },
        stands_out: name == "more",
    };
    Panel { title: title.to_owned(), bars: names.into_iter().zip(figures).map(bar).collect() }
}

#[test]
fn pictures_are_well_formed_and_name_everything() {
    let panels = [panel("512 B, 10 ms", [35.0, 35.0, 10.0]), panel("2 MiB & more", [700.0, 1400.0, 200.0])];
    let svg = draw("Delay & <more>, ms", &panels).expect("drawn");
    let tree = roxmltree::Document::parse(&svg).expect("well-formed");
    assert_eq!(tree.root_element().tag_name().name(), "svg");
    let texts = tree.descendants().filter(|n| n.has_tag_name("text")).filter_map(|n| n.text()).map(str::trim);
    let texts: Vec<&str> = texts.collect();
    for expected in ["Delay & <more>, ms", "512 B, 10 ms", "2 MiB & more", "immediate", "a <b> & \"c\"", "more", "1400"]
    {
        assert!(texts.contains(&expected), "no {expected:?} in {texts:?}");
    }
    draw("Nothing", &[]).expect("a headline alone");
}

#[test]
fn bars_are_as_long_as_their_figures() {
    let svg = draw("Delay", &[panel("512 B", [35.0, 35.0, 10.0])]).expect("drawn");
    let tree = roxmltree::Document::parse(&svg).expect("well-formed");
    let bars = tree.descendants().filter(|n| n.has_tag_name("rect"));
    let widths: Vec<f64> = bars.map(|n| n.attribute("width").expect("a width").parse().expect("a number")).collect();
    let [.., first, second, ours] = widths[..] else { panic!("too few bars: {widths:?}") };
    assert_eq!(first, second);
    assert!((first / ours - 3.5).abs() < 0.05, "{first} {ours}");
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
        for colour in [HIGHLIGHT, ORDINARY] {
            assert!(contrast(colour, page) >= 3.0, "{colour:?} on {page:?}: {}", contrast(colour, page));
        }
    }
}
