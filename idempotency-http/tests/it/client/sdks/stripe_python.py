"""Creates a payment: the server's address, and a key if it is not to be the SDK's own."""

import sys

import stripe

url, *key = sys.argv[1:]
client = stripe.StripeClient("sk_test_none", base_addresses={"api": url}, max_network_retries=5)
options = {"idempotency_key": key[0]} if key else {}
payment = client.v1.payment_intents.create({"amount": 1999, "currency": "eur"}, options)
print(payment.id)
