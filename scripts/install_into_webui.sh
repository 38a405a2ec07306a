#!/usr/bin/env bash
# Puts the extension into a checkout of text-generation-webui, of any age, and takes it out again.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: install_into_webui.sh [options] PATH

Installs the OpenAI-compatible API into the text-generation-webui at PATH: copies the extension's folder to
where that version looks for it, and installs what it needs into the webui's own Python environment.
It can be run again at any time, to bring a newer version.

  --link             link to this folder instead of copying it, so that changes here take effect there
  --python P         the webui's Python; default: the one of its installer, its venv, or the active one
  --no-requirements  install no packages
  --uninstall        take the extension out, and put back what was there before
  -h, --help         show this text and exit

From March 2026 on the extension goes to user_data/extensions/opened_ai (or extensions/opened_ai). Before,
it takes the place of extensions/openai, which is kept in extensions-before-openedai/.
TEXT
}

refuse() {
    echo "error: $1" >&2
    exit 1
}

link= python= requirements=yes uninstall= webui=
while [ $# -gt 0 ]; do
    case $1 in
        --link) link=yes ;;
        --python)
            [ $# -gt 1 ] || refuse "--python needs the path of a Python"
            python=$2
            shift
            ;;
        --no-requirements) requirements= ;;
        --uninstall) uninstall=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        -*) refuse "unknown option $1 (--help lists the options)" ;;
        *)
            [ -z "$webui" ] || refuse "one PATH only, not also $1"
            webui=$1
            ;;
    esac
    shift
done
[ -n "$webui" ] || refuse "PATH is missing: the folder of the webui (--help explains)"

source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../extensions/openai" && pwd -P)
[ -d "$webui" ] || refuse "no folder $webui"
webui=$(cd "$webui" && pwd -P)
for part in server.py modules/shared.py modules/extensions.py modules/text_generation.py extensions; do
    [ -e "$webui/$part" ] || refuse "$webui is not text-generation-webui: it has no $part"
done

# Where this version looks for it, and under which name.
if [ ! -e "$webui/modules/api/script.py" ]; then
    folder=extensions/openai
elif [ -d "$webui/user_data/extensions" ]; then
    folder=user_data/extensions/opened_ai
else
    folder=extensions/opened_ai
fi
target=$webui/$folder
backups=$webui/extensions-before-openedai

is_there() { [ -e "$1" ] || [ -L "$1" ]; }

# Ours is known by a file that no other extension has; a link may point to a folder that is gone.
is_ours() { [ -e "$1/engines/base.py" ] || { [ -L "$1" ] && [ ! -e "$1" ]; }; }

# openai, openai.2, openai.3, ...: an update of the webui may bring its own extension back.
newest_backup() {
    local number=1 name=$backups/openai newest=
    while [ -e "$name" ]; do
        newest=$name
        number=$((number + 1))
        name=$backups/openai.$number
    done
    if [ "${1:-}" = next ]; then echo "$name"; else echo "$newest"; fi
}

if [ -n "$uninstall" ]; then
    if is_there "$target" && is_ours "$target"; then
        rm -rf "$target"
        echo "removed $folder (packages stay installed)"
    else
        echo "nothing to remove: $folder is not there, or not this extension"
    fi
    backup=$(newest_backup)
    if [ -n "$backup" ] && ! is_there "$target"; then
        mv "$backup" "$target"
        rmdir "$backups" 2>/dev/null || true
        echo "put back $folder"
    fi
    exit 0
fi

if is_there "$target" && ! is_ours "$target" && [ "$folder" != extensions/openai ]; then
    refuse "$folder is another extension: move it away first"
fi

if [ -n "$requirements" ]; then
    if [ -z "$python" ]; then
        for each in \
            "$webui"/installer_files/env/bin/python "$webui"/portable_env/bin/python3 \
            "$webui"/{.venv,venv,env}/bin/python "${VIRTUAL_ENV:-/none}/bin/python" "${CONDA_PREFIX:-/none}/bin/python"; do
            if [ -x "$each" ]; then
                python=$each
                break
            fi
        done
        [ -n "$python" ] || refuse "no Python environment found in $webui: name it with --python P"
    fi
    echo "installing the requirements with $python"
    PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip install --quiet --requirement "$source/requirements.txt" ||
        refuse "the requirements could not be installed; nothing was changed in $webui"
fi

# Made whole beside its place, and then moved there.
fresh=$target.new
rm -rf "$fresh"
if [ -n "$link" ]; then
    ln -s "$source" "$fresh"
else
    cp -R "$source" "$fresh"
    find "$fresh" -name __pycache__ -type d -prune -exec rm -rf {} +
fi
if is_there "$target"; then
    if is_ours "$target"; then
        rm -rf "$target"
    else
        backup=$(newest_backup next)
        mkdir -p "$backups"
        mv "$target" "$backup"
        echo "kept what was there in ${backup#"$webui"/}"
    fi
fi
mv "$fresh" "$target"
echo "installed $folder"
echo "start the webui with: --extensions ${folder##*/}"
