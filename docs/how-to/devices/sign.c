/*
 * sign hub|standard KEY FILE [ID [DEVICE]]
 *
 * Prints the headers that sign FILE, for a client to send with the same bytes:
 *     ./sign hub "$SECRET" body.json | curl -H @- --data-binary @body.json "$URL"
 * KEY is the source's secret; with a DEVICE, that device's key (64 hex digits). ID is
 * the transaction id, which only `standard` needs here.
 * Build: cc -O2 sign.c -o sign -lmbedcrypto   (mbedTLS 2.28 or 3)
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mbedtls/base64.h>
#include <mbedtls/md.h>

#define TAG_BYTES 32
#define KEY_BYTES 256
#define ID_CHARACTERS 255
#define BODY_BYTES (10u * 1024 * 1024)

/* The tag of two pieces, the first of which may be empty; 0: done. */
static int hmac(const unsigned char *key, size_t key_len, const char *head,
                const unsigned char *body, size_t body_len, unsigned char *tag)
{
    mbedtls_md_context_t context;
    int failed;

    mbedtls_md_init(&context);
    failed = mbedtls_md_setup(&context, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 1)
          || mbedtls_md_hmac_starts(&context, key, key_len)
          || mbedtls_md_hmac_update(&context, (const unsigned char *)head, strlen(head))
          || mbedtls_md_hmac_update(&context, body, body_len)
          || mbedtls_md_hmac_finish(&context, tag);
    mbedtls_md_free(&context);
    return failed;
}

/* The key's bytes from 64 hex digits; 0: they are none. */
static size_t from_hex(const char *text, unsigned char *key)
{
    size_t at;
    unsigned int byte;

    if (strlen(text) != 2 * TAG_BYTES || strspn(text, "0123456789abcdefABCDEF") != 64)
        return 0;
    for (at = 0; at < TAG_BYTES; at++) {
        sscanf(text + 2 * at, "%2x", &byte);
        key[at] = (unsigned char)byte;
    }
    return TAG_BYTES;
}

/* The key's bytes; 0: the text is no key. */
static size_t key_of(const char *scheme, const char *text, const char *device,
                     unsigned char *key)
{
    size_t length = strlen(text);

    if (*device)
        return from_hex(text, key);
    if (strcmp(scheme, "hub") == 0) {
        if (length > KEY_BYTES)
            return 0;
        memcpy(key, text, length);
        return length;
    }
    if (strncmp(text, "whsec_", 6) == 0)
        text += 6;
    if (mbedtls_base64_decode(key, KEY_BYTES, &length,
                              (const unsigned char *)text, strlen(text)) != 0)
        return 0;
    return length;
}

static int print_hub(const unsigned char *key, size_t key_len,
                     const unsigned char *body, size_t body_len)
{
    unsigned char tag[TAG_BYTES];
    size_t at;

    if (hmac(key, key_len, "", body, body_len, tag) != 0)
        return 1;
    printf("X-Hub-Signature-256: sha256=");
    for (at = 0; at < TAG_BYTES; at++)
        printf("%02x", tag[at]);
    printf("\n");
    return 0;
}

static int print_standard(const unsigned char *key, size_t key_len, const char *id,
                          const unsigned char *body, size_t body_len)
{
    unsigned char tag[TAG_BYTES], text[64];
    char head[ID_CHARACTERS * 4 + 32];
    long long moment = (long long)time(NULL);
    size_t length;

    /* The pieces are signed with dots between them: id.moment.body */
    if (snprintf(head, sizeof head, "%s.%lld.", id, moment) >= (int)sizeof head)
        return 1;
    if (hmac(key, key_len, head, body, body_len, tag) != 0
        || mbedtls_base64_encode(text, sizeof text, &length, tag, TAG_BYTES) != 0)
        return 1;
    printf("webhook-id: %s\nwebhook-timestamp: %lld\n", id, moment);
    printf("webhook-signature: v1,%s\n", (const char *)text);
    return 0;
}

int main(int argc, char **argv)
{
    const char *id = argc > 4 ? argv[4] : "", *device = argc > 5 ? argv[5] : "";
    unsigned char key[KEY_BYTES], *body = malloc(BODY_BYTES);
    size_t key_len, body_len;
    FILE *file;

    if (argc < 4 || body == NULL || (file = fopen(argv[3], "rb")) == NULL)
        return 2;
    body_len = fread(body, 1, BODY_BYTES, file);
    fclose(file);
    key_len = key_of(argv[1], argv[2], device, key);
    if (key_len == 0)
        return 2;
    printf("Content-Type: application/json\n");
    if (*device)
        printf("X-Device-Id: %s\n", device);
    return strcmp(argv[1], "hub") == 0
        ? print_hub(key, key_len, body, body_len)
        : print_standard(key, key_len, id, body, body_len);
}
