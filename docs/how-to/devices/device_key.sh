#!/bin/sh
# device_key.sh hub|standard SECRET DEVICE
# Prints a device's key as 64 hex digits. For whoever provisions devices: the source's
# secret stays with them, a device only ever gets its own key.
set -eu
scheme=$1 secret=$2 device=$3

hex() { od -An -vtx1 | tr -d ' \n'; }

if [ "$scheme" = hub ]; then
    hexkey=$(printf %s "$secret" | hex)
else
    hexkey=$(printf %s "${secret#whsec_}" | base64 -d | hex)
fi
{ printf 'gridhook/device/v1\0'; printf %s "$device"; } |
    openssl dgst -sha256 -mac HMAC -macopt "hexkey:$hexkey" -binary | hex
echo
