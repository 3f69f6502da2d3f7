#!/bin/sh
# The one-shot service `init` of docker-compose.yml: makes the keys and passwords of the network once, into a volume that only
# it sees, and hands every service its own ones in a volume of their own. What is there stays. `operator` prints what
# `agentnet attach` takes.
set -eu
umask 077
: "${KEYS:=/keys}" "${OUT:=/out}" "${AGENTNET:=agentnet}" "${SERVICE_UID:=10001}"
mode=${AGENTNET_SECURITY:-secure}
export AGENTNET_IDENTITY_DIR="$KEYS/identities"

if [ "${1:-}" = operator ]; then
    url=nats://${AGENTNET_HOST:-localhost}:${NATS_PORT:-4222}
    if [ "$mode" = open ]; then
        printf '{"nats_url":"nats://agentnet_secret_token@%s","mode":"open"}\n' "${url#nats://}"
        exit
    fi
    [ -s "$KEYS/enrolment-token" ] || { echo "init: start the stack first, it makes the operator" >&2; exit 1; }
    printf '{"nats_url":"%s","mode":"secure","enrolment_token":"%s","identity":{"name":"%s","seed":"%s"}}\n' \
        "$url" "$(cat "$KEYS/enrolment-token")" "$(cat "$KEYS/deployment")-operator" \
        "$($AGENTNET identity export operator --format nkey-seed --yes)"
    exit
fi

case $mode in
open) echo "init: WARNING: AGENTNET_SECURITY=open: whoever reaches NATS and knows the seed's token speaks for everybody" >&2 ;;
secure) ;;
*) echo "init: AGENTNET_SECURITY is \"$mode\"; expected secure or open" >&2; exit 64 ;;
esac

$AGENTNET nats-config --dir "$KEYS" --seen-as /run/agentnet >/dev/null
$AGENTNET identity show operator >/dev/null 2>&1 || $AGENTNET identity create operator >/dev/null
[ -s "$KEYS/postgres-password" ] || od -An -tx1 -N24 /dev/urandom | tr -d ' \n' > "$KEYS/postgres-password"
[ -s "$KEYS/cluster-password" ] || od -An -tx1 -N24 /dev/urandom | tr -d ' \n' > "$KEYS/cluster-password"
operator=$($AGENTNET identity show operator --json | sed -n 's/.*"public_key": *"\([^"]*\)".*/\1/p' | head -n 1)
gateway=$(sed -n 's/^AGENTNET_GATEWAY_KEYS=//p' "$KEYS/services.env")
database="postgres://${POSTGRES_USER:-agentnet}:$(cat "$KEYS/postgres-password")@postgres:5432/${POSTGRES_DB:-agentnet}"

# hand DIRECTORY OWNER FILE...: copies of these keys, readable by their owner only.
hand() {
    to=$OUT/$1 owner=$2
    shift 2
    for file; do cp "$KEYS/$file" "$to/$file"; done
    chmod 500 "$to" && chmod 400 "$to"/*
    chown -R "$owner" "$to"
}
# says DIRECTORY LINE...: what that service reads besides its environment.
says() {
    to=$OUT/$1/service.env
    shift
    printf '%s\n' "$@" > "$to"
}

common="AGENTNET_SECURITY=$mode
AGENTNET_DEPLOYMENT=$(cat "$KEYS/deployment")
NATS_URL=${NATS_SERVERS:-nats://nats:4222}"
for service in nats postgres registry persister gateway; do
    mkdir -p "$OUT/$service" && chmod 700 "$OUT/$service" && rm -f "$OUT/$service"/*
done
if [ "$mode" = open ]; then
    common="AGENTNET_SECURITY=open
AGENTNET_DEPLOYMENT=$(cat "$KEYS/deployment")
NATS_URL=$(echo "${NATS_SERVERS:-nats://nats:4222}" | sed 's#nats://#nats://agentnet_secret_token@#g')"
    printf 'authorization { token: "agentnet_secret_token" }\n' > "$KEYS/access.conf"
    says registry "$common" "DATABASE_URL=$database" AGENTNET_TOKEN_SECRET_FILE=/run/agentnet/token-secret
    says persister "$common" "DATABASE_URL=$database"
    says gateway "$common"
    hand registry "$SERVICE_UID" token-secret
    hand persister "$SERVICE_UID"
    hand gateway "$SERVICE_UID"
else
    cp "$KEYS/nats-secure.conf" "$KEYS/access.conf"
    says registry "$common" "DATABASE_URL=$database" "AGENTNET_GATEWAY_KEYS=$gateway" "AGENTNET_OPERATOR_KEYS=$operator" \
        "$(grep _FILE= "$KEYS/services.env")"
    says persister "$common" "DATABASE_URL=$database" AGENTNET_NKEY_SEED_FILE=/run/agentnet/nats-persister
    says gateway "$common" AGENTNET_NKEY_SEED_FILE=/run/agentnet/nats-gateway
    hand registry "$SERVICE_UID" nats-registry nats-issuer nats-xkey nats-system enrolment-token token-secret
    hand persister "$SERVICE_UID" nats-persister
    hand gateway "$SERVICE_UID" nats-gateway
fi
password=$(cat "$KEYS/cluster-password")
{
    printf 'authorization { user: cluster, password: "%s", timeout: 5 }\nroutes: [\n' "$password"
    for node in nats nats-2 nats-3; do printf '  "nats-route://cluster:%s@%s:6222"\n' "$password" "$node"; done
    printf ']\n'
} > "$KEYS/cluster.conf"
hand nats "$SERVICE_UID" access.conf cluster.conf
# The images of Postgres have users of their own.
hand postgres "$SERVICE_UID" postgres-password
chmod 555 "$OUT/postgres" && chmod 444 "$OUT/postgres/postgres-password"
for data in "$OUT"/nats-data*; do
    [ ! -d "$data" ] || chown "$SERVICE_UID" "$data"
done
echo "init: the network's keys are ready ($mode)"
