#!/bin/sh
# sign.sh hub|standard URL KEY FILE [ID [DEVICE]]
# Posts FILE. KEY is the source's secret; with a DEVICE, that device's key (64 hex
# digits). ID is the transaction id, which only `standard` needs here.
set -eu
scheme=$1 url=$2 key=$3 file=$4 id=${5:-} device=${6:-}

hex() { od -An -vtx1 | tr -d ' \n'; }
hmac() { openssl dgst -sha256 -mac HMAC -macopt "hexkey:$1" -binary; }

if [ -n "$device" ]; then
    hexkey=$key
elif [ "$scheme" = hub ]; then
    hexkey=$(printf %s "$key" | hex)
else
    hexkey=$(printf %s "${key#whsec_}" | base64 -d | hex)
fi

set -- -H 'Content-Type: application/json'
[ -z "$device" ] || set -- "$@" -H "X-Device-Id: $device"
if [ "$scheme" = hub ]; then
    set -- "$@" -H "X-Hub-Signature-256: sha256=$(hmac "$hexkey" <"$file" | hex)"
else
    now=$(date +%s)
    signature=$({ printf '%s.%s.' "$id" "$now"; cat "$file"; } | hmac "$hexkey" | base64)
    set -- "$@" -H "webhook-id: $id" -H "webhook-timestamp: $now" \
        -H "webhook-signature: v1,$signature"
fi
# --data-binary sends the file as it is: what was signed is what travels.
curl -sS --max-time 30 -w '\n%{http_code}\n' "$@" --data-binary "@$file" "$url"
