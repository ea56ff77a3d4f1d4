#!/usr/bin/env bash
# Starts WSO2 API Manager by its shipped entrypoint and stops it in order.
#
# The shipped entrypoint starts the server below two shells that keep SIGTERM to themselves, so a stopped container
# would be killed with its databases open (docker-apim 4.6.x, docker-entrypoint.sh). Here the signal goes to the server
# itself, which shuts down, and the container ends when it has.
set -u

below() {
  local child
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do
    echo "$child"
    below "$child"
  done
}

stop() {
  local process found=
  [ -n "$shipped" ] || exit 143
  for process in $(below "$shipped"); do
    case "$(cat "/proc/$process/comm" 2>/dev/null)" in
      "" | bash | sh | dash) ;;
      *) kill -TERM "$process" 2>/dev/null && found=yes ;;
    esac
  done
  # Nothing but shells: the server is not started yet, and nothing can be left half-written.
  [ -n "$found" ] || kill -TERM "$shipped" 2>/dev/null
}

shipped=
trap stop TERM INT
"${EV_SHIPPED_ENTRYPOINT:-/home/wso2carbon/docker-entrypoint.sh}" "$@" &
shipped=$!
# A signal ends `wait` early; only the server's own end may end this.
while :; do
  wait "$shipped"
  code=$?
  kill -0 "$shipped" 2>/dev/null || exit "$code"
done
