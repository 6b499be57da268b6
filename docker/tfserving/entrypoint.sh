#!/bin/sh
# Starts a model server: the command is given, the flags are the same for every implementation. How it is configured is in
# /etc/tandem/server: the vendor's defaults as baked in, or what is mounted there.
set -eu
etc=${TANDEM_ETC:-/etc/tandem}
flags=$(cat "$etc/server/flags")
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
