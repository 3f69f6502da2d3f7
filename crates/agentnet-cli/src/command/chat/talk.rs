//! The talk itself: lines out, replies and messages in.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use agentnet::{
    AgentNode, Observation, Observed, Target,
    proto::{Envelope, IdGen as _, Payload, StreamFrame, SystemClock, SystemIds},
};
use tokio::{signal, sync::mpsc};

use super::{
    Args,
    input::{Input, Reader},
    line::Line,
    view::View,
};
use crate::{
    command::{
        Context,
        ask::{Question, ask},
        join::leave,
        spinner,
    },
    failure::Failure,
    network::Network,
};

/// Agent id under which the command appears in the registry, as in the original.
const AGENT_ID: &str = "cli_chat";
/// Messages that wait to be shown; more are dropped, as they would scroll by unread.
const INCOMING: usize = 256;
/// Message ids remembered, so that one that comes on two ways is shown once.
const SEEN: usize = 1024;
/// What a prompt says.
const PROMPT: &str = "you> ";

/// Talks until the end.
///
/// # Errors
/// As [`super::run`].
pub async fn run(
    ctx: &Context,
    args: &Args,
    network: &Network,
    target: Target,
    who: String,
    history: Option<PathBuf>,
) -> Result<(), Failure> {
    let ids = SystemIds::new(SystemClock::shared());
    let thread = args.about.thread_id.clone().unwrap_or_else(|| format!("thread_cli_{}", ids.ulid_lower()));
    let (node, incoming) = join(ctx, network).await?;
    let mut reader = Reader::new(history, PROMPT)?;
    let view = View::new(ctx.out, args.raw, reader.above.take());
    let mut talk = Talk {
        node: &node,
        target,
        who,
        timeout: args.timeout,
        thread,
        parent: args.about.parent_message_id.clone(),
        seen: Seen::default(),
        incoming,
        view,
    };
    let ended = talk.go(&mut reader).await;
    leave(&node).await;
    ended
}

/// A node that takes messages, and two ways for them to be heard: as a session of the account, which shares them with
/// other chats, and as a listener that hears all of them, to pick those of this thread.
async fn join(ctx: &Context, network: &Network) -> Result<(AgentNode, mpsc::Receiver<Heard>), Failure> {
    let (heard, incoming) = mpsc::channel(INCOMING);
    let ours = heard.clone();
    let node = ctx
        .agent(network, AGENT_ID)?
        .on_message(move |message| {
            let ours = ours.clone();
            async move {
                // Nobody reads a full screen; the history has it.
                let _ = ours.try_send(Heard { envelope: Box::new(message.envelope().clone()), ours: true });
                Ok(())
            }
        })
        .start()
        .await?;
    // Goes on over renewals of the connection, which secure mode has every hour.
    tokio::spawn(overhear(node.observe(&[Observed::Mail]).await?, heard));
    Ok((node, incoming))
}

/// Hears everything until the node is closed.
async fn overhear(mut mail: Observation, heard: mpsc::Sender<Heard>) {
    while let Some(message) = mail.next().await {
        if heard.is_closed() {
            return;
        }
        if let Ok(envelope) = Envelope::decode(&message.payload) {
            let _ = heard.try_send(Heard { envelope: Box::new(envelope), ours: false });
        }
    }
}

/// A message that came by itself.
struct Heard {
    envelope: Box<Envelope>,
    /// Whether this session took it, not just overheard it.
    ours: bool,
}

/// Ids of messages shown.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Whether `id` is new.
    fn insert(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > SEEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

struct Talk<'a> {
    node: &'a AgentNode,
    target: Target,
    who: String,
    timeout: Duration,
    thread: String,
    parent: Option<String>,
    seen: Seen,
    incoming: mpsc::Receiver<Heard>,
    view: View,
}

impl Talk<'_> {
    async fn go(&mut self, reader: &mut Reader) -> Result<(), Failure> {
        self.view.welcome(&self.who, &self.thread)?;
        let interactive = reader.is_interactive();
        let mut last = Ok(());
        loop {
            reader.prompt();
            let text = match self.next_input(reader).await? {
                Input::Line(text) => text,
                Input::End => return last,
                Input::Interrupt => return Err(Failure::Interrupted),
                Input::Failed(why) => {
                    return Err(Failure::local("input", format!("standard input can't be read: {why}"), ""));
                }
            };
            match Line::read(&text) {
                Line::Empty => {}
                Line::Quit => return last,
                Line::Help => self.view.help()?,
                Line::ShowThread => self.view.thread(&self.thread)?,
                Line::Thread(id) => {
                    self.thread = id;
                    self.parent = None;
                    self.view.remark(&format!("going on in {}", self.thread))?;
                }
                Line::Unknown(command) => {
                    self.view.remark(&format!("{command}? /help shows the commands"))?
                }
                Line::Say(text) => match self.say(&text, interactive).await {
                    Ok(()) => last = Ok(()),
                    Err(Failure::OutputClosed) => return Err(Failure::OutputClosed),
                    Err(Failure::Interrupted) if interactive => self.view.remark("stopped waiting")?,
                    Err(Failure::Interrupted) => return Err(Failure::Interrupted),
                    Err(failure) => {
                        self.view.failed(&failure)?;
                        // A script wants to know; a person has read it.
                        last = if interactive { Ok(()) } else { Err(Failure::Reported(failure.exit_code())) };
                    }
                },
            }
        }
    }

    /// The next line; messages that come meanwhile are shown.
    async fn next_input(&mut self, reader: &mut Reader) -> Result<Input, Failure> {
        loop {
            tokio::select! {
                biased;
                input = reader.line() => return Ok(input),
                Some(heard) = self.incoming.recv() => self.show(&heard)?,
                _ = signal::ctrl_c() => return Ok(Input::Interrupt),
            }
        }
    }

    async fn say(&mut self, text: &str, interactive: bool) -> Result<(), Failure> {
        let payload = Payload::text(text);
        let (target, who, thread, parent) =
            (self.target.clone(), self.who.clone(), self.thread.clone(), self.parent.clone());
        let question = Question {
            target: &target,
            who: &who,
            payload: &payload,
            thread: Some(&thread),
            parent: parent.as_deref(),
            idempotency_key: None,
            timeout: self.timeout,
        };
        // What is said before the reply is complete comes this way; each of it is small and bounded together.
        let (say, mut said) = mpsc::unbounded_channel();
        let asked = ask(self.node, question, move |delta| {
            // Fails only once nobody listens any more.
            let _ = say.send(delta);
            Ok(())
        });
        tokio::pin!(asked);
        let wheel = interactive.then(|| spinner(format!("waiting for {who}")));
        let reply = loop {
            tokio::select! {
                biased;
                Some(delta) = said.recv() => {
                    if let Some(wheel) = &wheel {
                        wheel.finish_and_clear();
                    }
                    self.view.delta(&who, &delta)?;
                }
                reply = &mut asked => break reply,
                Some(heard) = self.incoming.recv() => match &wheel {
                    Some(wheel) => wheel.suspend(|| self.show(&heard))?,
                    None => self.show(&heard)?,
                },
                _ = signal::ctrl_c() => break Err(Failure::Interrupted),
            }
        };
        if let Some(wheel) = wheel {
            wheel.finish_and_clear();
        }
        while let Ok(delta) = said.try_recv() {
            self.view.delta(&who, &delta)?;
        }
        let was_shown = self.view.end_deltas()?;
        let reply = reply?;
        self.thread = reply.thread_id_or_default().into_owned();
        self.parent = Some(reply.message_id.clone());
        if was_shown { Ok(()) } else { self.view.reply(&reply) }
    }

    fn show(&mut self, heard: &Heard) -> Result<(), Failure> {
        // What begins a stream says nothing yet; its text is the message that follows.
        if matches!(StreamFrame::of_payload(&heard.envelope.payload), Some(StreamFrame::Start(_))) {
            return Ok(());
        }
        let here = heard.envelope.thread_id_or_default() == self.thread;
        if (heard.ours || here) && self.seen.insert(&heard.envelope.message_id) {
            self.view.incoming(&heard.envelope, &self.thread)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_a_bounded_number_of_ids() {
        let mut seen = Seen::default();
        assert!(seen.insert("a"));
        assert!(!seen.insert("a"));
        for number in 0..SEEN {
            assert!(seen.insert(&number.to_string()));
        }
        assert_eq!(seen.ids.len(), SEEN);
        assert!(seen.insert("a"));
    }
}
