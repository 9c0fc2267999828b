#!/usr/bin/env bash
# The project's own measurements. usage: bash bench/run.sh [pilot|codecs]
# pilot: a mesh of a thousand services, 50 and 200 delta-ADS clients; time from a saved file to the last acknowledgement.
# codecs: CPU of HTTP/1 and HTTP/2 parsing and writing for one request, without sockets.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/node_modules/.bin:$PATH"
case "${1:-pilot}" in
  pilot)
    node bench/pilot.ts --services 1000 --clients 50
    node bench/pilot.ts --services 1000 --clients 200 --rounds 5
    ;;
  codecs)
    node bench/codecs.ts
    ;;
  *)
    echo "unknown measurement \"$1\": there are pilot and codecs" >&2
    exit 64
    ;;
esac
