//! How many commands a second one counter takes, synced to disk, from WebSocket clients that pipeline.
//!
//! `cargo run --release -p plainwire --example hot_counter [CLIENTS] [COMMANDS PER CLIENT] [IN FLIGHT]`

use std::time::Instant;

use bytes::BytesMut;
use plainwire::protocol::websocket::{
    ClientHandshake, Decoder, DeflateConfig, Incoming, Limits, OpCode, Role, encode,
};
use plainwire::{Config, Plainwire};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default: usize| arguments.next().unwrap_or(Ok(default));
    let (clients, commands, in_flight) = (next(8)?, next(20_000)?, next(256)?);
    let data = tempfile::tempdir_in(".")?;
    let mut config = Config::dev();
    config.server.data = data.path().to_owned();
    let live = Plainwire::start(config).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = live.clone();
    let serving = tokio::spawn(async move { server.serve(listener).await });

    let started = Instant::now();
    let running: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(async move { client(address, commands, in_flight).await }))
        .collect();
    for client in running {
        client.await??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let total = clients * commands;
    println!(
        "{total} commands from {clients} clients, {in_flight} in flight each: {:.0}/s",
        total as f64 / seconds
    );
    let (position, state) = live.state("counter").await?.ok_or("the counter has a state")?;
    println!("the counter stands at {state}, position {position}");
    live.shutdown().await;
    serving.await??;
    Ok(())
}

async fn client(address: std::net::SocketAddr, commands: usize, in_flight: usize) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address).await?;
    let handshake = ClientHandshake::new([7; 16], &[], DeflateConfig::OFF);
    let mut head = format!("GET /counter HTTP/1.1\r\nHost: {address}\r\n");
    for (name, value) in &handshake.upgrade_headers() {
        head.push_str(&format!("{name}: {}\r\n", value.to_str()?));
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    let mut input = BytesMut::new();
    while !input.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
        stream.read_buf(&mut input).await?;
    }
    let head = input.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("it was just found") + 4;
    let _ = input.split_to(head);

    let mut decoder = Decoder::new(Role::Client, Limits::default(), None);
    let (mut sent, mut done) = (0, 0);
    while done < commands {
        let mut out = Vec::new();
        while sent < commands && sent - done < in_flight {
            let request =
                format!("{{\"id\":{sent},\"post\":\"/counter:increment\",\"body\":{{\"value\":1}}}}");
            encode(OpCode::Text, request.as_bytes(), Some([1, 2, 3, 4]), &mut out);
            sent += 1;
        }
        stream.write_all(&out).await?;
        if stream.read_buf(&mut input).await? == 0 {
            return Err("the server hung up".into());
        }
        while let Some(incoming) = decoder.decode(&mut input)? {
            let Incoming::Text(text) = incoming else { continue };
            if text.as_bytes().starts_with(b"{\"id\":") {
                if !text.as_str().contains("\"status\":200") {
                    return Err(text.as_str().to_owned().into());
                }
                done += 1;
            }
        }
    }
    Ok(())
}
