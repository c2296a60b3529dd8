#!/usr/bin/env bash
# Debian's chromium for the tests of pages, where there is no browser yet and it may be installed. Never fails: without
# a browser those tests skip themselves, and say so.
set -uo pipefail

skip() {
	printf 'browser: no tests of pages: %s\n' "$1"
	exit 0
}

command -v chromium > /dev/null && command -v chromedriver > /dev/null && exit 0
command -v apt-get > /dev/null || skip 'there is no chromium, and no apt-get to install it with'
[[ $(id -u) == 0 ]] || skip 'there is no chromium, and only root may install it'
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
	timeout 600 apt-get -qq install --yes --no-install-recommends chromium chromium-driver fonts-liberation
}
export DEBIAN_FRONTEND=noninteractive
{ install || { timeout 120 apt-get -qq update && install; }; } < /dev/null > "$log" 2>&1 ||
	skip "chromium could not be installed: $(tail -n 1 "$log")"
