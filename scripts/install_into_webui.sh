#!/bin/sh
# Starts install_into_webui.py, with the Python that PYTHON names or the first one there is.
for each in ${PYTHON:+"$PYTHON"} python3 python; do
    if command -v "$each" >/dev/null 2>&1; then
        exec "$each" "$(dirname "$0")/install_into_webui.py" "$@"
    fi
done
echo "error: no Python found; the web UI's own will do: PYTHON=path/of/python $0" >&2
exit 1
