//! A TCP proxy that misbehaves on demand: cuts, delays, thins out, goes silent in one or both directions.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};

/// Bytes read at once. With [`IN_FLIGHT`] it bounds what a connection buffers: 1 MiB.
const CHUNK: usize = 16 * 1024;
/// Chunks on their way in one direction.
const IN_FLIGHT: usize = 64;

/// How connections behave; applies at once, to those that exist and to new ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shape {
    /// How much later everything arrives.
    pub delay: Duration,
    /// Bytes per second in each direction; 0 is no limit.
    pub bytes_per_second: u64,
    /// Nothing gets from the client to the server, and nobody is told.
    pub mute_up: bool,
    /// Nothing gets from the server to the client, and nobody is told.
    pub mute_down: bool,
    /// New connections are closed at once.
    pub refuse: bool,
}

impl Shape {
    /// A half-open connection: the server hears, the client hears nothing any more.
    pub const HALF_OPEN: Self = Self { mute_down: true, ..Self::CLEAR };
    /// Both directions silent, as when a cable is pulled.
    pub const STALLED: Self = Self { mute_up: true, mute_down: true, ..Self::CLEAR };
    /// No misbehaviour.
    pub const CLEAR: Self =
        Self { delay: Duration::ZERO, bytes_per_second: 0, mute_up: false, mute_down: false, refuse: false };
}

#[derive(Debug, Clone, Copy)]
struct State {
    shape: Shape,
    /// Connections of another epoch are cut.
    epoch: u64,
}

/// A running proxy. Dropping it cuts everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of loopback for `upstream`.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (state, watch) = watch::channel(State { shape: Shape::CLEAR, epoch: 0 });
        let task = tokio::spawn(accept(listener, upstream, watch));
        Ok(Self { address, state, task })
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves like this from now on.
    pub fn shape(&self, shape: Shape) {
        self.state.send_modify(|state| state.shape = shape);
    }

    /// Closes every connection. What was on its way is gone.
    pub fn cut(&self) {
        self.state.send_modify(|state| state.epoch += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, state: watch::Receiver<State>) {
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                let state = state.clone();
                if !state.borrow().shape.refuse {
                    tokio::spawn(carry(client, upstream, state));
                }
            }
            // Out of file descriptors: one may be free again soon.
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn carry(client: TcpStream, upstream: SocketAddr, state: watch::Receiver<State>) {
    let epoch = state.borrow().epoch;
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Our own delays are enough.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client_in, client_out) = client.into_split();
    let (server_in, server_out) = server.into_split();
    let mut cut = state.clone();
    tokio::select! {
        _ = cut.wait_for(|state| state.epoch != epoch) => {}
        // The end of one direction ends both, as it does for the protocols behind us.
        () = pump(client_in, server_out, state.clone(), |shape| shape.mute_up) => {}
        () = pump(server_in, client_out, state, |shape| shape.mute_down) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    to: OwnedWriteHalf,
    state: watch::Receiver<State>,
    muted: fn(&Shape) -> bool,
) {
    let (queue, arrivals) = mpsc::channel(IN_FLIGHT);
    let shapes = state.clone();
    let read = async move {
        loop {
            let mut chunk = vec![0; CHUNK];
            match from.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(length) => chunk.truncate(length),
            }
            let due = Instant::now() + shapes.borrow().shape.delay;
            if queue.send((due, chunk)).await.is_err() {
                return;
            }
        }
    };
    tokio::join!(read, write(arrivals, to, state, muted));
}

async fn write(
    mut arrivals: mpsc::Receiver<(Instant, Vec<u8>)>,
    mut to: OwnedWriteHalf,
    mut state: watch::Receiver<State>,
    muted: fn(&Shape) -> bool,
) {
    while let Some((due, chunk)) = arrivals.recv().await {
        // The timer counts in whole milliseconds: even one that has passed takes up to one.
        if due > Instant::now() {
            sleep_until(due).await;
        }
        if state.wait_for(|state| !muted(&state.shape)).await.is_err() {
            return;
        }
        let rate = state.borrow().shape.bytes_per_second;
        if let Some(nanos) = (chunk.len() as u64).saturating_mul(1_000_000_000).checked_div(rate) {
            sleep(Duration::from_nanos(nanos)).await;
        }
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    /// A client connected through a proxy to a server that echoes.
    async fn echo() -> (Proxy, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.into_split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client)
    }

    async fn round_trip(client: &mut TcpStream, bytes: &[u8]) -> io::Result<Duration> {
        let start = Instant::now();
        client.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        client.read_exact(&mut back).await?;
        assert_eq!(back, bytes);
        Ok(start.elapsed())
    }

    #[tokio::test]
    async fn carries_delays_and_thins_out() {
        let (proxy, mut client) = echo().await;
        let bytes = vec![7; 20_000];
        timeout(SOON, round_trip(&mut client, &bytes)).await.unwrap().unwrap();
        proxy.shape(Shape { delay: Duration::from_millis(60), ..Shape::CLEAR });
        assert!(round_trip(&mut client, b"x").await.unwrap() >= Duration::from_millis(120));
        proxy.shape(Shape { bytes_per_second: 100_000, ..Shape::CLEAR });
        assert!(round_trip(&mut client, &bytes).await.unwrap() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_silent_direction_comes_back_with_everything() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"x").await.unwrap();
        for silent in [Shape::HALF_OPEN, Shape::STALLED] {
            proxy.shape(silent);
            let mut trip = std::pin::pin!(round_trip(&mut client, b"hello"));
            assert!(timeout(Duration::from_millis(80), &mut trip).await.is_err());
            proxy.shape(Shape::CLEAR);
            timeout(SOON, trip).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn cuts_and_refuses() {
        let (proxy, mut client) = echo().await;
        round_trip(&mut client, b"x").await.unwrap();
        proxy.cut();
        let ended = timeout(SOON, client.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        proxy.shape(Shape { refuse: true, ..Shape::CLEAR });
        let mut refused = TcpStream::connect(proxy.address()).await.unwrap();
        let ended = timeout(SOON, refused.read(&mut [0; 8])).await.unwrap();
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        proxy.shape(Shape::CLEAR);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        round_trip(&mut again, b"x").await.unwrap();
    }
}
