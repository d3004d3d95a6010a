// Creates a payment: the server's address, and a key if it is not to be the SDK's own.
import Stripe from 'stripe';

const [url, key] = process.argv.slice(1);
const { hostname, port } = new URL(url);
const stripe = new Stripe('sk_test_none', { host: hostname, port, protocol: 'http', maxNetworkRetries: 5, telemetry: false });
const payment = await stripe.paymentIntents.create({ amount: 1999, currency: 'eur' }, key ? { idempotencyKey: key } : {});
// The SDK leaves the connection of an answer that it does not read open, and Node waits for it.
process.stdout.write(`${payment.id}\n`, () => process.exit());
