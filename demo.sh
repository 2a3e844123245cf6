#!/bin/sh
# The whole way once: a game's log, its profile, who leaves, what players would like; all scored, one of each asked for.
set -eu
rm -rf demo demo.partial
ludocast simulate log --players 5000 --out demo
ludocast profile --log demo/events.parquet --out demo/profile.html
ludocast train churn --log demo/events.parquet --truth demo/truth.parquet --out demo/churn
ludocast snapshots --log demo/events.parquet --at end --out demo/today
ludocast score --bundle demo/churn/bundle --input demo/today --output demo/leaving.csv --keep player_id
head -n 4 demo/leaving.csv
ludocast train recommend --data demo/events.parquet --user player_id --item item --time time --repeats auto --out demo/shop
ask() { # BUNDLE RECORDS: serves the bundle on a free port, asks once, and stops
  port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  ludocast serve --bundle "$1" --port "$port" &
  server=$!
  trap 'kill $server 2>/dev/null || true' EXIT
  for _ in $(seq 100); do
    curl -sf "http://127.0.0.1:$port/v2/health/ready" >/dev/null 2>&1 && break; sleep 0.1
  done
  echo "asking: $(echo "$2" | cut -c 1-300)"
  if command -v curl >/dev/null; then
    curl -sS -H 'Content-Type: application/json' -d "$2" "http://127.0.0.1:$port/predict"; echo
  else
    echo "curl is not installed; the request would be: curl -d '…' http://127.0.0.1:$port/predict"; exit 1
  fi
  kill $server
  wait $server || true
  trap - EXIT
}
ask demo/churn/bundle "$(python - <<'PY'
import json
print(json.dumps(json.load(open("demo/churn/bundle/bundle.json", encoding="utf-8"))["check_rows"]["rows"][0]))
PY
)"
ask demo/shop/bundle "$(python - <<'PY'
import json
import pyarrow.parquet as pq
one = pq.read_table("demo/shop/suggestions.parquet").slice(0, 1)["player_id"][0].as_py()
bought = pq.read_table("demo/events.parquet", filters=[("player_id", "=", one), ("event", "=", "purchase")])["item"]
print(json.dumps([{"history": bought.to_pylist(), "k": 3}]))
PY
)"
echo "open demo/profile.html, demo/churn/report.html and demo/shop/report.html in a browser"
echo ". .venv/bin/activate puts ludocast on the path"
