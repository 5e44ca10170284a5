// node sign.mjs hub|standard URL KEY FILE [ID [DEVICE]]
// Posts FILE with Node's own modules. KEY is the source's secret; with a DEVICE, that
// device's key (64 hex digits). ID is the transaction id, which only `standard` needs.
import { createHmac } from 'node:crypto';
import { readFile } from 'node:fs/promises';

const [scheme, url, text, file, id = '', device = ''] = process.argv.slice(2);

function keyOf() {
  if (device) return Buffer.from(text, 'hex');
  if (scheme === 'hub') return Buffer.from(text, 'utf8');
  return Buffer.from(text.replace(/^whsec_/, ''), 'base64');
}

function hub(key, body) {
  const digits = createHmac('sha256', key).update(body).digest('hex');
  return { 'X-Hub-Signature-256': `sha256=${digits}` };
}

function standard(key, body) {
  const moment = Math.floor(Date.now() / 1000);
  const hmac = createHmac('sha256', key).update(`${id}.${moment}.`).update(body);
  return {
    'webhook-id': id,
    'webhook-timestamp': String(moment),
    'webhook-signature': `v1,${hmac.digest('base64')}`,
  };
}

// A buffer, not a parsed object: what was signed is what travels.
const body = await readFile(file);
const headers = {
  'Content-Type': 'application/json',
  ...(device && { 'X-Device-Id': device }),
  ...(scheme === 'hub' ? hub(keyOf(), body) : standard(keyOf(), body)),
};
const reply = await fetch(url, {
  method: 'POST', headers, body, signal: AbortSignal.timeout(30_000),
});
console.log(await reply.text());
console.log(reply.status);
