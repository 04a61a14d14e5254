//! A channel and what its steps need.
//!
//! What: [`Session`]. Why the core `Channel` and not the manager: a command is one input, and what it led to is told
//! before the next is read. How it moves: [`Session::answer`] hands a command in and carries the [`Step`] out: saved,
//! then transmitted, then told. A command that fails is an error told; a store that fails is the end.

use std::sync::Arc;

use bytes::Bytes;
use reliable_channel::channel::{Fate, Outcome};
use reliable_channel::types::Dialect;
use reliable_channel::{Channel, ChannelId, Input, MessageId, Step, wire};

use super::Args;
use super::clock::Time;
use super::command::{Command, Request};
use super::store::Store;
use super::told::{self, Kept, Named, Place, Plain, RepairIn, RepairOut, State, Told};

pub(super) struct Session {
    channel: Channel,
    dialect: Dialect,
    store: Store,
    time: Time,
    /// A message of the other family was heard.
    foreign: bool,
    /// What the present command led to.
    told: Vec<Told>,
}

impl Session {
    /// The channel as it was saved, and what there is to say of it. No message is larger than the network carries, where there
    /// is one.
    pub(super) fn open(args: &Args, max_bytes: Option<usize>) -> anyhow::Result<(Self, Vec<Told>)> {
        let (sender, authenticator) = args.identity()?;
        let mut time = match args.now {
            Some(now) => Time::stopped(now, &[args.channel.as_bytes(), sender.as_bytes()]),
            None => Time::machine(),
        };
        let id = ChannelId::from(args.channel.as_str());
        let store = Store::open(args.data.as_deref(), args.store, id.clone())?;
        let data = store.load()?;
        let context = time.context()?;
        let mut config = args.config();
        config.authenticator = authenticator;
        config.max_transmit_bytes = max_bytes;
        let (channel, step) = Channel::restore(id, sender.clone(), Arc::new(config), data, &context)?;
        let ready = Told::Ready {
            channel: args.channel.clone(),
            sender: sender.to_string(),
            dialect: told::dialect(args.dialect()),
        };
        let mut session = Self { channel, dialect: args.dialect(), store, time, foreign: false, told: vec![ready] };
        session.carry_out(step)?;
        let told = std::mem::take(&mut session.told);
        Ok((session, told))
    }

    /// Does what a line asks for. Gives what to say, and whether that is the end.
    pub(super) fn answer(&mut self, request: Request) -> anyhow::Result<(Vec<Told>, bool)> {
        let ended = matches!(request.command, Ok(Command::Quit));
        match request.command {
            Ok(command) => self.obey(command)?,
            Err(why) => self.told.push(Told::error(why)),
        }
        self.told.push(Told::Done { seq: request.seq });
        Ok((std::mem::take(&mut self.told), ended))
    }

    /// Takes in what came over a network. Gives what to say.
    pub(super) fn incoming(&mut self, bytes: &Bytes) -> anyhow::Result<Vec<Told>> {
        self.receive(bytes)?;
        Ok(std::mem::take(&mut self.told))
    }

    /// Saves what waited for the next change, and frees the store.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        self.input(Input::Checkpoint)?;
        self.store.close()
    }

    fn obey(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Send { content, id, hint } => self.send(content, id, hint),
            Command::Ephemeral { content } => self.input(Input::SendEphemeral { content }).map(drop),
            Command::Receive { bytes } => self.receive(&bytes),
            Command::Sync => self.input(Input::SendSync).map(drop),
            Command::Online => self.input(Input::Online).map(drop),
            Command::CatchUp => self.input(Input::CatchUp).map(drop),
            Command::Members { epoch, members } => self.input(Input::SetMembers { epoch, members }).map(drop),
            Command::Who { id } => {
                self.told.push(Told::who(&self.channel, &id));
                Ok(())
            }
            Command::Status => {
                self.told.push(Told::from(self.channel.sync_status()));
                Ok(())
            }
            Command::History { before, limit } => {
                let page = self.history(before.as_ref(), limit);
                self.told.push(page);
                Ok(())
            }
            Command::Sweep => self.input(Input::Timeout).map(drop),
            Command::Met { ids } => self.input(Input::DependenciesMet(ids)).map(drop),
            Command::Resend { id } => self.input(Input::Resend(id)).map(drop),
            Command::Withdraw { id } => self.input(Input::Withdraw(id)).map(drop),
            Command::Erase { id } => self.input(Input::Erase(id)).map(drop),
            Command::Clock { ms } => {
                if let Err(error) = self.time.set(ms) {
                    self.told.push(Told::error(error));
                }
                Ok(())
            }
            Command::State => {
                self.told.push(Told::State(Box::new(self.state())));
                Ok(())
            }
            Command::Quit => Ok(()),
        }
    }

    fn send(&mut self, content: Bytes, id: Option<MessageId>, hint: Option<Bytes>) -> anyhow::Result<()> {
        if let (Some(Outcome::Sent(id)), Some(hint)) = (self.input(Input::Send { content, id })?, hint) {
            self.input(Input::SetHint { id, hint })?;
        }
        Ok(())
    }

    fn receive(&mut self, bytes: &Bytes) -> anyhow::Result<()> {
        let message = match wire::decode(bytes, &self.channel.config().limits) {
            Ok((message, dialect)) => {
                self.note_foreign(dialect);
                message
            }
            Err(error) => {
                self.told.push(Told::error(error));
                return Ok(());
            }
        };
        if let Some(Outcome::Received(received)) = self.input(Input::Receive(message))? {
            let id = Named::id(&received.id);
            match received.fate {
                Fate::Duplicate => self.told.push(Told::Duplicate { id }),
                Fate::Echo => self.told.push(Told::Echo { id }),
                // Events have told the others.
                _ => {}
            }
        }
        Ok(())
    }

    /// Tells once that the other network is heard here.
    fn note_foreign(&mut self, heard: Dialect) {
        if !self.foreign && !heard.same_family(self.dialect) {
            self.foreign = true;
            self.told.push(Told::ForeignDialect { heard: told::dialect(heard) });
        }
    }

    fn input(&mut self, input: Input) -> anyhow::Result<Option<Outcome>> {
        let context = self.time.context()?;
        let step = self.channel.handle(&context, input);
        self.carry_out(step)
    }

    fn carry_out(&mut self, step: Step) -> anyhow::Result<Option<Outcome>> {
        self.store.commit(&step.save)?;
        for transmit in step.transmit {
            self.told.push(match wire::encode(&transmit.message, self.dialect) {
                Ok(bytes) => Told::Out {
                    kind: told::kind(transmit.kind),
                    id: Named::id(&transmit.message.id),
                    to: transmit.to.as_ref().map(Named::to),
                    hex: hex::encode(bytes),
                },
                Err(error) => Told::error(error),
            });
        }
        self.told.extend(step.events.into_iter().map(Told::from));
        Ok(step.outcome.map_err(|error| self.told.push(Told::error(error))).ok())
    }

    /// The newest messages of the log, or the newest of those before one of them, newest first.
    fn history(&self, before: Option<&MessageId>, limit: usize) -> Told {
        let mut log = self.channel.log().rev();
        if let Some(before) = before
            && !log.any(|logged| logged.body.key.id == *before)
        {
            return Told::error("before is not in the log");
        }
        let messages = log.by_ref().take(limit).map(|logged| Kept::new(&logged.body)).collect();
        Told::History { messages, more: log.next().is_some() }
    }

    fn state(&self) -> State {
        let channel = &self.channel;
        State {
            log: channel.log().map(|logged| Plain::new(&logged.body.key.id)).collect(),
            outgoing: channel.outgoing().iter().map(|own| Plain::new(&own.id)).collect(),
            incoming: channel.incoming().iter().map(|waiting| Plain::new(&waiting.id)).collect(),
            repair_out: channel
                .requests()
                .iter()
                .map(|missing| RepairOut { id: Named::id(&missing.entry.id), t_req: self.time.wall_ms(missing.due) })
                .collect(),
            repair_in: channel
                .responses()
                .iter()
                .map(|asked| RepairIn { id: Named::id(&asked.id), t_resp: self.time.wall_ms(asked.due) })
                .collect(),
            lamport: channel.meta().lamport.0,
            floor: channel.meta().floor.as_ref().map(Place::new),
            members: channel.members().map(told::Members::from),
            stable: channel.stable_up_to().map(|stable| stable.0),
        }
    }
}
