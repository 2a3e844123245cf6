#!/bin/sh
# Asks for two players; needs curl. LUDOCAST_URL and LUDOCAST_KEY name another server and its key.
curl --silent --show-error --fail-with-body --retry 5 \
  --header "Authorization: Bearer ${LUDOCAST_KEY:-}" \
  --header "Content-Type: application/json" \
  --data '[{"level": 12, "country": "KR", "days_away": 3}, {"level": 2, "country": null, "days_away": 20}]' \
  "${LUDOCAST_URL:-http://127.0.0.1:8080}/predict"
