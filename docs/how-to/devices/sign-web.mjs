// Signs with Web Crypto: Deno, Bun, workers at the edge, browsers, and Node from 20 on.
// Each function takes the key's bytes and the body's bytes, and returns headers.
const encoder = new TextEncoder();

async function hmac(key, bytes) {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const imported = await crypto.subtle.importKey('raw', key, algorithm, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', imported, bytes));
}

export function hubKey(secret) {
  return encoder.encode(secret);
}

export function standardKey(secret) {
  const binary = atob(secret.replace(/^whsec_/, ''));
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

// Done where devices are provisioned: a device only ever gets the result.
export async function deviceKey(key, device) {
  return hmac(key, encoder.encode(`gridhook/device/v1\0${device}`));
}

export async function hub(key, body) {
  const tag = await hmac(key, body);
  const digits = Array.from(tag, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return { 'X-Hub-Signature-256': `sha256=${digits}` };
}

export async function standard(key, body, id) {
  const moment = String(Math.floor(Date.now() / 1000));
  const head = encoder.encode(`${id}.${moment}.`);
  const signed = new Uint8Array(head.length + body.length);
  signed.set(head);
  signed.set(body, head.length);
  const tag = String.fromCharCode(...await hmac(key, signed));
  return {
    'webhook-id': id,
    'webhook-timestamp': moment,
    'webhook-signature': `v1,${btoa(tag)}`,
  };
}
