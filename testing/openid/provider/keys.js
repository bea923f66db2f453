// Signing keys, and tokens that the provider itself would never sign.

import * as crypto from 'node:crypto';

const KINDS = {
  RS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  PS256: () => crypto.generateKeyPairSync('rsa', { modulusLength: 2048 }),
  ES256: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' }),
  ES384: () => crypto.generateKeyPairSync('ec', { namedCurve: 'P-384' }),
  EdDSA: () => crypto.generateKeyPairSync('ed25519'),
};

/** A new private JWK for one algorithm. */
export function newKey(alg = 'RS256', kid = crypto.randomBytes(6).toString('hex')) {
  const jwk = KINDS[alg]().privateKey.export({ format: 'jwk' });
  return { ...jwk, kid, alg, use: 'sig' };
}

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Signs anything, with exactly this header and these claims. */
export function sign(jwk, header, payload) {
  const key = crypto.createPrivateKey({ key: jwk, format: 'jwk' });
  const input = Buffer.from(`${encode(header)}.${encode(payload)}`);
  const hash = { 256: 'sha256', 384: 'sha384', 512: 'sha512' }[jwk.alg.slice(-3)];
  const options = { key, dsaEncoding: 'ieee-p1363' };
  if (jwk.alg.startsWith('PS')) {
    options.padding = crypto.constants.RSA_PKCS1_PSS_PADDING;
    options.saltLength = crypto.constants.RSA_PSS_SALTLEN_DIGEST;
  }
  return `${input}.${crypto.sign(hash ?? null, input, options).toString('base64url')}`;
}
