#!/bin/sh
# The whole way once: make a game, train, score everyone, serve, ask for one player.
set -eu
rm -rf demo demo.partial
ludocast simulate --players 20000 --out demo
ludocast train churn --data demo/players.csv --label churned --positive yes --exclude player_id \
  --truth demo/truth.csv --out demo/run
ludocast score --bundle demo/run/bundle --input demo/players.csv --output demo/scored.csv --keep player_id
head -n 4 demo/scored.csv
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
ludocast serve --bundle demo/run/bundle --port "$port" &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
ask() {
  if command -v curl >/dev/null; then curl -sS "$@"; else
    echo "curl is not installed; the request would be: curl $*"; exit 1; fi
}
for _ in $(seq 100); do
  curl -sf "http://127.0.0.1:$port/v2/health/ready" >/dev/null 2>&1 && break; sleep 0.1
done
python - <<'PY' >demo/request.json
import json
print(json.dumps(json.load(open("demo/run/bundle/bundle.json", encoding="utf-8"))["check_rows"]["rows"][0]))
PY
echo "asking: $(cat demo/request.json)"
ask -H 'Content-Type: application/json' -d @demo/request.json "http://127.0.0.1:$port/predict"
echo
kill $server
wait $server || true
trap - EXIT
echo "open demo/run/report.html in a browser; . .venv/bin/activate puts ludocast on the path"
