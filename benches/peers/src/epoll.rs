//! An epoll loop that writes a response at the end of each head, and parses nothing.

use std::io::{self, ErrorKind, Read, Write};

use mio::{Events, Interest, Poll, Token};

use crate::Outcome;
use crate::wire::{Listener, Wire};

const LISTENER: Token = Token(usize::MAX);
const HEAD_END: &[u8] = b"\r\n\r\n";

struct Connection {
    stream: Box<dyn Wire>,
    /// What came of a head that has not ended yet.
    head: Vec<u8>,
    out: Vec<u8>,
}

/// Serves until killed; `answer` gets a head, and appends what to send.
pub(crate) fn serve(
    listen: &str,
    ports_file: &str,
    mut answer: impl FnMut(&[u8], &mut Vec<u8>),
) -> Outcome<()> {
    let mut poll = Poll::new()?;
    let mut listener = Listener::bind(listen)?;
    poll.registry()
        .register(listener.source(), LISTENER, Interest::READABLE)?;
    listener.tell(ports_file)?;
    let (mut connections, mut free) = (Vec::<Option<Connection>>::new(), Vec::new());
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 << 10]);
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            if error.kind() == ErrorKind::Interrupted {
                continue;
            }
            return Err(error.into());
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Some(mut stream) = listener.accept()? {
                    let at = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    let both = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(at), both)?;
                    connections[at] = Some(Connection {
                        stream,
                        head: Vec::new(),
                        out: Vec::new(),
                    });
                }
                continue;
            }
            let Token(at) = event.token();
            let Some(connection) = &mut connections[at] else {
                continue;
            };
            if connection.proceed(&mut buffer, &mut answer).is_err() {
                connections[at] = None;
                free.push(at);
            }
        }
    }
}

impl Connection {
    /// Reads what came and answers it; an error ends the connection.
    fn proceed(
        &mut self,
        buffer: &mut [u8],
        answer: &mut impl FnMut(&[u8], &mut Vec<u8>),
    ) -> io::Result<()> {
        self.flush()?;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.head.extend_from_slice(&buffer[..count]);
            // Nobody here sends a request before the last one is answered, so that a head ends last.
            if self.head.ends_with(HEAD_END) {
                answer(&self.head, &mut self.out);
                self.head.clear();
            }
            self.flush()?;
            // Less than there was room for: there is no more, and epoll tells when there is.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
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
}
