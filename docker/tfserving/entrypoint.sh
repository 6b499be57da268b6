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

# A program for XLA is refused by TensorFlow Serving without a flag; our own server compiles it anyway.
if [ "${1##*/}" = tensorflow_model_server ] && grep -q XlaCallModule "/models/$MODEL_NAME"/*/saved_model.pb 2> /dev/null; then
    flags="$flags --xla_cpu_compilation_enabled=true"
fi

# shellcheck disable=SC2086 # one word per flag
exec "$@" --port=8500 --rest_api_port=8501 --model_name="$MODEL_NAME" --model_base_path="/models/$MODEL_NAME" $flags
