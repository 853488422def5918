#!/bin/sh
# Makes the role that every process of ours uses: it owns the database, and may do nothing outside it. The image runs this once, as its
# superuser, on an empty volume. (No `set -u`: the image reads a script that cannot be executed into its own shell.)
set -e

if [ ! -s "$FLEETCAST_PASSWORD_FILE" ]; then
    echo "FLEETCAST_PASSWORD_FILE=$FLEETCAST_PASSWORD_FILE: must name a file that holds a password and that this user can read" >&2
    exit 1
fi

# psql reads the password itself, since a command line can be read by every process of the container.
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
\set password `cat "$FLEETCAST_PASSWORD_FILE"`
BEGIN;
CREATE ROLE fleetcast LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS PASSWORD :'password';
ALTER DATABASE :"DBNAME" OWNER TO fleetcast;
ALTER SCHEMA public OWNER TO fleetcast;
COMMIT;
SQL
