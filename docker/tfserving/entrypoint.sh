#!/bin/sh
# Starts a model server with a preset: the command is given, the flags are the same for every implementation and
# the same as pipelines/targets/tfserving/server.py gives on a host.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
preset=$etc/presets/$TANDEM_PRESET.flags
if [ ! -f "$preset" ]; then
    allowed=$(cd "$etc/presets" && echo *.flags | sed 's/\.flags//g')
    echo "unknown preset '$TANDEM_PRESET' in TANDEM_PRESET; allowed: $allowed" >&2
    exit 2
fi

flags=$(sed '/^ *#/d' "$preset")
case $TANDEM_METRICS in
    off) ;;
    prometheus) flags="$flags --monitoring_config_file=$etc/monitoring.config" ;;
    *)
        echo "unknown TANDEM_METRICS '$TANDEM_METRICS'; allowed: off prometheus" >&2
        exit 2
        ;;
esac

# shellcheck disable=SC2086 # one word per flag
exec "$@" --port=8500 --rest_api_port=8501 --model_name="$MODEL_NAME" --model_base_path="/models/$MODEL_NAME" $flags
