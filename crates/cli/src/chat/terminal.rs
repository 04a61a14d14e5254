//! A chat on the whole screen of a terminal.
//!
//! What: keys in, a [`View`] drawn. How it moves: a thread reads the keyboard, which cannot be given up; what happens is
//! drawn at once after a key, and otherwise at most every 30 ms, however much happens.

use std::io::IsTerminal as _;
use std::time::Duration;

use anyhow::Context as _;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{
    self, DisableBracketedPaste, EnableBracketedPaste, KeyCode, KeyEventKind, KeyModifiers,
};
use ratatui::crossterm::execute;
use ratatui::layout::Rect;
use reliable_channel::reliable::{ChannelEvent, Events, Node, ReliableChannel};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tui_input::backend::crossterm::EventHandler as _;
use tui_input::{Input, InputRequest};

use super::draw::{Scroll, draw, scroll};
use super::file::Files;
use super::heard::Heard;
use super::said;
use super::view::{Tick, View};
use crate::network::Coming;

/// How long what happens may wait to be shown.
const FRAME: Duration = Duration::from_millis(30);
/// How often is looked at what is missing and who is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Whether there is a terminal to draw on and to type in.
pub(super) fn is_there() -> bool {
    std::io::stdin().is_terminal() && std::io::stdout().is_terminal()
}

/// What a key asks for.
#[derive(Debug, PartialEq)]
enum Wish {
    Say(String),
    Scroll(Scroll),
    Leave,
}

/// Chats until the user leaves, or is made to.
pub(super) async fn chat(
    node: &Node,
    lobby: &ReliableChannel,
    files: &Files,
    events: &mut Events,
    network: &mut Coming,
    view: &mut View,
) -> anyhow::Result<()> {
    let mut screen = Screen::open(view)?;
    screen.draw()?;
    let mut keys = read_keys();
    let mut looks = tokio::time::interval(LOOK);
    let mut terminated = std::pin::pin!(terminated());
    let mut frames = tokio::time::interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_old = false;
    loop {
        tokio::select! {
            key = keys.recv() => {
                let Some(key) = key else { return Ok(()) };
                match screen.key(&key.context("cannot read the keyboard")?) {
                    Some(Wish::Say(text)) => say(node, lobby, text, screen.view).await,
                    Some(Wish::Scroll(by)) => screen.scroll(by)?,
                    Some(Wish::Leave) => return Ok(()),
                    None => {}
                }
                screen.draw()?;
                is_old = false;
            }
            event = events.next() => {
                let Some(event) = event else { return Ok(()) };
                take_in(screen.view, event, files, screen.now);
                is_old = true;
            }
            notice = network.notice() => if let Some(notice) = notice? {
                screen.view.notice(&notice);
                is_old = true;
            },
            _ = looks.tick() => {
                screen.now += LOOK;
                screen.view.missing = node.manager().repair_requests(lobby.id()).map_or(0, |asked| asked.len());
                is_old = true;
            }
            _ = frames.tick(), if is_old => {
                screen.draw()?;
                is_old = false;
            }
            () = &mut terminated => return Ok(()),
        }
    }
}

/// The terminal, which is given back as it was, whatever happens.
struct Screen<'a> {
    terminal: DefaultTerminal,
    view: &'a mut View,
    input: Input,
    /// Running time, as far as people care.
    now: Duration,
}

impl<'a> Screen<'a> {
    fn open(view: &'a mut View) -> anyhow::Result<Self> {
        let terminal = ratatui::try_init().context("cannot draw on this terminal; --plain needs none")?;
        let screen = Self { terminal, view, input: Input::default(), now: Duration::ZERO };
        execute!(std::io::stdout(), EnableBracketedPaste).context("cannot write to the terminal")?;
        Ok(screen)
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        let (view, input, now) = (&*self.view, &self.input, self.now);
        self.terminal.draw(|frame| draw(frame, view, input, now)).context("cannot write to the terminal")?;
        Ok(())
    }

    fn scroll(&mut self, by: Scroll) -> anyhow::Result<()> {
        let size = self.terminal.size().context("the terminal has no size")?;
        scroll(self.view, by, Rect::from(((0, 0).into(), size)));
        Ok(())
    }

    fn key(&mut self, event: &event::Event) -> Option<Wish> {
        let height = self.terminal.size().map_or(24, |size| usize::from(size.height));
        wish(event, &mut self.input, height)
    }
}

impl Drop for Screen<'_> {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = execute!(std::io::stdout(), DisableBracketedPaste);
        ratatui::restore();
    }
}

/// What a key asks for, on a screen of this height. What is typed goes into the input.
fn wish(event: &event::Event, input: &mut Input, height: usize) -> Option<Wish> {
    let key = match event {
        event::Event::Key(key) if key.kind != KeyEventKind::Release => key,
        event::Event::Paste(text) => {
            // Lines that are pasted are one message.
            for c in text.trim_end_matches(['\r', '\n']).chars() {
                input.handle(InputRequest::InsertChar(if c == '\r' || c == '\n' { ' ' } else { c }));
            }
            return None;
        }
        _ => return None,
    };
    let page = height.saturating_sub(4).max(1);
    match (key.code, key.modifiers) {
        (KeyCode::Char('c' | 'd'), KeyModifiers::CONTROL) => Some(Wish::Leave),
        (KeyCode::Enter, _) => {
            let text = input.value_and_reset();
            (!text.trim().is_empty()).then_some(Wish::Say(text))
        }
        (KeyCode::PageUp, _) => Some(Wish::Scroll(Scroll::Up(page))),
        (KeyCode::PageDown, _) => Some(Wish::Scroll(Scroll::Down(page))),
        (KeyCode::Up, _) => Some(Wish::Scroll(Scroll::Up(1))),
        (KeyCode::Down, _) => Some(Wish::Scroll(Scroll::Down(1))),
        (KeyCode::End, _) if input.value().is_empty() => Some(Wish::Scroll(Scroll::Newest)),
        _ => {
            input.handle_event(event);
            None
        }
    }
}

/// Shows what happened.
pub(super) fn take_in(view: &mut View, event: ChannelEvent, files: &Files, now: Duration) {
    match event {
        ChannelEvent::Received(delivery) => {
            view.received(Heard::now(&delivery, files), delivery.body.content.len(), now);
        }
        other => view.event(other, now),
    }
}

/// Says something and shows it; whatever is wrong with it is told, and is not the end.
async fn say(node: &Node, lobby: &ReliableChannel, line: String, view: &mut View) {
    view.bottom = None;
    match said(lobby, line).await {
        Ok((request, text, is_file)) => {
            // Its place is that of the message which carries it.
            let log = node.manager().log(lobby.id()).unwrap_or_default();
            if let Some(logged) = log.iter().rev().find(|logged| logged.body.key.id == *request.message()) {
                let (key, sender) = (logged.body.key.clone(), logged.body.sender.clone());
                view.message(Heard { key, sender, text, is_file, late: false }, Some(Tick::Waiting));
            }
        }
        Err(error) => view.notice(&format!("not sent: {error:#}")),
    }
}

/// What is typed and pasted, and the terminal's new sizes.
fn read_keys() -> mpsc::Receiver<std::io::Result<event::Event>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let failed = event.is_err();
            if sender.blocking_send(event).is_err() || failed {
                return;
            }
        }
    });
    receiver
}

/// Ends when the system asks the program to.
async fn terminated() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let (Ok(mut term), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) {
            tokio::select! { _ = term.recv() => {}, _ = hangup.recv() => {} }
            return;
        }
    }
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::{Event, KeyEvent};

    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn keys_type_say_scroll_and_leave() {
        let mut input = Input::default();
        let mut on = |event| wish(&event, &mut input, 24);
        let none = KeyModifiers::NONE;
        assert_eq!(on(press(KeyCode::Enter, none)), None, "there is nothing to say");
        for c in "hu".chars() {
            assert_eq!(on(press(KeyCode::Char(c), none)), None);
        }
        on(press(KeyCode::Backspace, none));
        on(Event::Paste("i, all\nof you\n".to_owned()));
        assert_eq!(on(press(KeyCode::End, none)), None, "moves in the line");
        assert_eq!(on(press(KeyCode::Enter, none)), Some(Wish::Say("hi, all of you".to_owned())));
        assert_eq!(on(press(KeyCode::End, none)), Some(Wish::Scroll(Scroll::Newest)));
        assert_eq!(on(press(KeyCode::PageUp, none)), Some(Wish::Scroll(Scroll::Up(20))));
        assert_eq!(on(press(KeyCode::Char('d'), KeyModifiers::CONTROL)), Some(Wish::Leave));
    }
}
