//! The services as processes of their own: their documents' scenarios, and a crowd that kills them.

mod booking;
mod checkout;
mod gateway;
mod payments;
mod purging;
mod support;
mod webhooks;
