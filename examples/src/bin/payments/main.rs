//! A payment service that charges once, its provider, and a story that shows it.
//!
//! `cargo run --bin payments` tells the story and goes on serving; see `examples/payments.md`.

mod cli;
mod orders;
mod request;
mod serve;
mod service;
mod store;
mod story;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use cli::Command;

#[tokio::main]
async fn main() -> ExitCode {
    let command = match cli::parse() {
        Ok(command) => command,
        Err(error) => {
            eprintln!("payments: {error}\n\n{}", cli::USAGE);
            return ExitCode::from(2);
        }
    };
    let ended = match command {
        Command::Help => {
            println!("{}", cli::USAGE);
            Ok(true)
        }
        Command::Story(options) => story::tell(options).await,
        Command::Service(options) => serve::service(options).await.map(|()| true),
        Command::Provider(options) => serve::provider(options).await.map(|()| true),
    };
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("payments: {error}");
            ExitCode::from(2)
        }
    }
}
