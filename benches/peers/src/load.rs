//! Load that wrk cannot make: a fixed number of requests, Unix sockets, thousands at once, churn.
//!
//! Prints one line of JSON: what was answered, by status, in how many different bodies.

mod plan;
mod reply;

use std::collections::{BTreeMap, HashSet};
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::wire::{self, Wire};
pub(crate) use plan::Plan;
use plan::Requests;
use reply::Reply;

/// Answers that take longer are given up.
const PATIENCE: Duration = Duration::from_secs(20);

struct Connection {
    stream: Box<dyn Wire>,
    out: Vec<u8>,
    reply: Vec<u8>,
    waits: bool,
    answered: usize,
}

#[derive(Default)]
struct Tally {
    answered: u64,
    failed: u64,
    opened: u64,
    statuses: BTreeMap<u16, u64>,
    bodies: HashSet<u64>,
}

struct Load<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    requests: Requests,
    until: Instant,
    tally: Tally,
}

pub(crate) fn run(plan: &Plan) -> Outcome<()> {
    let mut load = Load {
        plan,
        poll: Poll::new()?,
        connections: Vec::new(),
        requests: plan.requests()?,
        until: Instant::now(),
        tally: Tally::default(),
    };
    for at in 0..plan.connections {
        let connection = load.open(at)?;
        load.connections.push(connection);
    }
    let began = Instant::now();
    load.until = began + plan.time;
    load.send()?;
    load.tally.print(began.elapsed());
    Ok(())
}

impl Load<'_> {
    fn open(&mut self, at: usize) -> Outcome<Connection> {
        let mut stream = wire::connect(&self.plan.target)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll
            .registry()
            .register(&mut stream, Token(at), both)?;
        self.tally.opened += 1;
        Ok(Connection {
            stream,
            out: Vec::new(),
            reply: Vec::new(),
            waits: false,
            answered: 0,
        })
    }

    /// Sends on every connection, then again on each whose answer came, until the end.
    fn send(&mut self) -> Outcome<()> {
        for at in 0..self.connections.len() {
            self.ask(at)?;
        }
        let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 << 10]);
        while self.connections.iter().any(|connection| connection.waits) {
            match self.poll.poll(&mut events, Some(PATIENCE)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            if events.is_empty() {
                let late = self
                    .connections
                    .iter()
                    .filter(|connection| connection.waits)
                    .count();
                self.tally.failed += late as u64;
                break;
            }
            for event in &events {
                self.proceed(event.token().0, &mut buffer)?;
            }
        }
        Ok(())
    }

    fn ask(&mut self, at: usize) -> Outcome<()> {
        let connection = &mut self.connections[at];
        connection.waits = false;
        connection.out.clear();
        if Instant::now() < self.until && self.requests.next(&mut connection.out) {
            connection.waits = true;
            connection.flush()?;
        }
        Ok(())
    }

    fn proceed(&mut self, at: usize, buffer: &mut [u8]) -> Outcome<()> {
        let connection = &mut self.connections[at];
        if !connection.waits {
            return Ok(());
        }
        let reply = match connection.flush().and_then(|()| connection.read(buffer)) {
            Ok(None) => return Ok(()),
            Ok(Some(reply)) => reply,
            Err(_) => {
                self.tally.failed += 1;
                self.connections[at] = self.open(at)?;
                return self.ask(at);
            }
        };
        connection.answered += 1;
        let is_used_up = connection.answered == self.plan.close_after;
        self.tally.count(&reply, self.plan.compare_bodies);
        if is_used_up || reply.closes {
            self.connections[at] = self.open(at)?;
        }
        self.ask(at)
    }
}

impl Connection {
    fn flush(&mut self) -> std::io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) if count == self.out.len() => self.out.clear(),
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The whole answer, once it is there.
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<Option<Reply>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    self.reply.extend_from_slice(&buffer[..count]);
                    if let Some(reply) = Reply::parse(&self.reply)? {
                        self.reply.clear();
                        return Ok(Some(reply));
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

impl Tally {
    fn count(&mut self, reply: &Reply, compare_bodies: bool) {
        self.answered += 1;
        *self.statuses.entry(reply.status).or_default() += 1;
        if compare_bodies {
            self.bodies.insert(reply.body);
        }
    }

    fn print(&self, took: Duration) {
        let statuses: Vec<String> = self
            .statuses
            .iter()
            .map(|(status, count)| format!("\"{status}\":{count}"))
            .collect();
        println!(
            "{{\"answered\":{},\"failed\":{},\"opened\":{},\"bodies\":{},\"seconds\":{:.6},\"statuses\":{{{}}}}}",
            self.answered,
            self.failed,
            self.opened,
            self.bodies.len(),
            took.as_secs_f64(),
            statuses.join(",")
        );
    }
}
