"""Creates a counterparty: the server's address, and a key if it is not to be the SDK's own."""

import sys

from modern_treasury import ModernTreasury

url, *key = sys.argv[1:]
client = ModernTreasury(api_key="none", organization_id="none", base_url=url, max_retries=5)
options = {"idempotency_key": key[0]} if key else {}
print(client.counterparties.create(name="somebody", **options).id)
