//! `plainwire dev` and `plainwire serve`.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::pin::pin;

use futures_util::FutureExt as _;
use plainwire::config::Engine;
use plainwire::{Config, Plainwire, Stopped};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::reload::Followed;
use super::{Common, Dev, Failure, Serve, logs, reload};

/// Starts in dev mode.
pub(super) fn dev(dev: Dev) -> Result<(), Failure> {
    logs::start(dev.common.log_format);
    let mut config = Config::dev();
    config.overlay_environment()?;
    apply(&mut config, &dev.common)?;
    let listen = config.server.listen;
    if !listen.ip().is_loopback() && !dev.allow_remote {
        return Err(format!(
            "dev mode lets everybody do everything, so it listens on this machine only, not on {listen}.\n\
             Use 'plainwire serve --config FILE' to serve others, or add --allow-remote if you mean it."
        )
        .into());
    }
    run(config, Some(&dev.common), &dev.common, None)
}

/// Starts with a configuration.
pub(super) fn serve(serve: Serve) -> Result<(), Failure> {
    logs::start(serve.common.log_format);
    let followed = Followed::new(&serve);
    let config = load(&serve)?;
    run(config, None, &serve.common, Some(followed))
}

pub(super) fn load(serve: &Serve) -> Result<Config, Failure> {
    let mut config = Config::load(&serve.config)?;
    apply(&mut config, &serve.common)?;
    Ok(config)
}

/// The command line wins over the environment, and that over the file.
fn apply(config: &mut Config, common: &Common) -> Result<(), Failure> {
    if let Some(data) = &common.data {
        config.server.data.clone_from(data);
    }
    config.server.conformance |= common.conformance;
    let listen = common.listen.unwrap_or(config.server.listen);
    config.set_listen(listen)?;
    Ok(())
}

fn run(
    config: Config,
    dev: Option<&Common>,
    common: &Common,
    file: Option<Followed<'_>>,
) -> Result<(), Failure> {
    plainwire::raise_descriptors();
    // Accepting connections and waiting for signals; the workers have threads of their own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let (wanted, admin) = (config.server.listen, config.admin.listen);
        let scheme = if config.is_encrypted() { "https" } else { "http" };
        let data = match config.server.engine {
            Engine::Disk => config.server.data.display().to_string(),
            Engine::Redis => "Redis".to_owned(),
            Engine::Nats => "NATS".to_owned(),
            Engine::Kafka => "Kafka".to_owned(),
            Engine::Memory => "memory".to_owned(),
        };
        let mut builder = Plainwire::builder(config);
        if dev.is_some() {
            builder = builder.dev();
        }
        if common.recover {
            builder = builder.recover();
        }
        let live = builder.start().await?;
        let listener = TcpListener::bind(wanted).await.map_err(|error| in_use(wanted, &error))?;
        let address = listener.local_addr()?;
        let admin = match admin {
            Some(wanted) => Some(TcpListener::bind(wanted).await.map_err(|error| in_use(wanted, &error))?),
            None => None,
        };
        // Before anybody knows where it listens: whoever does may send it a signal.
        let mut signals = StopSignals::new()?;
        let hangups = signal(SignalKind::hangup())?;
        match dev {
            Some(_) => banner(&format!("{scheme}://{address}"), &data)?,
            None => {
                println!(
                    "plainwire {} listens on {scheme}://{address}, data in {data}",
                    env!("CARGO_PKG_VERSION")
                );
                std::io::stdout().flush()?;
            }
        }
        if let Some(admin) = admin {
            tracing::info!(address = %admin.local_addr()?, "the admin listener listens");
            let live = live.clone();
            tokio::spawn(async move {
                if let Err(error) = live.serve_admin(admin).await {
                    tracing::error!(%error, "the admin listener ended");
                }
            });
        }
        // It goes on accepting until the stop is past `drain_delay`.
        let mut serving = pin!(live.serve(listener).fuse());
        tokio::select! {
            served = &mut serving => served?,
            () = reload::on_change(&live, hangups, file) => {}
            signal = signals.next() => {
                let open = live.open_connections();
                tracing::info!(%signal, open, "stopping: clients are told to come back; another signal stops at once");
            }
        }
        let stopping = async { tokio::join!(live.shutdown(), serving) };
        tokio::select! {
            (stopped, _) = stopping => told(&stopped),
            signal = signals.next() => {
                let open = live.open_connections();
                tracing::warn!(%signal, open, "stopped at once; connections that were open are cut");
                // Whatever was acknowledged is in the log.
                std::process::exit(signal.exit_code());
            }
        }
    })
}

/// Says how a stop went. Connections that were cut are no failure: their clients come back and go on where they were.
fn told(stopped: &Stopped) -> Result<(), Failure> {
    if let Err(error) = &stopped.log {
        return Err(format!("the log did not close in order: {error}").into());
    }
    tracing::info!(cut = stopped.cut, "stopped");
    Ok(())
}

/// What asks a server to stop.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

/// Which of them it was.
#[derive(Clone, Copy, Debug)]
enum StopSignal {
    Interrupt,
    Terminate,
}

impl StopSignals {
    /// From here on none of them ends the process by itself.
    fn new() -> std::io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> StopSignal {
        tokio::select! {
            _ = self.interrupt.recv() => StopSignal::Interrupt,
            _ = self.terminate.recv() => StopSignal::Terminate,
        }
    }
}

impl StopSignal {
    /// As of a process that the signal ended.
    fn exit_code(self) -> i32 {
        match self {
            StopSignal::Interrupt => 128 + SignalKind::interrupt().as_raw_value(),
            StopSignal::Terminate => 128 + SignalKind::terminate().as_raw_value(),
        }
    }
}

impl fmt::Display for StopSignal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopSignal::Interrupt => "SIGINT",
            StopSignal::Terminate => "SIGTERM",
        })
    }
}

fn in_use(address: SocketAddr, error: &std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("{address} is in use by another program; choose another address with --listen").into()
        }
        _ => format!("cannot listen on {address}: {error}").into(),
    }
}

/// What a newcomer sees first.
fn banner(origin: &str, data: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    write!(
        out,
        "\n  {bold}Plainwire {version}{plain}, dev mode\n\n  \
         Open   {bold}{origin}/{plain}\n  \
         Data   {data}\n\n  \
         Try, in three terminals:\n\n    \
         curl -N '{origin}/counter?live=sse'\n    \
         curl -d '{{\"value\":5}}' {origin}/counter:increment\n    \
         curl -d '{{\"value\":6}}' {origin}/counter:decrement\n\n  \
         The last one is refused (400), and the first terminal hears nothing of it.\n  \
         More: 'plainwire --help', docs/http.md. Stop with Ctrl-C.\n\n",
        version = env!("CARGO_PKG_VERSION"),
    )?;
    out.flush()
}
