//! The service and the provider as processes: start, listen, say where, and end.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{ProviderOptions, ServiceOptions};
use crate::http;
use crate::ledger::Ledger;
use crate::provider;
use crate::service::{Service, Settings};

type Failure = Box<dyn std::error::Error>;

/// Begins the line on standard output by which a child tells its parent where it listens.
pub(crate) const LISTENING: &str = "listening on ";

/// How long an ending service waits for its clients, and then for its runs.
const LONGEST_GOODBYE: Duration = Duration::from_secs(2);

pub(crate) async fn service(options: ServiceOptions) -> Result<(), Failure> {
    log();
    let ServiceOptions { store, folder, port, lease, provider, deduplicates, child } = options;
    make_folder(&folder)?;
    let store = store.unwrap_or_else(|| format!("sled:{}", folder.join("keys").display()));
    let settings = Settings {
        store: &store,
        lease,
        provider,
        provider_deduplicates: deduplicates,
        orders: &folder.join("orders.jsonl"),
    };
    let listener = http::listen(port).await?;
    let service = Service::start(settings).await?;
    say_where(&listener)?;
    let (tell, mut told) = watch::channel(false);
    let ending = async {
        told_to_end(child).await;
        tell.send_replace(true);
        sleep(LONGEST_GOODBYE).await;
    };
    let graceful = async move {
        let _ = told.wait_for(|told| *told).await;
    };
    tokio::select! {
        ended = axum::serve(listener, service.router()).with_graceful_shutdown(graceful) => ended?,
        () = ending => {}
    }
    service.drain(LONGEST_GOODBYE).await;
    Ok(())
}

pub(crate) async fn provider(options: ProviderOptions) -> Result<(), Failure> {
    log();
    let ProviderOptions { ledger, port, deduplicates, child } = options;
    let ledger = Ledger::open(&ledger, deduplicates)?;
    let listener = http::listen(port).await?;
    say_where(&listener)?;
    tokio::select! {
        ended = provider::serve(listener, provider::router(ledger)) => match ended? {},
        () = told_to_end(child) => Ok(()),
    }
}

pub(crate) fn make_folder(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        format!("cannot make the folder {}: {error}; name one that can be written with --folder", folder.display())
            .into()
    })
}

fn log() {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
}

fn say_where(listener: &TcpListener) -> Result<(), Failure> {
    let mut out = std::io::stdout();
    writeln!(out, "{LISTENING}{}", listener.local_addr()?)?;
    Ok(out.flush()?)
}

/// Waits for Ctrl-C or, as a child, for the parent's end: then standard input is closed, however the
/// parent died.
async fn told_to_end(child: bool) {
    if !child {
        let _ = tokio::signal::ctrl_c().await;
        return;
    }
    // Ctrl-C goes to the whole group; the parent decides when its children end.
    let ignored = async {
        while tokio::signal::ctrl_c().await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let mut byte = [0];
    tokio::select! {
        _ = async { while matches!(tokio::io::stdin().read(&mut byte).await, Ok(1..)) {} } => {}
        () = ignored => {}
    }
}
