#!/usr/bin/env bash
# The wheel, installed without extras in an environment of its own and used from another folder. Usage: wheel.sh PYTHON
set -euo pipefail
python=$(command -v "${1:-python3}")
root=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)
service=
finish() {
  [ -z "$service" ] || kill "$service" 2> /dev/null || true
  rm -rf "$place"
}
trap finish EXIT
export OMP_WAIT_POLICY=PASSIVE

"$python" -m venv "$place/env"
mkdir "$place/source"
(cd "$root" && cp -r setup.py pyproject.toml README.md LICENSE config gadgets untrained_recon "$place/source")
"$place/env/bin/pip" wheel --quiet --no-deps --wheel-dir "$place" "$place/source"
"$place/env/bin/pip" install --quiet --constraint "$root/constraints.txt" "$place"/*.whl
cp -r "$root/docker/cases" "$place/cases"
PATH="$place/env/bin:$PATH"
cd "$place"

untrained-recon simulate -o scan.h5
untrained-recon inspect scan.h5
untrained-recon config show fast > config.yaml
untrained-recon replay scan.h5 -o images.h5 --config config.yaml --set fit.iterations=5 --set refine.iterations=3
untrained-recon chain > chain.xml
untrained-recon chain --check chain.xml
python -c 'import untrained_recon as ur; assert ur.presets(); assert ur.read_raw("scan.h5")'
python -c 'import importlib.util as u; assert not any(map(u.find_spec, ("pandas", "matplotlib", "prometheus_client", "pydicom")))'

port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
untrained-recon serve --port "$port" 2> service.log &
service=$!
for _ in $(seq 120); do
  untrained-recon health "127.0.0.1:$port" > /dev/null 2>&1 && break
  kill -0 "$service" || { cat service.log; exit 1; }
  sleep 1
done
untrained-recon integration-test --service "127.0.0.1:$port" --cases cases
echo "the wheel works: $(basename ./*.whl)"
