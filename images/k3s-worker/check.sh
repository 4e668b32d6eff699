#!/bin/sh
# check.sh: whether K3S is the program the user means; prints what tells one build from another.
set -eu
: "${K3S:?is not set. This recipe takes the k3s program from you: K3S=path/to/k3s K3S_SHA256=<digest> images/build.sh k3s-worker}"
: "${K3S_SHA256:?is not set. It stands in sha256sum-amd64.txt (or -arm64) beside the program you downloaded}"
[ -f "$K3S" ] || { echo "K3S: there is no file $K3S" >&2; exit 1; }
found=$(sha256sum <"$K3S" | cut -d' ' -f1)
if [ "$found" != "$K3S_SHA256" ]; then
    echo "$K3S has the SHA-256 $found, K3S_SHA256 is $K3S_SHA256: download it again, or correct the digest" >&2
    exit 1
fi
echo "$found"
