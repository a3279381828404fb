#!/usr/bin/env bash
# Refuses files above 1 MB: data belongs to its publisher, and a clone stays quick.
set -euo pipefail
found=0
for file in "$@"; do
    if [ -f "$file" ] && [ "$(wc -c < "$file")" -gt 1000000 ]; then
        echo "$file: $(wc -c < "$file") bytes, wanted at most 1000000" >&2
        found=1
    fi
done
exit $found
