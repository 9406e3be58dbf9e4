# SPDX-License-Identifier: Apache-2.0
# Skerry: one image, one YAML. `make help` explains every target.

include image/versions.env

SHELL         := bash
.SHELLFLAGS   := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Public keys of minisign's, whose owners may sign upgrades of the image: UPGRADE_KEYS="a.pub b.pub".
UPGRADE_KEYS ?=
# Certificates whose owners may sign extensions of the image: EXTENSION_CERTS="a.crt b.crt".
EXTENSION_CERTS ?=

# What signs all that the firmware starts (docs/secure-boot.md): a private key and its certificate, and certificates that the
# firmware is to trust as well: SECURE_BOOT_KEY=FILE SECURE_BOOT_CERT=FILE SECURE_BOOT_TRUST="a.crt b.crt".
SECURE_BOOT_KEY ?=
SECURE_BOOT_CERT ?=
SECURE_BOOT_TRUST ?=
SIGN_BOOT = -secure-boot-key '$(SECURE_BOOT_KEY)' -secure-boot-cert '$(SECURE_BOOT_CERT)' -secure-boot-trust '$(SECURE_BOOT_TRUST)'

# What kind of machine the image is for: cloud (virtual ones), or a folder of image/profiles.
PROFILE ?= cloud
# In names of files and folders; the profile that most people need has none.
MARK    := $(if $(filter cloud,$(PROFILE)),,$(PROFILE)-)

# The architecture of its processor, as Go and Debian have it: amd64 or arm64. What is built for another than the first has a
# folder of its own.
ARCH    ?= amd64
FOLDER  := $(if $(filter amd64,$(ARCH)),,-$(ARCH))

IMAGE   := build/skerry-$(MARK)$(SKERRY_VERSION)-$(ARCH).raw
TREE    := build/tree$(FOLDER)
COMPONENTS := build/components$(FOLDER)
SUDO    := $(if $(filter 0,$(shell id -u)),,sudo)
GO      ?= go

export CGO_ENABLED := 0
# -trimpath everywhere: another setting would compile Kubernetes a second time.
export GOFLAGS := -trimpath -buildvcs=false
export GOTOOLCHAIN := local
export SOURCE_DATE_EPOCH

K8S      := k8s.io/component-base/version
K8SPARTS := $(subst ., ,$(KUBERNETES_VERSION:v%=%))
OURS     := github.com/skerry-os/skerry/daemon/version
LDFLAGS  := -s -w \
	-X $(OURS).Skerry=$(SKERRY_VERSION) -X $(OURS).Kubernetes=$(KUBERNETES_VERSION) \
	-X $(OURS).Epoch=$(SOURCE_DATE_EPOCH)
KLDFLAGS := $(LDFLAGS) \
	-X $(K8S).gitVersion=$(KUBERNETES_VERSION) -X $(K8S).gitMajor=$(word 1,$(K8SPARTS)) -X $(K8S).gitMinor=$(word 2,$(K8SPARTS)) \
	-X $(K8S).gitTreeState=clean -X k8s.io/client-go/pkg/version.gitVersion=$(KUBERNETES_VERSION)
BUILD    := GOARCH=$(ARCH) $(GO) build

# As the kernel has it.
MACHINE := $(if $(filter arm64,$(ARCH)),aarch64,x86_64)
# Set where programs of ARCH don't run on this machine by themselves.
FOREIGN  := $(if $(filter $(ARCH),$(shell dpkg --print-architecture 2>/dev/null)),,yes)

# What the host needs beside Go. mmdebstrap makes the tools tree that the image
# is built in; the rest boots it.
HOST_PACKAGES := mmdebstrap debian-archive-keyring zstd qemu-system-x86 qemu-utils ovmf openssh-client ca-certificates \
                 systemd-container nftables swtpm \
                 $(if $(FOREIGN),arch-test qemu-user-static binfmt-support) $(if $(FOLDER),qemu-system-arm qemu-efi-aarch64)

# The databases that scenarios keep clusters in. The tests start servers of their own from these, on the loopback.
TEST_PACKAGES := postgresql mariadb-server-core mariadb-client etcd-server nats-server

test test-all scenario: EXTRA_PACKAGES = $(TEST_PACKAGES)

.PHONY: help
help: ## explain every target
	@awk 'BEGIN {FS = ":.*## "; print "usage: make TARGET [NAME=value]\n"} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: go
go: ## check that Go is there and new enough
	@if ! command -v $(GO) >/dev/null; then echo "Go is missing: install Go $(GO_VERSION) or newer from https://go.dev/dl/" >&2; exit 1; fi
	@have=$$($(GO) env GOVERSION); have=$${have#go}; \
	if [ "$$(printf '%s\n' "$(GO_VERSION)" "$$have" | sort -V | head -n 1)" != "$(GO_VERSION)" ]; then \
	  echo "Go $$have is too old: install Go $(GO_VERSION) or newer from https://go.dev/dl/" >&2; exit 1; fi

.PHONY: deps
deps: go ## install the host packages that are missing (apt, sudo if you are not root)
	@missing=$$(for p in $(HOST_PACKAGES) $(EXTRA_PACKAGES); do dpkg-query -W -f='$${db:Status-Status}' $$p 2>/dev/null | grep -qx installed || echo $$p; done); \
	if [ -n "$$missing" ]; then echo "installing:" $$missing; \
	  $(SUDO) apt-get update -q >/dev/null; \
	  DEBIAN_FRONTEND=noninteractive $(SUDO) apt-get install -q -y --no-install-recommends $$missing >/dev/null; fi
	@$(if $(FOREIGN),[ -e /proc/sys/fs/binfmt_misc/qemu-$(MACHINE) ] || $(SUDO) update-binfmts --enable qemu-$(MACHINE))

.PHONY: binaries
binaries: go ## build skerry's own programs into build/tree
	@mkdir -p $(TREE)/usr/bin $(TREE)/usr/libexec/skerry
	@echo "building skerry"; $(BUILD) -ldflags '$(LDFLAGS)' -o $(TREE)/usr/bin/skerry ./daemon
	@echo "building skerry-initrd"; $(BUILD) -ldflags '$(LDFLAGS)' -o $(TREE)/usr/libexec/skerry/skerry-initrd ./daemon/initrd
	@echo "building skerry-kube (the first time this takes minutes)"; $(BUILD) -ldflags '$(KLDFLAGS)' -o $(TREE)/usr/libexec/skerry/skerry-kube ./daemon/kube
	@ln -sf skerry $(TREE)/usr/bin/k3s
	@ln -sf ../libexec/skerry/skerry-kube $(TREE)/usr/bin/kubectl

.PHONY: components
components: go deps ## build containerd, crictl, the CNI plugins and the container images from their Go modules
	@env -u SOURCE_DATE_EPOCH $(GO) run -exec 'env GOARCH=$(ARCH)' ./image/components/build -out $(COMPONENTS)

.PHONY: tree
tree: binaries components ## lay out everything of ours that goes into the image, in build/tree
	@mkdir -p $(TREE)/usr/libexec/cni $(TREE)/usr/share/skerry/images
	@cp -p $(COMPONENTS)/bin/containerd* $(TREE)/usr/bin/
	@cp -p $(COMPONENTS)/crictl/* $(TREE)/usr/bin/
	@# skerry calls it with containerd's socket and the namespace of Kubernetes.
	@cp -p $(COMPONENTS)/bin/ctr $(TREE)/usr/libexec/skerry/
	@ln -sf skerry $(TREE)/usr/bin/ctr
	@cp -p $(COMPONENTS)/cni/* $(TREE)/usr/libexec/cni/
	@cp -p $(COMPONENTS)/images/* $(TREE)/usr/share/skerry/images/
	@cp -p config-schema/schema.json $(TREE)/usr/share/skerry/
	@rm -rf $(TREE)/usr/share/skerry/upgrade-keys; mkdir -p $(TREE)/usr/share/skerry/upgrade-keys
	@$(if $(UPGRADE_KEYS),cp -p $(UPGRADE_KEYS) $(TREE)/usr/share/skerry/upgrade-keys/)
	@rm -rf $(TREE)/usr/lib/verity.d; $(if $(EXTENSION_CERTS),mkdir -p $(TREE)/usr/lib/verity.d && cp -p $(EXTENSION_CERTS) $(TREE)/usr/lib/verity.d/)

IMAGE_BUILD = $(GO) run ./image/build -tree $(TREE) -out build -profile $(PROFILE) -arch $(ARCH) $(SIGN_BOOT)

.PHONY: image
image: tree ## build the disk image, build/skerry-VERSION-amd64.raw (needs root; asks sudo); PROFILE=metal: for physical machines
	@$(IMAGE_BUILD)

.PHONY: iso
iso: tree ## build the disk image and the ISO image of a live system that installs, build/skerry-VERSION-amd64.iso
	@$(IMAGE_BUILD) -iso

.PHONY: netboot
netboot: tree ## build the disk image and what a live system that installs is booted from the network with, build/skerry-VERSION-amd64.netboot.*
	@$(IMAGE_BUILD) -netboot

.PHONY: images
images: tree ## build every image that machines boot from (QCOW2, OVA, VHD, GCE, ISO, network), an SBOM and SHA256SUMS, signed with SIGN_KEY=FILE of minisign's
	@$(IMAGE_BUILD) -iso -netboot -compress -formats -sign-key '$(SIGN_KEY)'

.PHONY: release
release: tree ## build the disk image and its compressed form, build/skerry-VERSION-amd64.raw.zst
	@$(IMAGE_BUILD) -compress -locked

PAYLOAD ?= build/$(MARK)payload$(FOLDER)

.PHONY: payload
payload: tree ## build what machines upgrade from, in build/payload: make payload SIGN_KEY=FILE of minisign's (PAYLOAD=DIR, SKERRY_VERSION=V)
	@$(IMAGE_BUILD) -payload $(PAYLOAD) -sign-key '$(SIGN_KEY)' -version $(SKERRY_VERSION)

.PHONY: payload-push
payload-push: go ## publish what `make payload` has made in an OCI registry: make payload-push TO=oci://REGISTRY/REPOSITORY[:TAG] (PAYLOAD=DIR)
	@$(GO) run ./image/build -payload $(PAYLOAD) -push '$(TO)'

.PHONY: extension
extension: go deps ## build a signed extension of a folder: make extension NAME=strace FILES=DIR SIGN_KEY=KEY.pem SIGN_CERT=CERT.pem (EXTENSION_VERSION=V)
	@$(GO) run ./image/build -extension '$(NAME)' -tree '$(FILES)' -out build/extensions -arch $(ARCH) -sign-key '$(SIGN_KEY)' -sign-cert '$(SIGN_CERT)' \
	  -extension-version '$(EXTENSION_VERSION)' -version $(SKERRY_VERSION)

.PHONY: image-lock
image-lock: go deps ## accept the Debian packages that the mirrors have now, in image/packages.lock, and then PROFILE=metal in its own
	@$(GO) run ./image/build -out build -profile $(PROFILE) -arch $(ARCH) -accept-lock

AGENTS ?= 0
# Emulated processors on a busy host are slow: every deadline of a scenario is
# stretched by this, and no promise of how long something takes. A scenario that
# passes takes no longer for it, but where it watches that nothing happens.
export SKERRY_TIMEOUT_SCALE ?= 4

.PHONY: run
run: image ## boot examples/server.yaml in QEMU and wait until it is Ready; AGENTS=n boots agents too; Ctrl-C stops
	@$(GO) run ./tests/cmd/run -image $(IMAGE) -agents $(AGENTS)

.PHONY: unit
unit: go components ## vet, and the tests beside the code
	@echo "go vet and go test"; $(GO) vet ./... && $(GO) test ./...
	@cd image/components/coredns && $(GO) test -tags grpcnotrace .
	@# Against the image's own containerd, which needs root.
	@SKERRY_TEST_CONTAINERD=$(CURDIR)/build/components/bin/containerd SKERRY_TEST_IMAGES=$(CURDIR)/build/components/images \
	  $(GO) test $(if $(SUDO),-exec '$(SUDO) -E') ./daemon/images

# Machines that run on this machine's kernel need root.
SCENARIO = $(GO) build -o build/scenario ./tests/cmd/scenario && \
           $(SUDO) env SKERRY_TIMEOUT_SCALE=$(SKERRY_TIMEOUT_SCALE) build/scenario run

.PHONY: test
test: iso unit ## everything that continuous integration runs: unit tests and the scenarios of suite "test"
	@$(SCENARIO) --suite test --image $(IMAGE)

.PHONY: test-all
test-all: iso netboot unit fuzz reproducible ## all of test, the fuzzers, the long scenarios, and building the image twice
	@$(MAKE) --no-print-directory iso PROFILE=metal
	@$(MAKE) --no-print-directory image ARCH=arm64
	@$(SCENARIO) --suite test-all --image $(IMAGE)

FUZZTIME ?= 1m

.PHONY: fuzz
fuzz: go ## run every fuzzer of the tree for a minute (FUZZTIME=5s for less)
	@$(GO) run ./tests/cmd/fuzz -time $(FUZZTIME)

.PHONY: reproducible
reproducible: image ## build the image again with an empty cache; the bytes must be the same
	@$(IMAGE_BUILD) -out build/again -cache build/again/cache
	@cmp $(IMAGE) build/again/$(notdir $(IMAGE)) && echo "the same bytes"

.PHONY: scenarios
scenarios: go ## list the whole-machine scenarios
	@$(GO) run ./tests/cmd/scenario list

.PHONY: scenario
scenario: image ## run one scenario: make scenario NAME=server-ready (KEEP=1 leaves its disks, NATIVE=1 needs no QEMU)
	@$(SCENARIO) $(NAME) --image $(IMAGE) $(if $(KEEP),--keep) $(if $(NATIVE),--native)

RIVALS := kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy

.PHONY: rival
rival: go ## build upstream's own programs and etcd, with which bench compares
	@mkdir -p build/rival
	@for p in $(RIVALS); do echo "building upstream's $$p"; $(BUILD) -ldflags '$(KLDFLAGS)' -o build/rival/$$p k8s.io/kubernetes/cmd/$$p; done
	@echo "building etcd"; $(BUILD) -ldflags '-s -w' -o build/rival/etcd go.etcd.io/etcd/server/v3

.PHONY: bench
bench: iso rival ## measure size, boot, install, upgrade, joining, memory and CPU, beside upstream's Kubernetes; writes build/bench.json
	@$(GO) build -o build/bench ./tests/bench && $(SUDO) build/bench -image $(IMAGE) \
	  -commit "$$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)"

.PHONY: generate
generate: go ## make schema.json and the reference page from the Go types again
	@$(GO) generate ./config-schema

.PHONY: lint
lint: go ## golangci-lint with the rules of .golangci.yml
	@$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION) run ./...

.PHONY: clean
clean: ## remove build/ (what was downloaded and compiled stays in the user's cache)
	@$(SUDO) rm -rf build
