#!/bin/sh
# verify.sh ID TIMESTAMP SIGNATURES BODY_FILE
# Exit 0: the body is signed by $SECRET (v1), or by the public key $PUBLIC_KEY (v1a).
# The first three are the values of webhook-id, webhook-timestamp, webhook-signature.
set -euf
id=$1 at=$2 items=$3 body=$4
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
printf '%s.%s.' "$id" "$at" | cat - "$body" > "$folder/signed"

# More than five minutes off is an old capture.
case $at in '' | *[!0-9]*) exit 1 ;; esac
now=${NOW:-$(date +%s)}
[ "$((now - at))" -le 300 ] && [ "$((at - now))" -le 300 ] || exit 1

hex() { od -An -v -tx1 | tr -d ' \n'; }

by_secret() {
    key=$(printf %s "${SECRET#whsec_}" | openssl base64 -d -A | hex)
    tag=$(openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary \
        "$folder/signed" | openssl base64 -A)
    [ "$1" = "v1,$tag" ]
}

by_public_key() {
    # What stands before the 32 bytes of an Ed25519 key: RFC 8410.
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'
      printf %s "${PUBLIC_KEY#whpk_}" | openssl base64 -d -A; } > "$folder/key"
    printf %s "${1#v1a,}" | openssl base64 -d -A > "$folder/tag"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$folder/key" -rawin \
        -in "$folder/signed" -sigfile "$folder/tag" > /dev/null 2>&1
}

for item in $items; do
    case $item in
        v1,*) [ -n "${SECRET:-}" ] && by_secret "$item" && exit 0 ;;
        v1a,*) [ -n "${PUBLIC_KEY:-}" ] && by_public_key "$item" && exit 0 ;;
    esac
done
exit 1
