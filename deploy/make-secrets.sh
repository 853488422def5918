#!/bin/sh
# Makes every secret that docker-compose.yml asks for, each in a file of its own. What is there already is kept: run it again after a
# change of deploy/redis/users.acl, and only that is written anew. Usage: sh deploy/make-secrets.sh [FOLDER]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}

# The folder keeps others out. The files in it can be read by all, because each container reads them as a user of its own.
mkdir -p "$folder"
chmod 700 "$folder"
umask 022

password() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

hash() {
    if command -v sha256sum > /dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

# keep NAME TEXT: writes the file unless it is there. Aside and renamed, so that one cut short is not taken for a secret.
keep() {
    [ -s "$folder/$1" ] && return
    printf '%s' "$2" > "$folder/.$1.new"
    mv "$folder/.$1.new" "$folder/$1"
}

# Of the superuser, and of the role of ours.
keep postgres_operator "$(password)"
keep postgres_password "$(password)"
keep database_url "postgresql+psycopg://fleetcast:$(cat "$folder/postgres_password")@postgres:5432/fleetcast"
keep flower_basic_auth "operator:$(password)"

rules=$(sed -e '/^#/d' -e '/^$/d' "$here/redis/users.acl" | awk '/^user /{if (line) print line; line = $0; next} {line = line $0} END {print line}')
for user in web dispatcher worker flower tools operator; do
    keep "redis_$user" "$(password)"
    secret=$(cat "$folder/redis_$user")
    keep "redis_url_$user" "redis://$user:$secret@redis:6379/0"
    rules=$(printf '%s\n' "$rules" | sed "s/#{$user}/#$(printf '%s' "$secret" | hash)/")
done
printf '%s\n' "$rules" > "$folder/.users.acl.new"
mv "$folder/.users.acl.new" "$folder/users.acl"
echo "The secrets are in $folder. Flower's user and password: cat $folder/flower_basic_auth"
