#!/bin/sh
# Installs psapwatch as a system service, or upgrades it: run as root from a source tree.
#
#   /opt/psapwatch/VERSION-TIME    a virtual environment; the last KEPT of them stay
#   /opt/psapwatch/current         the one in use; point it back to go back (docs/operations.md)
#   /usr/local/bin/psapwatch       the command
#   /etc/psapwatch                 the configuration (yours; nothing there is overwritten)
#   /etc/psapwatch/secrets         passwords and keys, root's alone
#   /etc/systemd/system            psapwatch.service, psapwatch-responder.service
#
# Nothing is started or restarted. `install.sh remove` takes away all but configuration and state.
set -eu
PREFIX=/opt/psapwatch
KEPT=3
PYTHON=${PYTHON:-/usr/bin/python3}  # not one from a home directory: the service cannot see those
UNITS=/etc/systemd/system
SERVICES="psapwatch.service psapwatch-responder.service"
here=$(cd "$(dirname "$0")" && pwd)
source=$(cd "$here/../.." && pwd)

fail() {
  echo "install.sh: $*" >&2
  exit 1
}

tell_systemd() {
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

remove() {
  for service in $SERVICES; do
    if [ -d /run/systemd/system ]; then systemctl disable --now "$service" || true; fi
    rm -f "$UNITS/$service"
  done
  rm -rf "$PREFIX" /usr/local/bin/psapwatch
  tell_systemd
  echo "removed; /etc/psapwatch and /var/lib/private/psapwatch are still there"
}

check_python() {
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || fail "$PYTHON is not Python 3.11 or newer; set PYTHON=/usr/bin/python3.11"
  "$PYTHON" -c 'import ensurepip' 2>/dev/null \
    || fail "$PYTHON cannot make a virtual environment: install python3-venv"
}

install_program() {
  version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$source/pyproject.toml")
  new=$PREFIX/$version-$(date -u +%Y%m%dT%H%M%S)
  trap 'rm -rf "$new"' EXIT
  mkdir -p "$PREFIX"
  "$PYTHON" -m venv "$new"
  "$new/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c "$source/constraints.txt" "$source"
  "$new/bin/psapwatch" --version
  trap - EXIT
  # A rename: there is no moment without a program.
  ln -s "$new" "$PREFIX/current.new"
  mv -T "$PREFIX/current.new" "$PREFIX/current"
  mkdir -p /usr/local/bin
  ln -sf "$PREFIX/current/bin/psapwatch" /usr/local/bin/psapwatch
  # The names end in their time, and the newest is last.
  ls -d "$PREFIX"/*-*T* | sort -t- -k2 | head -n "-$KEPT" | xargs -r rm -rf
}

install_configuration() {
  mkdir -p /etc/psapwatch
  install -d -m 0700 /etc/psapwatch/secrets
  install -m 0644 "$source/config/psapwatch.yml" /etc/psapwatch/psapwatch.yml.example
}

[ "$(id -u)" -eq 0 ] || fail "must be root (sudo sh $0)"
case ${1:-install} in
  install) ;;
  remove) remove; exit ;;
  *) fail "usage: install.sh [remove]" ;;
esac
check_python
install_program
install_configuration
for service in $SERVICES; do install -m 0644 "$here/$service" "$UNITS/$service"; done
tell_systemd
echo "installed. Write /etc/psapwatch/psapwatch.yml, then: systemctl enable --now psapwatch"
