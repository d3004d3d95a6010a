//! The service and the provider as processes of their own.

use idempotency_examples::serve;
use idempotency_examples::{Failure, provider};

use crate::cli::{ProviderOptions, ServiceOptions};
use crate::service::{Service, Settings};

pub(crate) async fn service(options: ServiceOptions) -> Result<(), Failure> {
    serve::log();
    let ServiceOptions { store, folder, port, lease, provider, deduplicates, end } = options;
    serve::make_folder(&folder)?;
    let store = store.unwrap_or_else(|| format!("sled:{}", folder.join("keys").display()));
    let settings = Settings {
        store: &store,
        lease,
        provider,
        provider_deduplicates: deduplicates,
        orders: &folder.join("orders.jsonl"),
    };
    let listener = serve::listen(port).await?;
    let service = Service::start(settings).await?;
    serve::say_where(&listener)?;
    serve::until_told(listener, service.router(), service.idempotency(), end).await
}

pub(crate) async fn provider(options: ProviderOptions) -> Result<(), Failure> {
    serve::log();
    provider::run(&options.ledger, options.port, options.deduplicates, options.end).await
}
