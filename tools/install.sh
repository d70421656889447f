#!/usr/bin/env bash
# Finds a Python that is new enough and hands over to install.py, which makes .venv.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3.14 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && new_enough "$candidate"; then
        exec "$candidate" "$here/install.py" "$@"
    fi
done

# A Python that uv put on this machine is on no PATH, so only uv knows it.
if command -v uv >/dev/null 2>&1 && found=$(uv python find --no-project '>=3.11' 2>/dev/null); then
    exec "$found" "$here/install.py" "$@"
fi

{
    echo "Mofang needs Python 3.11 or newer; found: $(python3 --version 2>&1 || echo none)."
    echo "  Debian, Ubuntu: sudo apt install python3.11 python3.11-venv     macOS: brew install python@3.11"
    echo "  with uv: uv python install 3.11     elsewhere on this machine: PYTHON=/path/to/python3.11 make demo"
    echo "模坊需要 Python 3.11 或更新的版本；请按上面的命令安装，或用 PYTHON=路径 指明。"
} >&2
exit 1
