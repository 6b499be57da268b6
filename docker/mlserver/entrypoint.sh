#!/bin/sh
# Starts MLServer, the way pipelines/targets/mlserver/server.py does on a host. How it is configured is in
# /etc/tandem/server: the vendor's defaults as baked in, or what is mounted there.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
folder=$(mktemp -d "${TMPDIR:-/tmp}/mlserver.XXXXXX")
cp "$etc/server/settings.json" "$etc/server/model-settings.json" /opt/app/model.py "$folder/"
cd "$folder"
export PYTHONPATH="$folder" MLSERVER_METRICS_DIR="$folder/metrics"
exec python -c 'from mlserver.cli import main; main()' start "$folder" "$@"
