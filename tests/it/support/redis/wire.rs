//! A minimal RESP2 client: sends a command and reads the reply as text.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::DEADLINE;

/// Sends one command over a connection of its own, after AUTH if there are arguments for it. The inner
/// error is the server's.
pub(super) async fn ask(
    socket: &Path,
    sign_in: &[&str],
    words: &[&str],
) -> io::Result<Result<String, String>> {
    let mut request = Vec::new();
    if !sign_in.is_empty() {
        write(&mut request, &[&["AUTH"], sign_in].concat());
    }
    write(&mut request, words);
    write(&mut request, &["QUIT"]);
    let exchange = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(&request).await?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await?;
        io::Result::Ok(received)
    };
    let received = timeout(DEADLINE, exchange).await??;
    let mut rest = received.as_slice();
    if !sign_in.is_empty()
        && let Err(refusal) = read(&mut rest)?
    {
        return Ok(Err(refusal));
    }
    read(&mut rest)
}

fn write(request: &mut Vec<u8>, words: &[&str]) {
    request.extend(format!("*{}\r\n", words.len()).bytes());
    for word in words {
        request.extend(format!("${}\r\n{word}\r\n", word.len()).bytes());
    }
}

/// Parses one reply from the front.
fn read(rest: &mut &[u8]) -> io::Result<Result<String, String>> {
    let line = line(rest)?;
    let (kind, text) = line.split_at_checked(1).ok_or(io::ErrorKind::InvalidData)?;
    Ok(match kind {
        "-" => Err(text.to_owned()),
        "$" => Ok(bulk(rest, length(text)?)?),
        "*" => {
            let elements = (0..length(text)?.unwrap_or(0)).map(|_| read(rest));
            let elements: Vec<_> = elements.collect::<io::Result<_>>()?;
            elements
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
                .map(|lines| lines.join("\n"))
        }
        _ => Ok(text.to_owned()),
    })
}

fn line(rest: &mut &[u8]) -> io::Result<String> {
    let end = rest.windows(2).position(|window| window == b"\r\n");
    let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
    *rest = &rest[end + 2..];
    Ok(line)
}

/// Parses a length; `None` for nil.
fn length(text: &str) -> io::Result<Option<usize>> {
    let length: i64 = text.parse().map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(usize::try_from(length).ok())
}

fn bulk(rest: &mut &[u8], length: Option<usize>) -> io::Result<String> {
    let Some(length) = length else {
        return Ok(String::new());
    };
    let text = rest.get(..length).ok_or(io::ErrorKind::UnexpectedEof)?;
    let text = String::from_utf8_lossy(text).into_owned();
    *rest = rest.get(length + 2..).ok_or(io::ErrorKind::UnexpectedEof)?;
    Ok(text)
}
