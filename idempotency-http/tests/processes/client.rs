//! Clients that are killed between sending and the answer, and servers that are killed under them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use idempotency::OnUnknown;
use idempotency_http::client::reqwest_middleware::ClientBuilder;
use idempotency_http::client::{
    ClientError, IdempotencyMiddleware, KeyFile, KeyStore as _, Operation, ReplayExt, Retry,
};
use idempotency_http::header::HeaderKey;
use idempotency_testkit::processes::{Program, Random, role};

use super::{Service, until};

pub(super) fn add_to(program: &mut Program) {
    program.role("client", client);
    program.role("mover", mover);
    program.test("a_process_that_changes_its_folder_keeps_its_keys_where_they_were", moves_away);
    program.test("a_client_killed_before_its_answer_asks_again_with_the_same_key", killed_before_its_answer);
    program.test("a_client_killed_at_random_leaves_one_effect_an_operation", killed_at_random);
    program.test("a_client_outlives_a_server_killed_in_mid_handler", || outlives(OnUnknown::RunAgain));
    program.test("a_client_is_told_where_a_killed_servers_work_is_unknown", || outlives(OnUnknown::Refuse));
}

/// Sends one named operation, with its key in the folder's file, and prints what came of it.
#[tokio::main(flavor = "current_thread")]
async fn client(arguments: &[String]) {
    let [folder, name, url] = arguments else { panic!("a folder, a name and a URL") };
    let keys = KeyFile::open(Path::new(folder).join("client-keys")).unwrap();
    let retry = Retry::new().with_attempts(10_000).with_pauses(Duration::from_millis(10), Duration::from_millis(50));
    let once = IdempotencyMiddleware::new().with_key_store(keys).with_retry(retry);
    let client = ClientBuilder::new(reqwest::Client::builder().no_proxy().build().unwrap()).with(once).build();
    let request = client.post(url).with_extension(Operation::new(name).unwrap()).body("amount=5");
    match request.send().await {
        Ok(answer) => {
            let sent = answer.sent().unwrap();
            let (replay, unknown) = (answer.is_replay(), answer.follows_unknown());
            println!("{} replay: {replay}, after an unknown one: {unknown}", sent.key.as_ref().unwrap().as_str());
        }
        Err(error) => println!("{:?}", ClientError::take(error).unwrap()),
    }
}

fn asking(folder: &Path, name: &str, service: &Service, path: &str) -> Command {
    let mut command = role("client");
    command.arg(folder).args([name, &format!("http://{}{path}", service.address)]).stdout(Stdio::piped());
    command
}

fn told(client: Child) -> String {
    let output = client.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn effects(folder: &Path) -> Vec<String> {
    let effects = std::fs::read_to_string(folder.join("effects")).unwrap_or_default();
    effects.lines().map(str::to_owned).collect()
}

fn killed_before_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), OnUnknown::RunAgain);
    let ask = || asking(folder.path(), "order-42", &service, "/slow").spawn().unwrap();
    let mut first = ask();
    until(|| (effects(folder.path()).len() == 1).then_some(()));
    first.kill().unwrap();
    first.wait().unwrap();
    std::fs::write(folder.path().join("go"), "").unwrap();

    let answer = told(ask());
    let [key] = &effects(folder.path())[..] else { panic!("not one effect: {:?}", effects(folder.path())) };
    assert_eq!(answer.trim(), format!("{key} replay: true, after an unknown one: false"));
}

fn killed_at_random() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("go"), "").unwrap();
    let service = Service::start(folder.path(), OnUnknown::RunAgain);
    let (mut random, mut replays) = (Random::new(11), 0);
    // As long as a client lives on this machine, to kill at any moment of it.
    let begun = Instant::now();
    told(asking(folder.path(), "order-0", &service, "/slow").spawn().unwrap());
    let life = u64::try_from(begun.elapsed().as_micros()).unwrap();
    for round in 1..=30 {
        let ask = || asking(folder.path(), &format!("order-{round}"), &service, "/slow").spawn().unwrap();
        let mut first = ask();
        // From before it has a key to after its answer.
        thread::sleep(Duration::from_micros(random.below(life * 2)));
        first.kill().unwrap();
        first.wait().unwrap();
        let answer = told(ask());
        replays += usize::from(answer.contains("replay: true"));
        let effects = effects(folder.path());
        assert_eq!(effects.len(), 1 + round, "after {round} operations");
        assert!(answer.starts_with(&effects[round]), "{answer}");
    }
    assert!(replays > 0, "no kill came after the request");
}

fn outlives(on_unknown: OnUnknown) {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::start(folder.path(), on_unknown);
    let client = asking(folder.path(), "order-42", &service, "/stuck").spawn().unwrap();
    until(|| folder.path().join("began").exists().then_some(()));
    let address = service.address.to_string();
    drop(service);
    let _service = Service::start_at(folder.path(), on_unknown, &address);
    // By way of 409, as long as the dead server's lease has not run out.
    let answer = told(client);
    match on_unknown {
        OnUnknown::Refuse => assert!(answer.starts_with("OutcomeUnknown"), "{answer}"),
        _ => assert!(answer.contains("replay: false, after an unknown one: true"), "{answer}"),
    }
}

/// Keeps a key in a file that is named from the folder it starts in, moves to another folder as services do,
/// and makes the file anew by many more names.
#[tokio::main(flavor = "current_thread")]
async fn mover(arguments: &[String]) {
    let [away] = arguments else { panic!("a folder") };
    let keys = KeyFile::open("client-keys").unwrap();
    std::env::set_current_dir(away).unwrap();
    keys.keep("order-42", HeaderKey::new("the-first").unwrap()).await.unwrap();
    for number in 0..200 {
        keys.keep(&format!("{number}"), HeaderKey::new("k").unwrap()).await.unwrap();
        keys.forget(&format!("{number}")).await.unwrap();
    }
}

fn moves_away() {
    let (folder, away) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert!(role("mover").arg(away.path()).current_dir(folder.path()).status().unwrap().success());
    assert_eq!(std::fs::read_dir(away.path()).unwrap().count(), 0, "something was written there");
    let keys = std::fs::read_to_string(folder.path().join("client-keys")).unwrap();
    assert!(keys.contains("order-42") && keys.lines().count() < 200, "{keys}");
}
