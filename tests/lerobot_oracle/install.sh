#!/usr/bin/env bash
# Makes .venv-lerobot at the repository root: the real lerobot 0.4.4, which the conformance tests and
# benchmarks/peer_lerobot.py run in a process of their own, with the versions of constraints.txt. Run it again
# after a change of requirements.txt or constraints.txt: it installs what differs; otherwise it finds its stamp and
# does nothing. About 1.4 GB and a minute with a CPU build of torch.
#
#   bash tests/lerobot_oracle/install.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
venv="$root/.venv-lerobot"
stamp="$venv/.finedata-stamp"
lerobot=0.4.4

wanted=$(cat "$0" "$here/requirements.txt" "$root/constraints.txt" | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  exit 0
fi
rm -f "$stamp"

[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv --clear "$venv"
pip_install=("$venv/bin/python" -m pip install --quiet --quiet --no-input --constraint "$root/constraints.txt")
# pip first: the one that comes with Python may be too old for --build-constraint.
"${pip_install[@]}" pip setuptools
"${pip_install[@]}" --build-constraint "$root/constraints.txt" --requirement "$here/requirements.txt"
# --no-deps: lerobot 0.4.4 is the last for Python 3.11 and asks for a torch older than ours. It works with ours.
"$venv/bin/python" -m pip install --quiet --quiet --no-input --no-deps "lerobot==$lerobot"

printf '%s\n' "$wanted" > "$stamp"
