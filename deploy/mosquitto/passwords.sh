#!/bin/sh
# Make a password for each user of the broker, and Mosquitto's password file of them all.
#
#   sh passwords.sh FOLDER USER...
#
# FOLDER/USER.password holds a password of 32 characters for whoever is that user; one that is there is kept, so that a
# user can be added later. FOLDER/passwords is what Mosquitto reads; it holds hashes alone. Needs mosquitto_passwd.
set -eu
umask 077

folder=$1
shift
mkdir -p "$folder"
for user in "$@"; do
    case $user in
    '' | *[!A-Za-z0-9_.-]* | solar | battery | grid | chargers | quarantine | service)
        echo "$user cannot be a user: letters, digits, _ . - and no word of a topic" >&2
        exit 1
        ;;
    esac
    if [ ! -s "$folder/$user.password" ]; then
        head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$folder/$user.password"
    fi
done

draft=$folder/passwords.draft
: >"$draft"
for file in "$folder"/*.password; do
    [ -e "$file" ] || continue
    name=${file##*/}
    printf '%s:%s\n' "${name%.password}" "$(cat "$file")" >>"$draft"
done
mosquitto_passwd -U "$draft"
mv "$draft" "$folder/passwords"
