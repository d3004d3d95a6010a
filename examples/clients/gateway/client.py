"""Pays once, however often it has to ask. Needs Python alone, from version 3.8 on.

python3 client.py URL API_KEY AMOUNT CURRENCY PAYER [KEY]
"""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

ASK_AGAIN = {408, 500, 502, 503, 504}
ATTEMPTS = 10


def pay(url, api_key, payment, key=None):
    """Makes a payment.

    The key is made before the first request and the same for all of them: whoever may be started again for the same
    payment keeps its key, and gives it.
    """
    key = key or str(uuid.uuid4())
    headers = {"Idempotency-Key": key, "x-api-key": api_key, "Content-Type": "application/json"}
    last = "nothing was sent"
    for _ in range(ATTEMPTS):
        request = urllib.request.Request(f"{url}/api/v1/payments", json.dumps(payment).encode(), headers)
        after = 1
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            last = f"{error.code}: {error.read().decode()}"
            told = error.headers.get("Retry-After")
            # 409 with Retry-After: the first request still runs. Another 4xx stays what it is.
            if error.code not in ASK_AGAIN and not (error.code == 409 and told):
                break
            after = int(told or 1)
        except (OSError, http.client.HTTPException, ValueError) as lost:
            # No answer, or half of one: it may be paid. Only the same key finds out without paying twice.
            last = f"no answer: {lost!r}"
        time.sleep(after)
    raise RuntimeError(f"not paid, or not known to be; the key was {key}, the last answer {last}")


if __name__ == "__main__":
    url, api_key, amount, currency, payer, *key = sys.argv[1:]
    print(json.dumps(pay(url, api_key, {"amount": int(amount), "currency": currency, "payer": payer}, *key)))
