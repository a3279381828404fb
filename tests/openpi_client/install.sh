#!/usr/bin/env bash
# Makes .venv-openpi at the repository root: openpi's client as robots have it, which the tests of serving run in a
# process of their own. Run it again after a change: it installs what differs; otherwise it does nothing.
#
#   bash tests/openpi_client/install.sh
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder="$here/../../.venv-openpi"
client=0.1.2

[ -d "$folder/openpi_client-$client.dist-info" ] && exit 0
rm -rf "$folder"
# --no-deps: it asks for numpy<2 and works with ours; NumPy, msgpack and websockets are those of the tests.
"${PYTHON:-python3}" -m pip install --quiet --quiet --no-input --disable-pip-version-check --no-deps \
  --target "$folder" "openpi-client==$client"
