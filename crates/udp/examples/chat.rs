//! A chat for the terminal, over UDP: the program of docs/build-a-chat.md, which explains it.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use reliable_channel::ChannelId;
use reliable_channel::channel::{Config, Delivery, Event, Join};
use reliable_channel::reliable::{
    ChannelEvent, Encryption, EncryptionError, Node, NodeError, ReliableChannel, RequestId,
};
use reliable_channel::state::Body;
use reliable_channel::store::RedbPersistence;
use reliable_channel::transport::Transport;
use reliable_channel_udp::{Options, Udp};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(key)) = (arguments.next(), arguments.next()) else {
        println!("usage: chat NAME KEY, where KEY is a file of 32 bytes that all members have");
        return Ok(());
    };
    let key = fs::read(key)?.try_into().map_err(|_| "a key has 32 bytes")?;
    let network = Udp::join(Options::default()).await?;
    let folder = format!("chat of {name}");
    chat(&name, Path::new(&folder), network, key, BufReader::new(stdin()), |line| println!("{line}")).await
}

/// Says what is typed and shows what is said, until the lines end.
pub async fn chat(
    name: &str,
    folder: &Path,
    network: impl Transport,
    key: [u8; 32],
    lines: impl AsyncBufRead + Unpin,
    screen: impl Fn(String),
) -> Result<(), Box<dyn Error>> {
    let mut config = Config::default();
    config.join = Join::Recent(20);
    let store = Arc::new(RedbPersistence::open(folder)?);
    let node = Node::builder(name).transport(network).persistence(store).config(config).build()?;
    let (lobby, mut events) = node.channel("lobby").encryption(0, Sealed::with(key)).join().await?;

    for logged in lobby.history()? {
        screen(said(&logged.body, folder));
    }
    let mut lines = lines.lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line? {
                Some(line) => screen(match say(&lobby, &line).await {
                    Ok(request) => format!("\u{2026} {}", short(&request)),
                    Err(error) => format!("! not sent: {error}"),
                }),
                None => break,
            },
            Some(event) = events.next() => shown(event, folder).into_iter().for_each(&screen),
        }
    }
    let report = node.shutdown().await;
    if !report.is_clean() {
        screen(format!("! {report:?}"));
    }
    Ok(())
}

/// What an event shows, if it shows anything.
fn shown(event: ChannelEvent, folder: &Path) -> Option<String> {
    Some(match event {
        ChannelEvent::Received(delivery) => format!("{}{}", said(&delivery.body, folder), place(&delivery)),
        ChannelEvent::Sending { request, sent, of } => format!("\u{2026} {}, {sent} of {of} parts", short(&request)),
        ChannelEvent::Sent { request } => format!("\u{2713} {}", short(&request)),
        ChannelEvent::Delivered { request, by, .. } => format!("\u{2713}\u{2713} {}, {by} has it", short(&request)),
        ChannelEvent::DeliveryError { request, .. } => format!("\u{2717} {}, nobody answers", short(&request)),
        ChannelEvent::Receiving { sender, progress } => {
            format!("\u{2026} from {sender}, {} of {} parts", progress.held, progress.needed)
        }
        ChannelEvent::Other(Event::HistoryGap { missing, .. }) => format!("! {missing} messages are missing here"),
        ChannelEvent::Disconnected { error } => format!("! {error}"),
        ChannelEvent::Connected => "! the network is back".to_owned(),
        _ => return None,
    })
}

fn place(delivery: &Delivery) -> &'static str {
    match (delivery.history, delivery.late) {
        (true, _) => " (history)",
        (_, true) => " (late)",
        _ => "",
    }
}

fn short(request: &RequestId) -> String {
    request.to_string().chars().take(6).collect()
}

/// The first byte of a file: none of UTF-8.
const FILE: u8 = 0xff;

async fn say(lobby: &ReliableChannel, line: &str) -> Result<RequestId, Box<dyn Error>> {
    let payload = match line.strip_prefix("/file ") {
        None => line.as_bytes().to_vec(),
        Some(path) => {
            let name = Path::new(path).file_name().ok_or("that is no file")?;
            let name = name.to_str().ok_or("its name is no text")?;
            [&[FILE][..], name.as_bytes(), &[0], &fs::read(path)?].concat()
        }
    };
    lobby.send(payload).await.map_err(|error| match error {
        NodeError::TooLarge { bytes, max } => format!("{bytes} bytes are too many, {max} can be sent").into(),
        error => error.into(),
    })
}

/// A line for what somebody said. A file is kept beside the store, unless it was before.
fn said(body: &Body, folder: &Path) -> String {
    let what = match file(&body.content) {
        None => format!("{}: {}", body.sender, String::from_utf8_lossy(&body.content)),
        Some((name, content)) => match keep(folder, &body.key.id.to_string(), name, content) {
            Ok(path) => format!("{} sends {}", body.sender, path.display()),
            Err(error) => format!("{} sends a file that cannot be kept: {error}", body.sender),
        },
    };
    // Nothing that others say moves the cursor.
    format!("  {}", what.replace(char::is_control, " "))
}

fn file(content: &[u8]) -> Option<(&str, &[u8])> {
    let rest = content.strip_prefix(&[FILE])?;
    let end = rest.iter().position(|byte| *byte == 0)?;
    Some((std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
}

fn keep(folder: &Path, id: &str, name: &str, content: &[u8]) -> io::Result<PathBuf> {
    // The name is somebody else's: of it remain letters, digits and dots, behind the message's own id.
    let safe = |text: &str| text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "_");
    let [id, name] = [safe(id), safe(name)].map(|text| text.chars().take(64).collect::<String>());
    let path = folder.join(format!("{id}-{name}"));
    match fs::File::create_new(&path) {
        Ok(mut file) => file.write_all(content)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    Ok(path)
}

struct Sealed(XChaCha20Poly1305);

impl Sealed {
    fn with(key: [u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(&key.into()))
    }
}

const NONCE: usize = 24;
const TAG: usize = 16;

impl Encryption for Sealed {
    fn overhead(&self) -> usize {
        NONCE + TAG
    }

    fn seal(&self, channel: &ChannelId, message: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|error| EncryptionError::new(error.to_string()))?;
        let payload = Payload { msg: message, aad: channel.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_| EncryptionError::new("too large"))?;
        Ok([&nonce[..], &sealed].concat())
    }

    fn open(&self, channel: &ChannelId, sealed: &[u8]) -> Result<Vec<u8>, EncryptionError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE>().ok_or_else(|| EncryptionError::new("too short"))?;
        let payload = Payload { msg: sealed, aad: channel.as_bytes() };
        self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| EncryptionError::new("another key, or changed"))
    }
}
