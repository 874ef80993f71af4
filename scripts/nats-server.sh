#!/usr/bin/env bash
# Finds a nats-server that is new enough, and starts it with the project's nats.conf.
#
#   nats-server.sh path                              print the path of a usable nats-server
#   nats-server.sh run DIR [--port P] [--http P] [-- OPTION...]
#                                                    start one in DIR (default ports: -1, any free one) with further
#                                                    options of nats-server; a port that is taken ends it with code 69
#
# `path` looks at $NATS_SERVER, PATH, .tools/, and then downloads one into .tools/ by the
# system's own package manager (apt on Debian, brew on macOS). It installs nothing, leaves the
# system's package lists alone, needs no root, and knows no address: mirrors are those which
# the machine's apt sources name, signatures are checked with the machine's Debian keyring.
# NATS_SERVER_RELEASE ("2.10") takes a server of that release only, for tests; Debian trixie has 2.10.
# NATS_SERVER_SUITES ("sid trixie") names the Debian suites to try, in this order.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
release=${NATS_SERVER_RELEASE:-}
case $release in 2.10) suites=trixie ;; *) suites="sid trixie" ;; esac
suites=${NATS_SERVER_SUITES:-$suites}

say() { echo "nats-server.sh: $*" >&2; }
die() { say "$2"; exit "$1"; }

# Prints the version of the server at $1 ("2.15.1"), or nothing when it does not run.
version_of() {
  local line
  line=$("$1" --version 2>/dev/null) || return 0
  [[ $line =~ v([0-9]+\.[0-9]+\.[0-9]+) ]] && echo "${BASH_REMATCH[1]}" || true
}

# Is version $1 at least 2.10.0? The text after the last digit (-RC.1) does not count.
new_enough() {
  local major minor
  IFS=. read -r major minor _ <<<"$1"
  ((major > 2 || (major == 2 && minor >= 10)))
}

too_old() { echo "nats-server $2 at $1 is too old: 2.10.0 or newer is needed (sync_interval)"; }

# Is version $1 of the release that was asked for?
asked_for() { [ -z "$release" ] || [[ $1 == "$release".* ]]; }

other_release() { echo "nats-server $2 at $1 is not $release, which NATS_SERVER_RELEASE asks for"; }

usable() {
  local version
  [ -x "$1" ] && version=$(version_of "$1") && [ -n "$version" ] && new_enough "$version" && asked_for "$version"
}

# The mirrors of this machine, those of its own release first: "http://host/debian".
mirrors() {
  local release=
  # shellcheck source=/dev/null
  [ -r /etc/os-release ] && release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  apt-get "$@" update --print-uris 2>/dev/null |
    sed -n "s|^'\(.*\)/dists/\([^']*\)/InRelease'.*|\2 \1|p" |
    awk -v release="$release" '{ print ($1 == release ? 0 : 1), $2 }' |
    sort -s -k1,1 | awk '!seen[$2]++ { print $2 }'
}

# Downloads the package of suite $1 by apt into the empty directory $2 and unpacks it to $2/unpacked.
download_by_apt() {
  local suite=$1 dir=$2 keyring=/usr/share/keyrings/debian-archive-keyring.gpg mirror
  mkdir -p "$dir/lists/partial" "$dir/archives/partial"
  : >"$dir/status"
  local private=(
    -o "Dir::State=$dir" -o "Dir::State::lists=$dir/lists" -o "Dir::State::status=$dir/status"
    -o "Dir::Cache=$dir" -o "Dir::Cache::archives=$dir/archives"
    -o "APT::Sandbox::User=" -o "Acquire::Languages=none" -o "Acquire::Retries=3"
  )
  local only=(-o "Dir::Etc::sourcelist=$dir/sources.list" -o "Dir::Etc::sourceparts=/dev/null")
  [ -r "$keyring" ] || { say "no $keyring, so nothing can be verified"; return 1; }
  for mirror in $(mirrors "${private[@]}"); do
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$dir/sources.list"
    say "downloading nats-server of Debian $suite into .tools/ (nothing is installed)"
    if apt-get "${private[@]}" "${only[@]}" -qq --error-on=any update >"$dir/log" 2>&1 &&
      (cd "$dir" && apt-get "${private[@]}" "${only[@]}" -qq download nats-server >>"$dir/log" 2>&1) &&
      dpkg-deb -x "$dir"/nats-server_*.deb "$dir/unpacked" >>"$dir/log" 2>&1; then
      return 0
    fi
    grep -E '^E:' "$dir/log" >&2 || tail -n 3 "$dir/log" >&2
  done
  return 1
}

# Fetches Homebrew's bottle into its cache, which does not install it, and unpacks it to $1/unpacked.
download_by_brew() {
  say "downloading nats-server by brew into .tools/ (nothing is installed)"
  mkdir -p "$1/unpacked"
  brew fetch --quiet nats-server >&2 && tar -xzf "$(brew --cache nats-server)" -C "$1/unpacked"
}

# Downloads for suite $1 and moves the binary to .tools/nats-server-$1, in one step, when it is usable.
# Two of these at the same time are harmless: each has a directory of its own.
download() {
  local suite=$1 work binary status=1
  mkdir -p "$tools"
  work=$(mktemp -d "$tools/download.XXXXXX")
  if [ "$suite" = brew ]; then download_by_brew "$work"; else download_by_apt "$suite" "$work"; fi && {
    binary=$(find "$work/unpacked" -type f -name nats-server -perm -u+x | head -n 1)
    if [ -n "$binary" ] && usable "$binary"; then
      mv -f "$binary" "$tools/nats-server-$suite" && status=0
    else
      say "the nats-server of $suite does not run here${release:+, or is not $release}"
    fi
  }
  rm -rf "$work"
  return "$status"
}

path() {
  local found version suite
  if [ -n "${NATS_SERVER:-}" ]; then
    version=$(version_of "$NATS_SERVER")
    [ -n "$version" ] || die 78 "NATS_SERVER=$NATS_SERVER does not run"
    new_enough "$version" || die 78 "$(too_old "$NATS_SERVER" "$version")"
    asked_for "$version" || die 78 "$(other_release "$NATS_SERVER" "$version")"
    echo "$NATS_SERVER"
    return
  fi
  # Debian puts the server into /usr/sbin, which is not on every user's PATH.
  if found=$(PATH=$PATH:/usr/sbin command -v nats-server); then
    version=$(version_of "$found")
    if [ -z "$version" ]; then
      say "passed over: $found does not run"
    elif ! new_enough "$version"; then
      say "passed over: $(too_old "$found" "$version")"
    elif ! asked_for "$version"; then
      say "passed over: $(other_release "$found" "$version")"
    else
      echo "$found"
      return
    fi
  fi
  if command -v brew >/dev/null && ! command -v apt-get >/dev/null; then suites=brew; fi
  for suite in $suites; do
    if usable "$tools/nats-server-$suite"; then echo "$tools/nats-server-$suite"; return; fi
  done
  if [ "$suites" != brew ] && ! command -v apt-get >/dev/null; then
    die 69 "no nats-server ${release:-2.10.0 or newer} found, and neither apt nor brew to download one: set NATS_SERVER to its path"
  fi
  for suite in $suites; do
    if download "$suite"; then echo "$tools/nats-server-$suite"; return; fi
  done
  die 69 "no nats-server could be downloaded: install ${release:-2.10.0 or newer} and set NATS_SERVER to its path"
}

# Creates $1/nats.env once: a password for each user of nats.conf. Each starts with a letter,
# because nats-server reads a value such as 12345 or 10k as a number and does not start.
passwords() {
  local file=$1/nats.env user
  [ -s "$file" ] && return
  (
    umask 077
    for user in SYS MAILSYNC BRIDGE SERVICE CONSUMER OPS; do
      echo "NATS_${user}_PASSWORD=p$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')"
    done >"$file.$$"
  )
  mv -f "$file.$$" "$file"
}

# Ends in one line when somebody listens on port $1 of loopback already; -1 is any free port.
refuse_taken() {
  local hello='' who
  [ "$1" = -1 ] && return
  # A connection that is refused is the good case.
  { exec 3<>"/dev/tcp/127.0.0.1/$1"; } 2>/dev/null || return 0
  # A server greets on the port of its clients; on that of monitoring it is silent.
  read -r -t 1 hello <&3 || true
  exec 3>&-
  case $hello in "INFO {"*) who="a nats-server runs there already" ;; *) who="another program listens there" ;; esac
  die 69 "port $1 is taken, $who: use it, stop it, or start this one with another port ($2)"
}

run() {
  local dir=${1:?usage: nats-server.sh run DIR [--port P] [--http P] [-- OPTION...]} port=-1 http=-1 server
  shift
  while [ $# -gt 0 ]; do
    case $1 in
      --port) port=${2:?--port needs a number} ;;
      --http) http=${2:?--http needs a number} ;;
      --) shift && break ;;
      *) die 64 "unknown option $1" ;;
    esac
    shift 2
  done
  refuse_taken "$port" --port
  refuse_taken "$http" --http
  server=$(path)
  mkdir -p "$dir"
  cd "$dir"
  passwords "$PWD"
  set -a
  # shellcheck source=/dev/null
  . "$PWD/nats.env"
  set +a
  exec "$server" -c "$root/nats.conf" -p "$port" -m "$http" --ports_file_dir "$PWD" "$@"
}

case ${1:-} in
  path) path ;;
  run) shift && run "$@" ;;
  *) die 64 "usage: nats-server.sh path | run DIR [--port P] [--http P] [-- OPTION...]" ;;
esac
