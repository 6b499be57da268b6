#!/bin/sh
# Starts the plain server, the way pipelines/targets/python/server.py does on a host. How it is configured is in
# /etc/tandem/server: the vendor's defaults as baked in, or what is mounted there.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
flags=$(cat "$etc/server/flags")
# shellcheck disable=SC2086 # one word per flag
exec python -P /opt/app/app.py "/models/$MODEL_NAME.pt" --host=0.0.0.0 --port=8000 $flags "$@"
