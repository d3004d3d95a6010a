//! Which `tracing` span a run that goes on alone is in.

use std::sync::{Arc, Mutex};

use idempotency_core::Error;
use tokio::time::sleep;
use tracing::subscriber::set_default;
use tracing::{Event, Instrument, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::support::{KEY, LEASE, faulty, polled};

/// In which span the operation logged something, each time.
#[derive(Clone, Default)]
struct Within(Arc<Mutex<Vec<Option<&'static str>>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Within {
    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if event.metadata().target() == "operation" {
            self.0.lock().unwrap().push(context.event_span(event).map(|span| span.name()));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_goes_on_alone_stays_in_its_callers_span() {
    let within = Within::default();
    let _logged = set_default(Registry::default().with(within.clone()));
    let (_, handle) = faulty();
    let caller = async {
        let running = handle.call(&KEY).detachable(async |_| {
            info!(target: "operation", "begins");
            sleep(LEASE / 2).await;
            info!(target: "operation", "goes on");
            Ok::<u32, Error>(7)
        });
        assert!(polled(1, running).await.is_none(), "it is dropped half-way");
    };
    caller.instrument(info_span!("request")).await;
    handle.drain(LEASE).await.unwrap();
    assert_eq!(*within.0.lock().unwrap(), [Some("request"); 2]);
}

#[tokio::test(start_paused = true)]
async fn a_task_of_its_own_is_in_its_callers_span_too() {
    let within = Within::default();
    // For the thread, which is the runtime's only one, and so for the task.
    let _guard = tracing::subscriber::set_default(Registry::default().with(within.clone()));
    let (_, handle) = faulty();
    let running = info_span!("request").in_scope(|| {
        handle.call(&KEY).spawn(async |_| {
            info!(target: "operation", "runs");
            Ok::<u32, Error>(7)
        })
    });
    assert!(running.await.is_ok());
    assert_eq!(*within.0.lock().unwrap(), [Some("request")]);
}
