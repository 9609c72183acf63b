# Sourced by the scripts beside it: finds a Python, makes a virtual environment, fills it once.
# Plain bash 3.2 (macOS) and the Python standard library.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

fail() {
  printf '%s: %s\n' "$(basename "$0")" "$1" >&2
  exit 1
}

# Prints the first Python of 3.11 or newer that can make virtual environments. The tested
# versions come first: the newest Python may not have wheels of everything yet.
find_python() {
  local name
  for name in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
    if [ -n "$name" ] && "$name" -c \
      'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      printf '%s\n' "$name"
      return 0
    fi
  done
  fail "no Python 3.11 or newer with its venv module was found: install one (on Debian and Ubuntu with python3-venv), or name it: PYTHON=/path/to/python $0"
}

# fingerprint PATH...: a digest of what these files and folders hold; needs no Python.
fingerprint() {
  (cd "$root" && find "$@" -type f ! -path '*/__pycache__/*' -print0 | xargs -0 cksum |
    LC_ALL=C sort | cksum)
}

# install_into VENV ARGUMENT...: pip, its words kept in VENV/install.log.
install_into() {
  (cd "$root" && "$1/bin/python" -m pip install --disable-pip-version-check --no-input \
    --retries 2 --quiet "${@:2}") >>"$1/install.log" 2>&1
}

# The first error that pip wrote, on one line: those behind it are its consequences.
first_error() {
  { grep 'ERROR: ' "$1/install.log" || tail -n 1 "$1/install.log"; } | sed -n 's/^ *//;1p' |
    cut -c 1-300
}

# fill VENV ARGUMENT...: what `pip install ARGUMENT...` gives, with the tested versions where
# they can be had: the pins need not have wheels for every machine, the metadata's ranges are wider.
fill() {
  local venv="$1"
  shift
  : >"$venv/install.log"
  if install_into "$venv" -c constraints.txt "$@"; then
    return 0
  fi
  if ! grep -qiE 'connection|resolution|timed out|unreachable|max retries' "$venv/install.log"; then
    printf 'The tested versions cannot be had here; trying the newest that fit ...\n' >&2
    if install_into "$venv" "$@"; then
      return 0
    fi
  fi
  fail "pip could not install: is there a network and a package index? $(first_error "$venv")"
}

# ensure_environment VENV STATE ARGUMENT...: the environment VENV holds what `pip install
# ARGUMENT...` gives; filled again only where the digest STATE differs from the last time's.
ensure_environment() {
  local venv="$1" state="$2" python started=$SECONDS
  shift 2
  if ! "$venv/bin/python" -c '' >/dev/null 2>&1; then
    python="$(find_python)" || exit 1
    rm -rf "$venv"
    "$python" -m venv "$venv" || fail "$python could not make a virtual environment in $venv"
  elif [ "$(cat "$venv/installed" 2>/dev/null)" = "$state" ]; then
    return 0
  fi
  printf 'Installing into %s ...\n' "${venv#"$root"/}" >&2
  rm -f "$venv/installed"
  fill "$venv" "$@"
  printf '%s\n' "$state" >"$venv/installed"
  printf 'Installed in %d s.\n' "$((SECONDS - started))" >&2
}

# The environment of the tests and checks: the sources themselves (editable), every extra. Where
# pip is configured with an index of CPU builds, the pin torch==2.13.0 takes its +cpu wheel.
ensure_test_environment() {
  test_venv="$root/.venv-test"
  ensure_environment "$test_venv" "$(fingerprint pyproject.toml constraints.txt)" \
    -e '.[hub,train,av,serve,shards,test,check]'
  PATH="$test_venv/bin:$PATH"
  export PATH
}
