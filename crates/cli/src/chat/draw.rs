//! Draws a [`View`]: who chats above, messages from the bottom up, what is wrong, and the line that is being typed.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::{Color, Style, Stylize as _};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;
use tui_input::Input;

use super::view::{Shown, Tick, View};

const PROMPT: &str = "> ";
const HELP: &str = "Enter sends, PgUp and PgDn scroll, Ctrl-D leaves";
/// Colours of names. Anything else of a message has the terminal's own.
const NAMES: [Color; 6] = [Color::Cyan, Color::Green, Color::Yellow, Color::Magenta, Color::Blue, Color::Red];

/// How far to scroll, in lines of the screen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scroll {
    Up(usize),
    Down(usize),
    Newest,
}

/// Draws all of it, at this running time.
pub(super) fn draw(frame: &mut Frame<'_>, view: &View, input: &Input, now: Duration) {
    let rows = [Constraint::Length(1), Constraint::Min(1), Constraint::Length(1), Constraint::Length(1)];
    let [head, body, status, typing] = Layout::vertical(rows).areas(frame.area());
    frame.render_widget(Line::from(title(view, now)).reversed(), head);
    frame.render_widget(Paragraph::new(visible(view, body)), body);
    frame.render_widget(Line::from(state(view, now)).dim(), status);
    draw_input(frame, input, typing);
}

/// Moves what is shown in an area of this size.
pub(super) fn scroll(view: &mut View, by: Scroll, area: Rect) {
    let (width, page) = body_size(area);
    let Some(last) = view.items().len().checked_sub(1) else { return };
    let (mut index, mut hidden) = view.bottom.unwrap_or((last, 0));
    match by {
        Scroll::Newest => {
            view.bottom = None;
            return;
        }
        Scroll::Up(lines) => {
            hidden += lines;
            while index > 0 && hidden >= height(view.item(index), width) {
                hidden -= height(view.item(index), width);
                index -= 1;
            }
            // The oldest stays at the top.
            let (top, rest) = first_page(view, width, page);
            if (index, std::cmp::Reverse(hidden)) < (top, std::cmp::Reverse(rest)) {
                (index, hidden) = (top, rest);
            }
        }
        Scroll::Down(mut lines) => {
            while lines > hidden && index < last {
                lines -= hidden;
                index += 1;
                hidden = height(view.item(index), width);
            }
            hidden = hidden.saturating_sub(lines);
        }
    }
    view.bottom = ((index, hidden) != (last, 0)).then_some((index, hidden));
}

/// Width and height of what messages are shown in.
fn body_size(area: Rect) -> (usize, usize) {
    (usize::from(area.width).max(1), usize::from(area.height.saturating_sub(3)).max(1))
}

/// The last item of the oldest page, and how many of its lines are below it.
fn first_page(view: &View, width: usize, page: usize) -> (usize, usize) {
    let mut lines = 0;
    for (index, item) in view.items().enumerate() {
        lines += height(item, width);
        if lines >= page {
            return (index, lines - page);
        }
    }
    (view.items().len().saturating_sub(1), 0)
}

fn height(item: &Shown, width: usize) -> usize {
    lines_of(item, width).len()
}

/// The lines that fit, from the last one up.
fn visible(view: &View, area: Rect) -> Vec<Line<'static>> {
    let (width, page) = (usize::from(area.width).max(1), usize::from(area.height));
    let last = view.items().len().saturating_sub(1);
    let (bottom, mut hidden) = view.bottom.unwrap_or((last, 0));
    let mut lines: Vec<Line<'static>> = Vec::with_capacity(page);
    for item in view.items().take(bottom + 1).rev() {
        let item = lines_of(item, width);
        lines.extend(item.into_iter().rev().skip(hidden));
        hidden = 0;
        if lines.len() >= page {
            break;
        }
    }
    lines.truncate(page);
    // What there is stands at the bottom.
    lines.resize_with(page, Line::default);
    lines.reverse();
    lines
}

fn lines_of(item: &Shown, width: usize) -> Vec<Line<'static>> {
    match item {
        Shown::Message { .. } => message(item, width),
        Shown::Gap { missing, .. } => {
            let text = match missing {
                1 => "\u{2504} 1 message is missing here; it is asked for".to_owned(),
                more => format!("\u{2504} {more} messages are missing here; they are asked for"),
            };
            wrapped(&text, width).into_iter().map(|line| Line::from(line).yellow()).collect()
        }
        Shown::Notice(text) => {
            wrapped(&format!("* {text}"), width).into_iter().map(|line| Line::from(line).dim()).collect()
        }
    }
}

fn message(item: &Shown, width: usize) -> Vec<Line<'static>> {
    let Shown::Message { at, sender, text, is_file, tick, late } = item else { return Vec::new() };
    let at = format!("{at} ");
    // No name and no text looks like a file's line.
    let name = format!("{}<{sender}> ", if *is_file { "+ " } else { "" });
    let remark = match (tick, late) {
        (Some(tick), _) => mark(tick),
        (None, true) => "  (came later)".to_owned(),
        (None, false) => String::new(),
    };
    let style = match tick {
        Some(_) => Style::new().bold(),
        None => Style::new().fg(NAMES[sender.bytes().map(usize::from).sum::<usize>() % NAMES.len()]),
    };
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (index, line) in wrapped(&format!("{at}{name}{text}{remark}"), width).into_iter().enumerate() {
        // Of a time or a name that is longer than the line, so much as is on it.
        let end = |chars: usize| line.char_indices().nth(chars).map_or(line.len(), |(at, _)| at);
        let (time, names) = match index {
            0 => (end(at.chars().count()), end(at.chars().count() + name.chars().count())),
            _ => (0, 0),
        };
        let part = |from: usize, to: usize| line[from..to].to_owned();
        lines.push(Line::from(vec![
            Span::raw(part(0, time)).dim(),
            Span::styled(part(time, names), style),
            Span::raw(part(names, line.len())),
        ]));
    }
    lines
}

fn mark(tick: &Tick) -> String {
    match tick {
        Tick::Waiting => "  \u{2026}".to_owned(),
        Tick::Sending(hundredths) => format!("  \u{2026} {hundredths} % sent"),
        Tick::Sent => "  \u{2713}".to_owned(),
        Tick::Failed(why) => format!("  \u{2717} {why}"),
        Tick::Probably => "  \u{2713}?".to_owned(),
        Tick::Delivered(by) => format!("  \u{2713}\u{2713} {}", by.join(", ")),
    }
}

/// Lines of at most this width. Lines of one text that follow its first are set in.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let indent = if width > 8 { "  " } else { "" };
    let mut lines = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let first = if index == 0 { "" } else { indent };
        let options = textwrap::Options::new(width).initial_indent(first).subsequent_indent(indent);
        lines.extend(textwrap::wrap(line, options).into_iter().map(|line| line.into_owned()));
    }
    lines
}

fn title(view: &View, now: Duration) -> String {
    let heard: Vec<String> = view.heard(now).map(|(who, ago)| format!("{who}{}", since(ago))).collect();
    let heard = if heard.is_empty() { "nobody yet".to_owned() } else { heard.join(", ") };
    format!(" {} \u{b7} you are {} \u{b7} heard: {heard} ", view.channel, view.me)
}

fn since(ago: Duration) -> String {
    match ago.as_secs() {
        0..30 => String::new(),
        seconds @ 30..60 => format!(" ({seconds} s ago)"),
        seconds => format!(" ({} min ago)", seconds / 60),
    }
}

fn state(view: &View, now: Duration) -> String {
    let mut parts: Vec<String> = view.trouble.iter().map(|(what, why)| format!("{what}: {why}")).collect();
    parts.extend(view.coming(now));
    if view.missing > 0 {
        parts.push(format!("{} missing, asked for", view.missing));
    }
    if view.bottom.is_some() {
        parts.push("newer ones below: End".to_owned());
    }
    if parts.is_empty() { HELP.to_owned() } else { parts.join(" \u{b7} ") }
}

fn draw_input(frame: &mut Frame<'_>, input: &Input, area: Rect) {
    let width = usize::from(area.width).saturating_sub(PROMPT.len() + 1);
    let hidden = input.visual_scroll(width);
    let hidden = u16::try_from(hidden).unwrap_or(u16::MAX);
    let [prompt, line] = Layout::horizontal([Constraint::Length(PROMPT.len() as u16), Constraint::Min(1)]).areas(area);
    frame.render_widget(Line::from(PROMPT), prompt);
    frame.render_widget(Paragraph::new(input.value()).scroll((0, hidden)), line);
    let at = u16::try_from(input.visual_cursor()).unwrap_or(u16::MAX).saturating_sub(hidden);
    frame.set_cursor_position(Position::new(line.x.saturating_add(at), line.y));
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::times::tests::first_day;
    use super::super::view::tests::heard;
    use super::*;

    fn view(messages: u64) -> View {
        let mut view = View::new(&"alice".into(), "lobby", first_day());
        for time in 1..=messages {
            view.message(heard(time, "m", "bob", &format!("number {time}")), None);
        }
        view
    }

    fn screen_of(view: &View, typed: &str, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let input = Input::from(typed);
        terminal.draw(|frame| draw(frame, view, &input, Duration::from_secs(40))).unwrap();
        let buffer = terminal.backend().buffer();
        let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
        (0..height).map(line).collect()
    }

    #[test]
    fn a_screen_shows_who_is_here_what_was_said_and_what_is_typed() {
        let mut view = view(2);
        view.message(heard(3, "own", "alice", "a text that is longer than a line"), Some(Tick::Sent));
        view.notice("you are alice");
        assert_eq!(
            screen_of(&view, "hello", 30, 9),
            [
                " lobby \u{b7} you are alice \u{b7} heard",
                "",
                "00:00 <bob> number 1",
                "00:00 <bob> number 2",
                "00:00 <alice> a text that is",
                "  longer than a line  \u{2713}",
                "* you are alice",
                "Enter sends, PgUp and PgDn scr",
                "> hello",
            ]
        );
    }

    #[test]
    fn scrolling_stops_at_both_ends_and_new_messages_move_nothing() {
        let area = Rect::new(0, 0, 26, 8);
        let mut view = view(10);
        let shown = |view: &View| screen_of(view, "", 26, 8)[1..6].to_vec();
        let numbers =
            |from: u64| (from..from + 5).map(|number| format!("00:00 <bob> number {number}")).collect::<Vec<_>>();
        assert_eq!(shown(&view), numbers(6));
        scroll(&mut view, Scroll::Up(2), area);
        assert_eq!(shown(&view), numbers(4));
        view.message(heard(11, "m", "bob", "number 11"), None);
        assert_eq!(shown(&view), numbers(4));
        scroll(&mut view, Scroll::Up(100), area);
        assert_eq!(shown(&view), numbers(1));
        scroll(&mut view, Scroll::Down(3), area);
        assert_eq!(shown(&view), numbers(4));
        scroll(&mut view, Scroll::Down(100), area);
        assert_eq!((shown(&view), view.bottom), (numbers(7), None));
        scroll(&mut view, Scroll::Up(1), area);
        scroll(&mut view, Scroll::Newest, area);
        assert_eq!(shown(&view), numbers(7));
    }

    #[test]
    fn a_message_that_is_higher_than_the_screen_scrolls_line_by_line() {
        let area = Rect::new(0, 0, 20, 6);
        let mut view = View::new(&"alice".into(), "lobby", first_day());
        let text: Vec<String> = (1..=9).map(|line| line.to_string()).collect();
        view.message(heard(1, "m", "bob", &text.join("\n")), None);
        let shown = |view: &View| screen_of(view, "", 20, 6)[1..4].to_vec();
        assert_eq!(shown(&view), ["  7", "  8", "  9"]);
        scroll(&mut view, Scroll::Up(2), area);
        assert_eq!(shown(&view), ["  5", "  6", "  7"]);
        scroll(&mut view, Scroll::Up(100), area);
        assert_eq!(shown(&view), ["00:00 <bob> 1", "  2", "  3"]);
        scroll(&mut view, Scroll::Down(1), area);
        assert_eq!(shown(&view), ["  2", "  3", "  4"]);
    }

    #[test]
    fn no_size_of_the_terminal_and_no_text_is_too_small_or_too_wide() {
        let mut view = view(3);
        view.message(heard(9, "wide", "\u{4f60}\u{597d}", "\u{1f468}\u{200d}\u{1f469}\u{4f60}\u{597d}e\u{301}"), None);
        for (width, height) in (1..12).flat_map(|width| (1..8).map(move |height| (width, height))) {
            screen_of(&view, "\u{4f60}\u{597d} typed", width, height);
            scroll(&mut view, Scroll::Up(3), Rect::new(0, 0, width, height));
            scroll(&mut view, Scroll::Down(1), Rect::new(0, 0, width, height));
        }
    }
}
