//! Standard input as it comes.

use std::{
    io::{self, Read as _},
    thread,
};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;

/// Bytes read at once.
const CHUNK: usize = 4 * 1024;
/// Chunks that wait to be sent; then whoever writes them waits.
const WAITING: usize = 16;

/// The text of standard input, in whatever pieces it comes.
///
/// Read by a thread of its own, which nobody waits for: a read of a terminal ends when somebody types.
pub fn text() -> impl Stream<Item = io::Result<String>> {
    let (say, mut said) = mpsc::channel(WAITING);
    thread::spawn(move || {
        let mut decoder = Decoder::default();
        let mut buffer = [0; CHUNK];
        loop {
            let item = match io::stdin().lock().read(&mut buffer) {
                Ok(0) => match decoder.end() {
                    Ok(()) => return,
                    Err(error) => Err(error),
                },
                Ok(len) => decoder.text(buffer.get(..len).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = item.is_err();
            if say.blocking_send(item).is_err() || is_last {
                return;
            }
        }
    });
    stream::poll_fn(move |cx| said.poll_recv(cx))
}

/// UTF-8 whose characters may be cut.
#[derive(Default)]
struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    fn text(&mut self, bytes: &[u8]) -> io::Result<String> {
        self.rest.extend_from_slice(bytes);
        let valid = match std::str::from_utf8(&self.rest) {
            Ok(_) => self.rest.len(),
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Err(_) => return Err(not_text()),
        };
        let rest = self.rest.split_off(valid);
        let text = String::from_utf8(std::mem::replace(&mut self.rest, rest));
        text.map_err(|_| not_text())
    }

    fn end(&self) -> io::Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(not_text()) }
    }
}

fn not_text() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "standard input is no text in UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_may_be_cut_anywhere() {
        let text = "aé天🤖b";
        for at in 0..=text.len() {
            let mut decoder = Decoder::default();
            let (one, two) = text.as_bytes().split_at(at);
            let read = decoder.text(one).unwrap() + &decoder.text(two).unwrap();
            assert_eq!(read, text);
            decoder.end().unwrap();
        }
        assert!(Decoder::default().text(b"a\xff").is_err());
        let mut cut = Decoder::default();
        assert_eq!(cut.text(b"a\xc3").unwrap(), "a");
        assert!(cut.end().is_err());
    }
}
