// Pays once, however often it has to ask: every request for one cart has the same Idempotency-Key, until there is an
// answer. The key is in the session storage, so that a reload asks about the same payment; another tab has its own.

const STORED = "checkout.payment";

// Times in milliseconds.
const LONGEST_REQUEST = 30_000;
const FIRST_WAIT = 500;
const LONGEST_WAIT = 8_000;

/** There was no answer in time. It is not known whether the payment was made: `pay` with the same cart asks again. */
export class NoAnswer extends Error {}

export class PaymentClient {
  #url;
  #storage;
  #patience;
  #onWait;
  #running = null;

  /** `patience`: how long it asks; `onWait`: told of each wait, with its length. */
  constructor({ url = "/api/checkout/create-order", storage = sessionStorage, patience = 120_000, onWait = () => {} } = {}) {
    this.#url = url;
    this.#storage = storage;
    this.#patience = patience;
    this.#onWait = onWait;
  }

  /** The payment of this tab that has had no answer yet, `{ key, cart }`, or null. */
  get unsettled() {
    const stored = this.#storage.getItem(STORED);
    return stored === null ? null : JSON.parse(stored);
  }

  /**
   * Has a cart paid, and gives the answer: `{ status, body }`. Asked again for the same cart before it has come, it is
   * the same payment. Throws NoAnswer when its patience is at an end; what was asked for may have been done.
   */
  pay(cart) {
    const wanted = JSON.stringify(cart);
    if (this.#running !== null && this.#running.wanted !== wanted) {
      return Promise.reject(new Error("another cart is being paid: wait for its answer"));
    }
    this.#running ??= { wanted, answer: this.#settle(wanted).finally(() => { this.#running = null; }) };
    return this.#running.answer;
  }

  async #settle(wanted) {
    const key = this.#keyFor(wanted);
    const until = Date.now() + this.#patience;
    for (let tries = 0; ; tries += 1) {
      const { answer, retryAfter } = await this.#ask(key, wanted);
      if (answer) {
        // Paid, declined or refused: whatever comes next is another payment.
        this.#storage.removeItem(STORED);
        return answer;
      }
      const wait = retryAfter ?? Math.min(FIRST_WAIT * 2 ** tries, LONGEST_WAIT);
      if (Date.now() + wait > until) {
        throw new NoAnswer("the shop has not answered");
      }
      this.#onWait(wait);
      await pause(wait, retryAfter === null);
    }
  }

  /** The key of the payment that is under way, if it is for this cart; or else a new one. */
  #keyFor(wanted) {
    const unsettled = this.unsettled;
    if (unsettled !== null && JSON.stringify(unsettled.cart) === wanted) {
      return unsettled.key;
    }
    const key = crypto.randomUUID();
    // Before it is sent: what the page does not remember it cannot ask about.
    this.#storage.setItem(STORED, JSON.stringify({ key, cart: JSON.parse(wanted) }));
    return key;
  }

  /** Asks once: there is an answer, or there is none yet. */
  async #ask(key, body) {
    try {
      const response = await fetch(this.#url, {
        method: "POST",
        headers: { "Content-Type": "application/json", "Idempotency-Key": key },
        body,
        signal: AbortSignal.timeout(LONGEST_REQUEST),
      });
      const retryAfter = waitOf(response.headers.get("Retry-After"));
      // 409 while the first request runs, 429, 503: come again. Other server errors may have done anything, and so may
      // a request with this key whose handler's answer is not to be had: then nobody says what became of the key.
      const isOpen = response.status === 409 && !response.headers.has("Idempotency-Status");
      if (retryAfter !== null || response.status >= 500 || isOpen) {
        return { retryAfter };
      }
      // An answer that breaks off is none.
      return { answer: { status: response.status, body: await response.json() } };
    } catch {
      // No connection, or no whole answer in time.
      return { retryAfter: null };
    }
  }
}

/** A Retry-After in seconds or as a date, in milliseconds, and never nothing at all; null where there is none. */
function waitOf(header) {
  if (header === null) {
    return null;
  }
  const wait = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now();
  return Number.isNaN(wait) ? null : Math.max(wait, 1000);
}

/** Waits; where there was no network, no longer than until it is back. */
function pause(time, wakes) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve();
    };
    const timer = setTimeout(done, time);
    if (wakes) {
      addEventListener("online", done);
    }
  });
}
