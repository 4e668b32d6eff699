#!/bin/sh
# Runs a fuzz target on what earlier runs found: run.sh TARGET [SECONDS]. New finds stay in corpus/TARGET; `run.sh TARGET keep`
# minimizes them into seeds/TARGET.tar.zst, which is under version control.
set -eu
cd "$(dirname "$0")"
target=${1:?"usage: run.sh TARGET [SECONDS|keep]"}
# The sanitizers' flags are nightly's; a stable compiler takes them with this.
export RUSTC_BOOTSTRAP=1

mkdir -p "corpus/$target"
if [ -e "seeds/$target.tar.zst" ]; then
    tar --zstd --extract --skip-old-files --file "seeds/$target.tar.zst" --directory "corpus/$target"
fi
case ${2:-300} in
keep)
    cargo fuzz cmin --fuzz-dir . "$target"
    mkdir -p seeds
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --directory "corpus/$target" --create . |
        zstd -19 --quiet --force -o "seeds/$target.tar.zst"
    ;;
*) cargo fuzz run --fuzz-dir . "$target" -- -max_total_time="${2:-300}" -print_final_stats=1 ;;
esac
