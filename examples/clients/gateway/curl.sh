#!/bin/sh
# Pays once, however often it has to ask. Needs curl alone.
#
#   sh curl.sh URL API_KEY AMOUNT CURRENCY PAYER [KEY]
#
# The payment goes to standard output. Whoever may be started again for the same payment keeps its KEY, and gives it.
set -eu

url=$1 api_key=$2 amount=$3 currency=$4 payer=$5
# One key for one payment, made before the first request and the same for all of them.
key=${6:-$(uuidgen 2>/dev/null || cat /proc/sys/kernel/random/uuid)}

head=$(mktemp) answer=$(mktemp)
trap 'rm -f "$head" "$answer"' EXIT

for attempt in 1 2 3 4 5 6 7 8 9 10; do
  : >"$head" >"$answer"
  status=$(curl --silent --max-time 30 --dump-header "$head" --output "$answer" --write-out '%{http_code}' \
    --header "Idempotency-Key: $key" --header "x-api-key: $api_key" --header 'Content-Type: application/json' \
    --data "{\"amount\": $amount, \"currency\": \"$currency\", \"payer\": \"$payer\"}" \
    "$url/api/v1/payments") || status=lost
  after=$(tr 'A-Z' 'a-z' <"$head" | sed -n 's/^retry-after: *\([0-9][0-9]*\).*/\1/p')
  case $status in
    201) cat "$answer"; echo; exit 0 ;;
    # No answer, or one that says to ask again: with the same key.
    lost | 408 | 500 | 502 | 503 | 504) ;;
    # The first request still runs. Without Retry-After, it is something else.
    409) [ -n "$after" ] || break ;;
    # Declined, or a mistake: asking again changes nothing.
    *) break ;;
  esac
  sleep "${after:-1}"
done
echo "not paid, or not known to be; the key was $key, the last answer $status:" >&2
cat "$answer" >&2
exit 1
