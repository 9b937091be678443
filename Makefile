# SPDX-License-Identifier: GPL-2.0
#
# Every command a person types. The module itself is described in Kbuild, which also builds in
# place: make -C <kernel> M=<this directory>.

SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -ec
.DEFAULT_GOAL := module

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

# The products of each kernel live apart, so that several can be built and tested side by side.
release = $(shell sed -n 's/.*UTS_RELEASE "\(.*\)".*/\1/p' \
	$(KDIR)/include/generated/utsrelease.h 2>/dev/null)
build = $(CURDIR)/build/$(release)$(if $(filter-out 0,$(PLOOP_KUNIT)),-kunit)
kernel-vars = $(if $(PLOOP_KUNIT),PLOOP_KUNIT=$(PLOOP_KUNIT))

.PHONY: module modules install clean help
## make [KVER=<release>|KDIR=<dir>]: the module, in build/<release>/dm-ploop.ko; C=2 adds sparse
module modules:
	@if [ -z "$(release)" ]; then \
		echo "No prepared kernel tree at $(KDIR): install the kernel's headers," \
			"or name another with KVER= or KDIR=. Installed are:" \
			$$(cd /lib/modules 2>/dev/null && ls -d */build 2>/dev/null | \
				sed 's,/build,,') >&2; \
		exit 1; \
	fi
	@scripts/link-tree $(build)
	@flock $(build)/.lock $(MAKE) --no-print-directory locked-module

# The log is kept because objtool and modpost only warn, and we want neither to.
.PHONY: locked-module
locked-module:
	+@$(MAKE) -C $(KDIR) M=$(build) $(kernel-vars) modules 2>&1 | tee $(build)/build.log
	@scripts/check-module $(build) $(KDIR)
	@echo "$(build)/dm-ploop.ko"

# Who did not build the kernel has no key to sign with, and signing complains about that.
signing-key = $(shell sed -n 's/^CONFIG_MODULE_SIG_KEY="*\([^"]*\)"*/\1/p' \
	$(KDIR)/include/config/auto.conf)
have-key = $(filter pkcs11:%,$(signing-key)) $(wildcard $(signing-key) $(KDIR)/$(signing-key))
unsigned = $(if $(strip $(have-key)),,CONFIG_MODULE_SIG_ALL=)

## make install [INSTALL_MOD_PATH=<root>]: the module into the kernel's tree of modules
install: module
	$(MAKE) -C $(KDIR) M=$(build) $(unsigned) modules_install
	depmod $(if $(INSTALL_MOD_PATH),-b $(INSTALL_MOD_PATH)) $(release)

## make check: the tests that fit in an hour on two processors; no need of anything but Debian
## make check-long: all there is, hours of it: each suite on each kernel, long runs, all mutants
## make check-build: what the build has to refuse
## make check-unit: the core on the host, under the sanitizers
## make check-sim: the core against failing and crashing files, in virtual time
## make check-fuzz: a short run of every fuzz target
## make check-image: the tools that judge images, and the core's verdict on broken ones
## make check-model: the lockless protocols in model checkers
## make check-kunit: the KUnit suites, on the debug kernel in a virtual machine
## make check-vm: the module on the stock kernels in virtual machines
## make check-lint: style, static analysis, sparse, the locks' annotations
## make check-mutants: breaks the core on purpose and sees that a test fails; not in check
.PHONY: check check-long
check:
	@scripts/check
check-long:
	@scripts/check --long

checks := lint build unit sim image fuzz model kunit vm mutants
.PHONY: $(checks:%=check-%)
$(checks:%=check-%): check-%:
	@scripts/check $*

## make demo: a file system lives through an outage of space, in a virtual machine
## make bench [BASE=<commit>]: this beside a raw file, loop, dm-thin, qemu-nbd, or that commit
.PHONY: demo bench
demo bench:
	@scripts/$@

## make clean: removes build/
clean:
	rm -rf build

## make help: this list
help:
	@sed -n 's/^## //p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS=: read -r command text; do \
			printf '%s\n\t%s\n' "$$command" "$${text# }"; \
		done
