// The page: a cart, a Pay button, and what became of it.

import { NoAnswer, PaymentClient } from "./payment-client.js";

const PAID = "checkout.paid";
const form = document.querySelector("#checkout");
const [variant, quantity, total, button, status] =
  ["#variant", "#quantity", "#total", "#pay", "#status"].map((id) => document.querySelector(id));
const client = new PaymentClient({ onWait: () => say("Still waiting for the shop. You will be charged once.") });

function say(text, kind = "good") {
  status.dataset.kind = kind;
  status.textContent = text;
}

function cart() {
  const price = Number(variant.selectedOptions[0].dataset.price);
  return { variantId: variant.value, quantity: quantity.valueAsNumber, amount: price * quantity.valueAsNumber };
}

function showTotal() {
  const { amount } = cart();
  total.textContent = Number.isNaN(amount) ? "" : `${(amount / 100).toFixed(2)} EUR`;
}

/** While a payment is under way, neither can its cart be changed nor another one be begun. */
function lock(locked) {
  for (const control of form.elements) {
    control.disabled = locked;
  }
}

async function pay(wanted) {
  lock(true);
  say("Paying …");
  try {
    const { status, body } = await client.pay(wanted);
    if (status === 201) {
      sessionStorage.setItem(PAID, body.orderId);
      location.assign(`/orders/${body.orderId}`);
      return;
    }
    const why = body.reason ?? body.detail ?? "the shop gave no reason";
    say(status === 402 ? `Your card was declined: ${why}. You were not charged.` : `Not ordered: ${why}.`, "bad");
  } catch (error) {
    say(error instanceof NoAnswer
      ? "The shop does not answer, and it is not known whether you have paid. Pay asks about this payment again; "
        + "for another cart it makes another payment."
      : `Nothing was ordered: ${error.message}.`, "bad");
  }
  lock(false);
  button.focus();
}

async function begin() {
  const variants = await (await fetch("/api/checkout/variants")).json();
  variant.replaceChildren(...variants.map(({ id, name, price, left }) => {
    const option = new Option(left > 0 ? name : `${name} (sold out)`, id);
    option.dataset.price = price;
    return option;
  }));
  const unsettled = client.unsettled;
  if (unsettled !== null) {
    // The page was left in the middle of it.
    variant.value = unsettled.cart.variantId;
    quantity.value = unsettled.cart.quantity;
    showTotal();
    await pay(unsettled.cart);
    return;
  }
  const paid = sessionStorage.getItem(PAID);
  say(paid === null ? "" : `Your last order, ${paid}, is paid.`);
  showTotal();
  lock(false);
}

function start() {
  begin().catch(() => say("The shop does not answer: reload the page.", "bad"));
}

form.addEventListener("input", showTotal);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  pay(cart());
});
// A page that the back button brings from the browser's memory is as it was left.
addEventListener("pageshow", (event) => {
  if (event.persisted) {
    start();
  }
});
start();
