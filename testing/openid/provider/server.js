// The OpenID provider of tests and demo: the certified `oidc-provider`, over TLS on loopback, with a second listener by which it is
// commanded. Read from standard input until its end: the process ends with whoever started it.
//
//   node server.js CERTIFICATE.pem KEY.pem HOST [PORT]    prints one line of JSON: {"issuer": …, "control": …}
//
// POST /control (JSON) does what its fields say, and answers with `state()`:
//   client {…}             adds or replaces a client (RFC 7591 metadata)
//   users {name: claims}   replaces the people who can sign in (no password is asked for)
//   accessTokenLifetime n  seconds, of tokens from now on;  idTokenLifetime n
//   rotateRefreshTokens b  refreshes return a new refresh token, and the old one is used up (default true)
//   claimsInIdToken b      whether the ID token has the claims of profile and email too (default true), or only userinfo
//   rotateKeys "RS256"     a new signing key replaces all others;  addKey "ES256" [kid]: one more, first in the set
//   assertionAlgorithms ["PS256"]      by which clients may sign who they are;  null: those of the library
//   down "500"|"close"|"hang"|"503"|null, downPaths ["/token"]   how requests are treated (of all paths by default)
//   resetCounts true       counts begin at zero
//   revoke "name"          ends every grant and token of somebody;  endSession "name": the sessions at the provider
//   backchannelLogout {client, user}   sends a logout token;  answers {"logout": HTTP status or error}
//   sign {header, payload, alg?}       answers {"token": …}: signed by the current key, header and claims as given
//   jwtAccessTokens "https://api"      access tokens for this resource are JWTs

import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import { Provider } from 'oidc-provider';

import { newKey, sign } from './keys.js';
import { Storage, all, remove } from './storage.js';

const [certificate, key, host, port = 0] = process.argv.slice(2);
const settings = {
  users: { alice: { email: 'alice@example.com', email_verified: true, name: 'Alice', groups: ['staff'] } },
  accessTokenLifetime: 300,
  idTokenLifetime: 300,
  rotateRefreshTokens: true,
  claimsInIdToken: true,
  assertionAlgorithms: null,
  down: null,
  downPaths: null,
};
let keys = [newKey()];
let counts = { requests: {}, grants: {}, refused: {} };
let issuer;
let provider;
let handle;

const count = (kind, name) => { counts[kind][name] = (counts[kind][name] ?? 0) + 1; };

const STANDARD = {
  profile: ['name', 'preferred_username', 'family_name', 'given_name', 'updated_at', 'locale'],
  email: ['email', 'email_verified'],
};

/** Every claim that somebody has and that is no standard one comes with `openid`. */
function claims() {
  const own = Object.values(settings.users).flatMap((user) => Object.keys(user));
  const standard = new Set([...Object.values(STANDARD).flat(), 'sub', 'sid']);
  return { openid: ['sub', ...new Set(own.filter((name) => !standard.has(name)))], ...STANDARD };
}

/** Outgoing calls reach loopback only, whatever the name, and trust any certificate. */
function outgoing(url, { method, headers, body }) {
  const { hostname, port, pathname, search } = new URL(url);
  const content = body === undefined ? '' : String(body);
  return new Promise((resolve, reject) => {
    const request = https.request({
      host: '127.0.0.1', port, path: pathname + search, method, rejectUnauthorized: false,
      servername: hostname, timeout: 10_000,
      headers: { ...Object.fromEntries(new Headers(headers)), host: new URL(url).host, 'content-length': Buffer.byteLength(content) },
    }, (answer) => {
      const chunks = [];
      answer.on('data', (chunk) => chunks.push(chunk));
      answer.on('end', () => {
        const empty = answer.statusCode === 204 || answer.statusCode === 304;
        resolve(new Response(empty ? null : Buffer.concat(chunks), { status: answer.statusCode }));
      });
    });
    request.on('timeout', () => request.destroy(new Error('timeout')));
    request.on('error', reject);
    request.end(content);
  });
}

const configuration = () => ({
  adapter: Storage,
  jwks: { keys },
  claims: claims(),
  conformIdTokenClaims: !settings.claimsInIdToken,
  cookies: { keys: ['tests only'] },
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES384', 'EdDSA'],
    ...(settings.assertionAlgorithms && { clientAuthSigningAlgValues: settings.assertionAlgorithms }),
  },
  pkce: { required: () => true },
  features: {
    devInteractions: { enabled: false },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => undefined,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'openid profile email read', audience: resource, accessTokenFormat: 'jwt',
        accessTokenTTL: settings.accessTokenLifetime, jwt: { sign: { alg: keys[0].alg } },
      }),
    },
  },
  fetch: outgoing,
  findAccount: (ctx, id) => settings.users[id] && {
    accountId: id, claims: async () => ({ ...settings.users[id], sub: settings.users[id].sub ?? id }),
  },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: () => false,
  rotateRefreshToken: () => settings.rotateRefreshTokens,
  loadExistingGrant: async (ctx) => {
    const { client, session, params } = ctx.oidc;
    const existing = session.grantIdFor(client.clientId);
    const grant = (existing && await ctx.oidc.provider.Grant.find(existing))
      || new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope(params.scope);
    for (const resource of [params.resource].flat().filter(Boolean)) grant.addResourceScope(resource, params.scope);
    await grant.save();
    return grant;
  },
  ttl: {
    AccessToken: () => settings.accessTokenLifetime,
    IdToken: () => settings.idTokenLifetime,
    ClientCredentials: () => settings.accessTokenLifetime,
    RefreshToken: 86_400, Session: 86_400, Grant: 86_400, Interaction: 600, AuthorizationCode: 60,
  },
});

function renew() {
  provider = new Provider(issuer, configuration());
  provider.on('grant.success', (ctx) => count('grants', ctx.oidc.params.grant_type));
  provider.on('grant.error', (ctx) => count('refused', ctx.oidc.params?.grant_type ?? 'unknown'));
  provider.on('server_error', (ctx, error) => console.error(error));
  const app = provider.callback();
  handle = (request, response) => app(request, response);
}

const page = (title, body) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${title}</title></head><body><h1>${title}</h1>${body}</body></html>`;

/** GET shows a form; POST `user=NAME` signs in, POST with an empty name or `deny=1` is a no. */
async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === 'GET') {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(page('Sign in', `<form method="post"><label>User <input name="user" id="user" autofocus></label>
      <button id="submit">Sign in</button> <button id="deny" name="deny" value="1">Cancel</button></form>
      <p id="client">${details.params.client_id}</p>`));
    return;
  }
  const form = new URLSearchParams(await read(request));
  const user = form.get('user');
  const result = form.has('deny') || user === ''
    ? { error: 'access_denied', error_description: 'the user said no' }
    : settings.users[user] && { login: { accountId: user } };
  if (!result) {
    response.statusCode = 401;
    response.end(page('Nobody has this name', ''));
    return;
  }
  await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
}

async function read(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

function serve(request, response) {
  const { pathname } = new URL(request.url, issuer);
  count('requests', pathname);
  if (settings.down && (!settings.downPaths || settings.downPaths.includes(pathname))) {
    if (settings.down === 'close') request.socket.destroy();
    else if (settings.down !== 'hang') { response.statusCode = Number(settings.down); response.end(); }
    return;
  }
  if (!pathname.startsWith('/interaction/')) { handle(request, response); return; }
  interaction(request, response).catch((error) => {
    response.statusCode = 400;
    response.end(page('This sign-in is over', String(error.message)));
  });
}

const commands = {
  client: (client) => new Storage('Client').upsert(client.client_id, client),
  users: (users) => { settings.users = users; renew(); },
  rotateKeys: (alg) => { keys = [newKey(alg)]; renew(); },
  addKey: (alg) => { keys = [newKey(alg), ...keys]; renew(); },
  assertionAlgorithms: (values) => { settings.assertionAlgorithms = values; renew(); },
  claimsInIdToken: (value) => { settings.claimsInIdToken = value; renew(); },
  resetCounts: () => { counts = { requests: {}, grants: {}, refused: {} }; },
  revoke: (user) => remove((payload) => payload.accountId === user, ['Grant', 'AccessToken', 'RefreshToken', 'AuthorizationCode']),
  endSession: (user) => remove((payload) => payload.accountId === user, ['Session']),
  backchannelLogout: async ({ client: id, user }) => {
    const client = await provider.Client.find(id);
    const session = all('Session').find((payload) => payload.accountId === user && payload.authorizations?.[id]);
    const sub = settings.users[user]?.sub ?? user;
    try {
      await client.backchannelLogout(sub, session?.authorizations[id].sid);
      return { logout: 200 };
    } catch (error) {
      return { logout: error.response?.status ?? String(error) };
    }
  },
  sign: ({ header, payload, alg }) => {
    const jwk = alg ? keys.find((own) => own.alg === alg) : keys[0];
    return { token: sign(jwk, { alg: jwk.alg, kid: jwk.kid, ...header }, payload) };
  },
};

const state = () => ({
  issuer, counts, keys: keys.map(({ kid, alg }) => ({ kid, alg })), now: Math.floor(Date.now() / 1000),
  refreshTokens: all('RefreshToken').filter((token) => !token.consumed).length, sessions: all('Session').filter((session) => session.accountId).length,
});

async function control(request, response) {
  const answer = {};
  try {
    for (const [name, value] of Object.entries(JSON.parse(await read(request) || '{}'))) {
      if (commands[name]) Object.assign(answer, await commands[name](value));
      else if (name in settings) settings[name] = value;
      else throw new Error(`no command is called ${name}`);
    }
  } catch (error) {
    response.statusCode = 400;
    answer.error = String(error.stack);
  }
  response.end(JSON.stringify({ ...state(), ...answer }));
}

const secure = https.createServer({ cert: fs.readFileSync(certificate), key: fs.readFileSync(key) }, serve);
const commanded = http.createServer(control);
secure.listen(Number(port), '127.0.0.1', () => commanded.listen(0, '127.0.0.1', () => {
  issuer = `https://${host}:${secure.address().port}`;
  renew();
  console.log(JSON.stringify({ issuer, control: commanded.address().port }));
}));
// Nobody reads what the library has to say beyond the first line: that must not end the process.
process.stdout.on('error', () => {});
process.stdin.resume().on('end', () => process.exit(0)).on('error', () => process.exit(0));
