# What there is to do; `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
.PHONY: help demo test test-all check image images vm bench bench-boot bench-stream bench-quick setup storm verify build manual deb packages office install clean

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo
# What `make images` builds. k3s-worker needs a program that is not Debian's: see its README.
RECIPES ?= debian raspberry-pi network-managers slurm-worker containers selinux
# Those that `make test` boots; the others are for `make test-all`.
TEST_RECIPES := debian raspberry-pi network-managers

# The time in what is packed: that of the last commit, or of the unpacked source. Not for cargo's ears: build scripts of C
# libraries listen for SOURCE_DATE_EPOCH, and each commit would compile them anew.
EPOCH := $(shell git log -1 --format=%ct 2>/dev/null || stat -c %Y Cargo.toml)

# VM tests make namespaces. Who is not root gets the right in a user namespace of his own.
ROOTLIKE := $(shell [ "$$(id -u)" = 0 ] || echo unshare --user --map-root-user --net --mount)

# Servers drop groups when they start, which a namespace with one user refuses; uidmap gives it as many as /etc/subuid has.
ROOTLIKE_GROUPS := $(if $(ROOTLIKE),$(ROOTLIKE) --map-auto)

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

demo: setup image ## boot one machine in QEMU, step by step, and kill the manager
	@$(CARGO) test --locked --release --no-run --test vm
	$(ROOTLIKE) $(CARGO) test --quiet --locked --release --test vm -- demo

test: setup ## style, docs, cost of serving, unit tests, boots in QEMU: what each change must pass
	@mkdir -p target
	: >target/phases
	timed() { # NAME COMMAND...: how long it took is printed at the end
	    local began=$$SECONDS code=0
	    "$${@:2}" || code=$$?
	    echo "$$1 $$((SECONDS - began))" >>target/phases
	    return $$code
	}
	# Unpacking Debian waits for network and disk, compiling for neither.
	timed images $(MAKE) --no-print-directory images office RECIPES='$(TEST_RECIPES)' >target/images.log 2>&1 &
	images=$$!
	trap 'kill $$images 2>/dev/null || :' EXIT
	timed check $(MAKE) --no-print-directory check
	timed verify $(MAKE) --no-print-directory verify
	wait $$images || { cat target/images.log >&2; exit 1; }
	status=0
	{
	    # Before the tests, while nothing else runs.
	    timed bench $(MAKE) --no-print-directory bench-quick || status=1
	    timed deb $(MAKE) --no-print-directory deb || status=1
	    timed compile $(CARGO) test --locked --workspace --no-run || status=1
	    timed tests $(CARGO) test --locked --workspace --no-fail-fast || status=1
	    timed boots env RAMBOOT_VM=1 $(ROOTLIKE) $(CARGO) test --locked --test vm || status=1
	    exit $$status
	} 2>&1 | tee target/test.log || status=1
	echo "seconds of each phase: $$(paste -s -d, target/phases | sed 's/,/, /g')"
	# One line for the sum of all. Cases that were only listed in the first run are those of the second.
	awk -v status=$$status '/^test result: / { passed += $$4; failed += $$6 }
	    END { if (status && !failed) failed = 1
	          printf "test result: %s. %d passed; %d failed\n", failed ? "FAILED" : "ok", passed, failed
	          exit (failed > 0) }' target/test.log

test-all: test images ## that, then the longest boots, foreign DHCP, TFTP and HTTP clients, ten thousand histories of DHCP
	@tests/setup.sh all
	status=0
	RAMBOOT_VM=long $(ROOTLIKE) $(CARGO) test --locked --test vm || status=1
	$(ROOTLIKE) $(CARGO) test --locked --test foreign --test dhcp_histories -- --ignored || status=1
	exit $$status

check: setup ## format, lints and docs, warnings are errors
	@$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --document-private-items

vm: setup images $(if $(CASE),,office deb) ## only the boots in QEMU, the long ones too; CASE=name for some of them
	@RAMBOOT_VM=all $(ROOTLIKE) $(CARGO) test --locked --test vm -- $(CASE)

image: setup ## the Debian worker of demo and tests: target/images/debian.sqfs
	@images/build.sh debian

images: setup ## worker images into target/images/; RECIPES='debian raspberry-pi' for some of images/
	@for recipe in $(RECIPES); do images/build.sh $$recipe; done

office: setup ## the Debian on a disk on which the quick start of docs/ is tried
	@tests/vm/office/build.sh

bench: setup ## one table beside nginx, dnsmasq, …; ROWS='http veth 64' for some rows, WRITE=1 for BENCHMARKS.md
	@$(CARGO) bench --locked --bench table --no-run
	$(ROOTLIKE_GROUPS) $(CARGO) bench --locked --bench table -- $(if $(WRITE),--write "$$PWD/BENCHMARKS.md") $(ROWS)

bench-quick: setup ## whether serving became dearer than BENCHMARKS.md has it: CPU beside the peers', a few rows
	@$(CARGO) bench --locked --bench table --no-run
	$(ROOTLIKE_GROUPS) $(CARGO) bench --quiet --locked --bench table -- quick "$$PWD/BENCHMARKS.md"

storm: setup ## a thousand simulated machines at once, a gigabit of them, streaming, slow readers; SCENES='gigabit order' for some
	@$(CARGO) bench --locked --bench storm --no-run
	$(ROOTLIKE_GROUPS) $(CARGO) bench --locked --bench storm -- $(SCENES)

bench-boot: build image ## from Run /init to the image's init: ours, dracut livenet and a bare busybox in QEMU
	@$(ROOTLIKE_GROUPS) benches/boot/run.sh

bench-stream: build image ## until a worker runs, by image size and link: stream and full mode, NFS root, dracut livenet
	@$(ROOTLIKE_GROUPS) benches/boot/stream.sh

verify: setup build ## the systemd unit: sound, and at most 2.0 by systemd-analyze security; man pages, scripts of packaging/
	@folder=$$(mktemp -d)
	trap 'rm -rf "$$folder"' EXIT
	# systemd-analyze wants the program to be there.
	sed "s|/usr/bin/ramboot|$$PWD/target/release/ramboot|" packaging/ramboot.service >"$$folder/ramboot.service"
	systemd-analyze verify --man=no "$$folder/ramboot.service"
	systemd-analyze security --no-pager --offline=true --threshold=20 "$$folder/ramboot.service" >"$$folder/security" \
	    || { cat "$$folder/security"; exit 1; }
	tail -n 1 "$$folder/security"
	mandoc -T lint -W warning target/manual/man/*
	for page in target/manual/man/*; do
	    man --warnings --encoding=UTF-8 --local-file --troff-device=utf8 "$$page" 2>&1 >/dev/null
	done | tee "$$folder/man"
	[ ! -s "$$folder/man" ]
	shellcheck packaging/*.sh packaging/deb/postinst packaging/deb/postrm tests/setup.sh
	echo "unit, man pages and scripts: ok"

build: ## target/release/ramboot, and its man pages and completions in target/manual
	@# Together, so that what both need is compiled once; benches and tests with --release take the same.
	$(CARGO) build --locked --release --bin ramboot --example manual
	rm -rf target/manual
	SOURCE_DATE_EPOCH=$(EPOCH) target/release/examples/manual target/manual

manual: build ## docs/configuration.md anew, when packaging/ramboot.toml or the code has changed
	@cp target/manual/configuration.md docs/configuration.md

deb: build ## target/debian/ramboot_VERSION_ARCH.deb for this kind of machine; lintian has nothing against it
	@tests/setup.sh deb
	SOURCE_DATE_EPOCH=$(EPOCH) $(CARGO) deb --locked --quiet --no-build
	lintian --fail-on error,warning --tag-display-limit 0 $$(ls -t target/debian/*_$$(dpkg --print-architecture).deb | head -n 1)

packages: deb ## that and the package for arm64, and static tarballs for x86_64 and aarch64, into target/packages
	@tests/setup.sh packages
	packaging/packages.sh $(EPOCH)

install: ## what `make build` made, unit and sample config below $(DESTDIR); PREFIX is /usr/local unless given
	@# It does not build: under sudo there is often no cargo, and what root built nobody else can clean.
	[ -x target/release/ramboot ] && [ -d target/manual ] || { echo "first, as yourself: make build" >&2; exit 1; }
	prefix="$(DESTDIR)$(PREFIX)"
	install -D -m 755 target/release/ramboot "$$prefix/bin/ramboot"
	install -d "$$prefix/lib/systemd/system" "$(DESTDIR)/etc"
	sed 's|/usr/bin/ramboot|$(PREFIX)/bin/ramboot|' packaging/ramboot.service >"$$prefix/lib/systemd/system/ramboot.service"
	[ -e "$(DESTDIR)/etc/ramboot.toml" ] || install -m 644 packaging/ramboot.toml "$(DESTDIR)/etc/ramboot.toml"
	install -D -m 644 -t "$$prefix/share/man/man1" target/manual/man/*.1
	install -D -m 644 -t "$$prefix/share/man/man5" target/manual/man/*.5
	install -D -m 644 target/manual/completions/ramboot.bash "$$prefix/share/bash-completion/completions/ramboot"
	install -D -m 644 -t "$$prefix/share/zsh/site-functions" target/manual/completions/_ramboot
	install -D -m 644 -t "$$prefix/share/fish/vendor_completions.d" target/manual/completions/ramboot.fish

setup: ## install with apt what is missing
	@tests/setup.sh

clean: ## what was built, images included
	@$(CARGO) clean
