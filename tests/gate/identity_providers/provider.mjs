// An identity provider of others for the tests of Portcullis: npm's `oidc-provider`, whose people need no password.
//
//   node provider.mjs    prints its issuer and where keys are rotated, and serves until its standard input ends
//
// A rotation makes new keys, with which it signs from then on; what is under way goes on, and the old keys stay published.
import { createServer } from 'node:http';
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import Provider from 'oidc-provider';

const ALGORITHMS = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
const GROUPS = { ann: ['ops', 'dba'], bob: ['ops'] };
const RESOURCE = 'https://portcullis.example.com';
const SECONDS = 120;

// The test holds the other end, which closes however it ends.
process.stdin.on('end', () => process.exit(0)).resume();

let generation = 0;
const fresh = () => {
  generation += 1;
  return Object.entries(ALGORITHMS).map(([alg, [kind, options]]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
  }));
};
let keys = fresh();

// One store for all generations: the default one belongs to one provider, and would lose a log-in that is under way.
const stored = new Map();
class Store {
  constructor(model) { this.model = model; }
  key(id) { return `${this.model}:${id}`; }
  async upsert(id, payload) {
    stored.set(this.key(id), payload);
    if (payload.uid) stored.set(this.key(`uid:${payload.uid}`), id);
    if (payload.userCode) stored.set(this.key(`user:${payload.userCode}`), id);
  }
  async find(id) { return stored.get(this.key(id)); }
  async findByUid(uid) { return this.find(stored.get(this.key(`uid:${uid}`))); }
  async findByUserCode(code) { return this.find(stored.get(this.key(`user:${code}`))); }
  async consume(id) { const it = await this.find(id); if (it) it.consumed = Math.floor(Date.now() / 1000); }
  async destroy(id) { stored.delete(this.key(id)); }
  async revokeByGrantId(grant) {
    for (const [key, it] of stored) if (it.grantId === grant) stored.delete(key);
  }
}

const cookies = [randomUUID()];
const tool = {
  token_endpoint_auth_method: 'none', redirect_uris: ['http://127.0.0.1/callback'], application_type: 'native', response_types: ['code'],
  grant_types: ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code'],
};
const settings = () => ({
  adapter: Store,
  jwks: { keys },
  clients: [
    ...Object.keys(ALGORITHMS).map(alg => ({ ...tool, client_id: `cli-${alg}`, id_token_signed_response_alg: alg })),
    { client_id: 'robot', client_secret: 'for-tests-only', grant_types: ['client_credentials'], redirect_uris: [], response_types: [] },
  ],
  enabledJWA: { idTokenSigningAlgValues: Object.keys(ALGORITHMS) },
  claims: { openid: ['sub'], profile: ['name', 'preferred_username'], groups: ['groups'] },
  conformIdTokenClaims: false,
  scopes: ['openid', 'offline_access'],
  ttl: { AccessToken: SECONDS, IdToken: SECONDS, ClientCredentials: SECONDS, DeviceCode: SECONDS, AuthorizationCode: 30, Interaction: SECONDS, Session: 600, Grant: 600, RefreshToken: 600 },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: `subject-of-${id}`, name: id, preferred_username: id, groups: GROUPS[id] ?? [] }) }),
  pkce: { required: () => true },
  cookies: { keys: cookies },
  interactions: { url: (_, it) => `/login/${it.uid}` },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true, defaultResource: (_, client) => (client.clientId === 'robot' ? RESOURCE : undefined), useGrantedResource: () => true,
      getResourceServerInfo: () => ({ scope: 'ask', audience: RESOURCE, accessTokenFormat: 'jwt', accessTokenTTL: SECONDS, jwt: { sign: { alg: 'ES256' } } }),
    },
  },
  extraTokenClaims: (_, token) => (token.accountId ? { preferred_username: token.accountId, groups: GROUPS[token.accountId] ?? [] } : {}),
});

let provider;
let answer;
const server = createServer((question, reply) => answer(question, reply));
const renew = issuer => {
  provider = new Provider(issuer, settings());
  const usual = provider.callback();
  answer = async (question, reply) => {
    if (question.method === 'POST' && question.url === '/rotate') {
      keys = [...fresh(), ...keys];
      renew(issuer);
      return reply.end('rotated\n');
    }
    if (!question.url.startsWith('/login/')) return usual(question, reply);
    const asked = await provider.interactionDetails(question, reply);
    const grant = new provider.Grant({ accountId: 'ann', clientId: asked.params.client_id });
    grant.addOIDCScope('openid profile groups offline_access');
    grant.addResourceScope(RESOURCE, 'ask');
    const done = { login: { accountId: 'ann' }, consent: { grantId: await grant.save() } };
    return provider.interactionFinished(question, reply, done, { mergeWithLastSubmission: false });
  };
};
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  renew(issuer);
  console.log(`${issuer} ${issuer}/rotate`);
});
