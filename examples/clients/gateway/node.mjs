// Pays once, however often it has to ask. Needs Node alone, from version 18 on.
//
//   node node.mjs URL API_KEY AMOUNT CURRENCY PAYER [KEY]

import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';

const ASK_AGAIN = new Set([408, 500, 502, 503, 504]);
const ATTEMPTS = 10;

/**
 * Makes a payment. The key is made before the first request and the same for all of them: whoever may be started again
 * for the same payment keeps its key, and gives it.
 */
export async function pay(url, apiKey, payment, key = randomUUID()) {
  let last = 'nothing was sent';
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    let after = 1;
    try {
      const response = await fetch(`${url}/api/v1/payments`, {
        method: 'POST',
        headers: { 'Idempotency-Key': key, 'x-api-key': apiKey, 'Content-Type': 'application/json' },
        body: JSON.stringify(payment),
        signal: AbortSignal.timeout(30_000),
      });
      const answer = await response.text();
      if (response.status === 201) {
        return JSON.parse(answer);
      }
      last = `${response.status}: ${answer}`;
      const told = response.headers.get('retry-after');
      // 409 with Retry-After: the first request still runs. Another 4xx stays what it is.
      if (!ASK_AGAIN.has(response.status) && !(response.status === 409 && told)) {
        break;
      }
      after = Number(told ?? 1);
    } catch (lost) {
      // No answer, or half of one: it may be paid. Only the same key finds out without paying twice.
      last = `no answer: ${lost.cause ?? lost}`;
    }
    await sleep(after * 1_000);
  }
  throw new Error(`not paid, or not known to be; the key was ${key}, the last answer ${last}`);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [url, apiKey, amount, currency, payer, key] = process.argv.slice(2);
  console.log(JSON.stringify(await pay(url, apiKey, { amount: Number(amount), currency, payer }, key)));
}
