#!/bin/sh
# Starts Triton, the way pipelines/targets/triton/server.py does on a host. How it is configured is in
# /etc/tandem/server: the vendor's defaults as baked in, or what is mounted there.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
flags=$(cat "$etc/server/flags")
shipped=/opt/venv/lib/python3.11/site-packages/pytriton/tritonserver
models=$(mktemp -d "${TMPDIR:-/tmp}/models.XXXXXX")
mkdir -p "$models/$MODEL_NAME/1"
cp "$etc/server/config.pbtxt" "$models/$MODEL_NAME/"
cp /opt/app/model.py "$models/$MODEL_NAME/1/"
# shellcheck disable=SC2086 # one word per flag
exec "$shipped/bin/tritonserver" --model-repository="$models" --backend-directory="$shipped/backends" \
    --http-address=0.0.0.0 --http-port=8000 --grpc-address=0.0.0.0 --grpc-port=8001 \
    --metrics-address=127.0.0.1 --metrics-port=8002 \
    --disable-auto-complete-config --model-control-mode=none $flags "$@"
