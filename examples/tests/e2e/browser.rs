//! A real browser, headless, with a driver and a profile of its own.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use thirtyfour::error::WebDriverResult;
use thirtyfour::{By, ChromiumLikeCapabilities, DesiredCapabilities, WebDriver};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::sleep;

/// How long anything on a page is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// It talks to nobody but the page's server.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// Begins the driver's line that says where it listens.
const LISTENING: &str = "ChromeDriver was started successfully on port ";

/// Notes the keys of the requests that the page sends from now on.
const NOTE_KEYS: &str = "
    window.keys = [];
    const send = window.fetch;
    window.fetch = (url, options) => {
        if (options?.method === 'POST') window.keys.push(options.headers['Idempotency-Key']);
        return send(url, options);
    };";

/// A browser, and what is done with the checkout's page in it.
#[derive(Clone, Debug)]
pub(crate) struct Browser(WebDriver);

/// Has a test use a browser, which ends with it, however it ends.
pub(crate) async fn with_browser<F>(test: impl FnOnce(Browser) -> F)
where
    F: Future<Output = WebDriverResult<()>>,
{
    let (_driver, port) = driver().await;
    let profile = TempDir::new().expect("a folder");
    let mut chrome = DesiredCapabilities::chrome();
    for flag in FLAGS {
        chrome.add_arg(flag).expect("a flag");
    }
    chrome.add_arg(&format!("--user-data-dir={}", profile.path().display())).expect("a flag");
    let session = WebDriver::new(format!("http://127.0.0.1:{port}"), chrome).await.expect("a browser");
    session.run_and_quit(|session| test(Browser(session))).await.expect("a browser that does as it is told");
}

/// Starts a driver, on a port of its own.
async fn driver() -> (Child, u16) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("chromedriver is installed by `cargo xtask e2e`");
    let mut lines = BufReader::new(driver.stdout.take().expect("its output")).lines();
    while let Some(line) = lines.next_line().await.expect("its output") {
        if let Some(port) = line.strip_prefix(LISTENING) {
            let port = port.trim_end_matches('.').parse().expect("a port");
            // What it may say after this is read, so that it never waits for a reader.
            tokio::spawn(async move { while matches!(lines.next_line().await, Ok(Some(_))) {} });
            return (driver, port);
        }
    }
    panic!("chromedriver ended before it listened");
}

impl Browser {
    pub(crate) const fn driver(&self) -> &WebDriver {
        &self.0
    }

    /// Opens the checkout's page, and waits until it can be used.
    pub(crate) async fn open(&self, url: &str) -> WebDriverResult<()> {
        self.0.goto(url).await?;
        self.ready().await
    }

    /// Waits until the page can be used, and notes the keys that it sends from then on.
    pub(crate) async fn ready(&self) -> WebDriverResult<()> {
        self.until("return document.querySelector('#pay:enabled') !== null").await?;
        self.0.execute(NOTE_KEYS, Vec::new()).await?;
        Ok(())
    }

    pub(crate) async fn choose(&self, variant: &str, quantity: &str) -> WebDriverResult<()> {
        self.0.find(By::Css(format!("option[value={variant}]"))).await?.click().await?;
        let field = self.0.find(By::Id("quantity")).await?;
        field.clear().await?;
        field.send_keys(quantity).await
    }

    pub(crate) async fn pay(&self) -> WebDriverResult<()> {
        self.0.find(By::Id("pay")).await?.click().await
    }

    /// Waits for the page that says that an order is paid; the order.
    pub(crate) async fn paid(&self) -> WebDriverResult<String> {
        self.until("return document.title === 'Your order is paid'").await?;
        self.0.find(By::Id("order")).await?.text().await
    }

    /// Waits until the page says this.
    pub(crate) async fn says(&self, text: &str) -> WebDriverResult<()> {
        self.until(&format!("return document.querySelector('#status')?.textContent.includes({text:?}) === true")).await
    }

    /// The keys that the page has sent since it could be used.
    pub(crate) async fn keys(&self) -> WebDriverResult<Vec<String>> {
        self.0.execute("return window.keys", Vec::new()).await?.convert()
    }

    /// What the page remembers of a payment that has had no answer.
    pub(crate) async fn unsettled(&self) -> WebDriverResult<Value> {
        let script = "return JSON.parse(sessionStorage.getItem('checkout.payment'))";
        self.0.execute(script, Vec::new()).await?.convert()
    }

    /// Waits until a script is true of the page, or of the one that comes after it.
    async fn until(&self, script: &str) -> WebDriverResult<()> {
        let begun = Instant::now();
        loop {
            // Between two pages there is none to ask.
            let is = self.0.execute(script, Vec::new()).await.and_then(|is| is.convert::<bool>());
            if matches!(is, Ok(true)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                let page = self.0.find(By::Tag("body")).await?.text().await?;
                panic!("not within {PATIENCE:?}: {script} ({is:?}); the page says:\n{page}");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
