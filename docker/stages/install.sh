#!/bin/sh
# Installs wheels into /opt/venv, beside what is there, with nothing from the network, drops what serving never opens, and proves that the
# rest still imports:
#
#   install.sh WHEELS TRIM MODULES
#
# WHEELS  folder with requirements.txt and the wheels it pins
# TRIM    file with lines `delete GLOB…` and `strip GLOB…`, relative to site-packages
# MODULES what the server imports, separated by commas; only these get bytecode, which a read-only root could not keep
set -eu
wheels=$1 trim=$2 modules=$3

python3 -m venv --without-pip /opt/venv
site=/opt/venv/lib/python3.11/site-packages
python3 "$(ls "$wheels"/pip-*.whl)/pip" --python /opt/venv/bin/python install --quiet --no-index --no-deps --no-compile \
    --no-cache-dir --root-user-action ignore --find-links "$wheels" --requirement "$wheels/requirements.txt"

cd "$site"
grep -v '^ *\(#\|$\)' "$trim" | while read -r action patterns; do
    set -f
    for pattern in $patterns; do
        set +f
        # A pattern that matches nothing is a mistake, or a part that moved: say so, instead of shipping it in silence.
        set -- $pattern
        [ -e "$1" ] || { echo "install.sh: nothing matches $pattern in $trim" >&2; exit 1; }
        case $action in
            delete) rm -rf "$@" ;;
            strip) strip --strip-unneeded "$@" ;;
            *) echo "install.sh: unknown action $action in $trim" >&2; exit 1 ;;
        esac
    done
done
/opt/venv/bin/python -c "import $modules"
