#!/usr/bin/env bash
# Licences, sources and known faults of what vgcore depends on: each tool where it and its database are at hand, and a
# line about what was skipped otherwise. Fails for a finding alone. $1: the site-packages whose distributions to check.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
crates=${CARGO_HOME:-$HOME/.cargo}
failed=0

skip() { printf 'audit: skipped %s: %s\n' "$1" "$2"; }
run() { printf 'audit: %s\n' "$*"; "$@" || failed=1; }

if ! command -v cargo-deny > /dev/null; then
	skip 'licences and sources' 'cargo-deny is not installed (make audit-tools)'
else
	run cargo deny --offline check licenses bans sources
	if compgen -G "$crates/advisory-db*/*/crates" > /dev/null; then
		run cargo deny --offline check advisories
	else
		skip 'advisories of crates' 'no database (make audit-tools)'
	fi
fi

if ! command -v cargo-audit > /dev/null; then
	skip 'cargo audit' 'cargo-audit is not installed (cargo install cargo-audit)'
elif [[ -d $crates/advisory-db/crates ]]; then
	run cargo audit --no-fetch --deny warnings
else
	skip 'cargo audit' "no database in $crates/advisory-db (cargo audit fetches it)"
fi

# pip-audit keeps no database: it asks the package index for each distribution.
if ! command -v pip-audit > /dev/null; then
	skip 'distributions' 'pip-audit is not installed (pipx install pip-audit)'
elif [[ ! -d ${1:-} ]]; then
	skip 'distributions' "no folder '${1:-}' (make .venv/.installed)"
elif ! python3 -m pip --timeout 3 --retries 0 index versions pip > /dev/null 2>&1; then
	skip 'distributions' 'the package index does not answer'
else
	run pip-audit --progress-spinner off --path "$1"
fi
exit "$failed"
