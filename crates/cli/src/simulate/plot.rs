//! Draws what was simulated: delivered fraction over time, delivery latency, transmissions per message against loss.

use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::*;
use reliable_channel::sim::group::{self, Report};

use super::Args;

const SIZE: (u32, u32) = (900, 1_240);
/// Height of the line that says what was run.
const HEAD: u32 = 40;
/// Lines that a legend names; more would cover the panel.
const NAMED: usize = 10;
const LOSSES: [f64; 6] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5];

/// Its name in the legend, and its points.
type Line = (String, Vec<(f64, f64)>);
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws three panels into an SVG file. The third runs the first seed again under other losses.
pub fn draw(path: &Path, args: &Args, reports: &[Report]) -> anyhow::Result<()> {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    let (top, rest) = root.split_vertically(HEAD);
    let text = format!("{} --seed {} --seeds {}", args.parameters(), args.seed, args.seeds);
    top.draw(&Text::new(text, (12, 12), ("sans-serif", 13))).map_err(|error| anyhow!("{error}"))?;
    let panels = rest.split_evenly((3, 1));
    progress(&panels[0], args, reports)?;
    latency(&panels[1], reports)?;
    against_loss(&panels[2], args)?;
    root.present().map_err(|error| anyhow!("{error}"))
}

fn progress(area: &Area<'_>, args: &Args, reports: &[Report]) -> anyhow::Result<()> {
    let all = (reports.first().map_or(0, |report| report.messages) * (args.participants as usize - 1)).max(1) as f64;
    let lines = reports.iter().map(|report| {
        let line = report.progress.iter().map(|(at, delivered)| (*at as f64 / 1_000.0, *delivered as f64 / all));
        (name(report), line.collect())
    });
    panel(area, "Delivered fraction over time", "seconds", "fraction", lines.collect())
}

fn latency(area: &Area<'_>, reports: &[Report]) -> anyhow::Result<()> {
    let line = |report: &Report| -> Line {
        let line = (0..=200)
            .map(|step| f64::from(step) / 200.0)
            .map(|share| (f64::from(Report::percentile(&report.delivery_ms, share)) / 1_000.0, share))
            .collect();
        (name(report), line)
    };
    panel(area, "Delivery latency", "seconds from sending", "share of deliveries", reports.iter().map(line).collect())
}

fn against_loss(area: &Area<'_>, args: &Args) -> anyhow::Result<()> {
    let point = |loss: f64| {
        let report = group::run(&args.group(args.seed, loss));
        (loss * 100.0, report.transmissions as f64 / report.messages.max(1) as f64)
    };
    let line = (format!("seed {}", args.seed), LOSSES.into_iter().map(point).collect());
    panel(area, "Transmissions per message against loss", "loss in percent", "transmissions", vec![line])
}

fn name(report: &Report) -> String {
    format!("seed {}", report.seed)
}

fn panel(area: &Area<'_>, title: &str, x: &str, y: &str, lines: Vec<Line>) -> anyhow::Result<()> {
    let error = |error: DrawingAreaErrorKind<std::io::Error>| anyhow!("{error}");
    let most = |pick: fn(&(f64, f64)) -> f64| {
        lines.iter().flat_map(|(_, line)| line).map(pick).fold(f64::MIN_POSITIVE, f64::max)
    };
    let (right, top) = (most(|point| point.0) * 1.02, most(|point| point.1) * 1.05);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..right, 0.0..top)
        .map_err(error)?;
    chart.configure_mesh().x_desc(x).y_desc(y).light_line_style(WHITE).draw().map_err(error)?;
    for (index, (name, line)) in lines.into_iter().enumerate() {
        let style = Palette99::pick(index).stroke_width(2);
        let series = chart.draw_series(LineSeries::new(line, style)).map_err(error)?;
        if index < NAMED {
            series.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::LowerRight).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3));
    legend.draw().map_err(error)
}
