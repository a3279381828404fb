#!/usr/bin/env bash
# Builds a release and proves it: the version stands in the changelog, nothing is uncommitted, the
# wheel made from the source archive (not from this folder) installs and works in an empty
# environment. Uploading is left to a person. Usage: make release
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
version=$($python -c "import finedata; print(finedata.__version__)")
if [ -n "$(git status --porcelain)" ]; then
    echo "release: uncommitted changes, wanted a clean checkout; commit them first" >&2
    exit 1
fi
if ! grep -q "^## $version\b" CHANGELOG.md; then
    echo "release: CHANGELOG.md has no section \"## $version\"; write what changed there" >&2
    exit 1
fi
rm -rf dist && mkdir dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
$python -m hatchling build --target sdist --directory dist
tar -xzf "dist/finedata-$version.tar.gz" -C "$work"
(cd "$work/finedata-$version" && "$OLDPWD/$python" -m hatchling build --target wheel --directory "$work")
mv "$work"/finedata-*.whl dist/
$python -m venv "$work/empty"
pip=("$work/empty/bin/python" -m pip install --quiet --disable-pip-version-check)
"${pip[@]}" -c constraints.txt pip
"${pip[@]}" -c constraints.txt "$(ls dist/finedata-*.whl)[curate]"
cd "$work"
test "$(empty/bin/python -c "import finedata; print(finedata.__version__)")" = "$version"
empty/bin/finedata demo --out demo > demo.log || { tail -20 demo.log >&2; exit 1; }
echo "dist/ holds finedata $version; the wheel installed in an empty environment and ran the demo"
