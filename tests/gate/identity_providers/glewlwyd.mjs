// Another identity provider of others for the tests of Portcullis: Debian's `glewlwyd` 2.7.5, in C, on a table of its own.
//
//   node glewlwyd.mjs FOLDER PORT    prints its issuer and where keys are rotated, and serves until its standard input ends. Its clients
//                                    are sent back to that port of this machine
import { execFileSync, spawn } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as listen } from 'node:net';

const ALGORITHMS = { RS256: ['rsa', { modulusLength: 2048 }], PS256: ['rsa', { modulusLength: 2048 }], ES256: ['ec', { namedCurve: 'P-256' }], EdDSA: ['ed25519', {}] };
const SCHEMA = '/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3';
const MODULES = '/usr/lib/glewlwyd';
const STARTED_MAX = 200;
const folder = process.argv[2];

const port = await new Promise(found => {
  const server = listen().listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => found(port)); });
});
const base = `http://127.0.0.1:${port}`;
const issuer = `${base}/api/oidc`;
writeFileSync(`${folder}/glewlwyd.conf`, `
port=${port}
bind_address="127.0.0.1"
external_url="${base}"
login_url="login.html"
api_prefix="api"
log_mode="file"
log_level="ERROR"
log_file="${folder}/log"
session_key="SESSION"
login_api_enabled=true
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="${MODULES}/user"
client_module_path="${MODULES}/client"
user_auth_scheme_module_path="${MODULES}/scheme"
plugin_module_path="${MODULES}/plugin"
use_secure_connection=false
secure_connection_key_file="none"
secure_connection_pem_file="none"
hash_algorithm="SHA512"
database = { type = "sqlite3" path = "${folder}/table" };
`);
execFileSync('sqlite3', [`${folder}/table`], { input: readFileSync(SCHEMA) });
const server = spawn('glewlwyd', ['--config-file', `${folder}/glewlwyd.conf`], { stdio: 'ignore' });
process.on('exit', () => server.kill());
for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => process.exit(0));
// The test holds the other end, which closes however it ends.
process.stdin.on('end', () => process.exit(0)).resume();

let session = '';
async function call(method, path, body) {
  const answer = await fetch(`${base}/api/${path}`, {
    method, headers: { 'content-type': 'application/json', cookie: session }, body: body && JSON.stringify(body),
  });
  session = answer.headers.getSetCookie()[0]?.split(';')[0] ?? session;
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : undefined;
}
for (let tries = 0; ; tries += 1) {
  try { await fetch(base); break; } catch (error) { if (tries === STARTED_MAX) throw error; }
  await new Promise(done => setTimeout(done, 50));
}

let generation = 0;
let keys = [];
const make = () => {
  generation += 1;
  const fresh = Object.entries(ALGORITHMS).map(([alg, [kind, options]]) => ({
    ...generateKeyPairSync(kind, options).privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${generation}`,
  }));
  keys = [...fresh, ...keys];
};
const plugin = () => ({
  module: 'oidc', name: 'oidc', display_name: 'oidc', enabled: true,
  parameters: {
    iss: issuer, 'jwks-private': JSON.stringify({ keys }), 'jwks-show': true, 'default-kid': '', 'client-sign_kid-parameter': 'sign_kid',
    'jwt-type': 'rsa', 'jwt-key-size': '256', key: '', cert: '', 'access-token-duration': 120, 'refresh-token-duration': 600, 'code-duration': 60,
    'refresh-token-rolling': true, 'refresh-token-one-use': 'never', 'allow-non-oidc': true, 'auth-type-code-enabled': true,
    'auth-type-code-revoke-replayed': true, 'auth-type-token-enabled': false, 'auth-type-id-token-enabled': true, 'auth-type-none-enabled': false,
    'auth-type-password-enabled': false, 'auth-type-client-enabled': true, 'auth-type-device-enabled': true, 'auth-type-refresh-enabled': true,
    scope: [], 'additional-parameters': [{ 'user-parameter': 'groups', 'token-parameter': 'groups' }],
    claims: [
      { name: 'groups', 'user-property': 'groups', type: 'string', mandatory: true, 'on-demand': false, scope: [] },
      { name: 'preferred_username', 'user-property': 'username', type: 'string', mandatory: true, 'on-demand': false, scope: [] },
    ],
    'name-claim': 'on-demand', 'name-claim-scope': [], 'email-claim': 'no', 'email-claim-scope': [], 'scope-claim': 'no', 'address-claim': { type: 'no' },
    'allowed-scope': ['openid', 'ask'], 'pkce-allowed': true, 'pkce-method-plain-allowed': false, 'pkce-required': true, 'pkce-required-public-client': true,
    'subject-type': 'public', 'introspection-revocation-allowed': true, 'introspection-revocation-auth-scope': [], 'introspection-revocation-allow-target-client': true, 'register-client-allowed': false,
    'request-parameter-allow': false, 'device-authorization-expiration': 120, 'device-authorization-interval': 1, 'session-management-allowed': false,
    'oauth-rar-allowed': false, 'oauth-par-allowed': false, 'resource-allowed': true, 'resource-scope': { ask: ['https://portcullis.example.com'] },
    'resource-client-property': '', 'resource-change-allowed': false, 'encrypt-out-token-allow': false, 'oauth-dpop-allowed': false,
  },
});

make();
await call('POST', 'auth/', { username: 'admin', password: 'password' });
await call('POST', 'scope/', { name: 'ask', display_name: 'ask', description: 'ask', password_required: false, scheme: {} });
for (const [kind, name, multiple] of [['user', 'groups', true], ['client', 'sign_kid', false]]) {
  const module = await call('GET', `mod/${kind}/database`);
  module.parameters['data-format'] = { ...module.parameters['data-format'], [name]: { multiple, read: true, write: true, 'profile-read': true, 'profile-write': false } };
  await call('PUT', `mod/${kind}/database`, module);
  await call('PUT', `mod/${kind}/database/reset`);
}
await call('POST', 'mod/plugin/', plugin());
for (const [username, groups] of [['ann', ['ops', 'dba']], ['bob', ['ops']]]) {
  await call('POST', 'user/', { username, name: username, password: `password-of-${username}`, scope: ['openid', 'ask', 'g_profile'], enabled: true, groups });
}
for (const alg of Object.keys(ALGORITHMS)) {
  await call('POST', 'client/', {
    client_id: `cli-${alg}`, name: 'cli', confidential: false, token_endpoint_auth_method: ['none'], redirect_uri: [`http://127.0.0.1:${process.argv[3]}/callback`],
    authorization_type: ['code', 'device_authorization', 'refresh_token'], scope: ['openid', 'ask'], enabled: true, sign_kid: `${alg}-1`,
  });
}
await call('POST', 'client/', {
  client_id: 'robot', name: 'robot', confidential: true, client_secret: 'for-tests-only', token_endpoint_auth_method: ['client_secret_basic', 'client_secret_post'],
  authorization_type: ['client_credentials'], redirect_uri: [], scope: ['ask'], enabled: true, sign_kid: 'ES256-1',
});

const control = createServer(async (_, reply) => {
  try {
    make();
    await call('PUT', 'mod/plugin/oidc', plugin());
    await call('PUT', 'mod/plugin/oidc/reset');
    for (const alg of Object.keys(ALGORITHMS)) {
      const client = await call('GET', `client/cli-${alg}`);
      await call('PUT', `client/cli-${alg}`, { ...client, sign_kid: `${alg}-${generation}` });
    }
    reply.end('rotated\n');
  } catch (error) {
    reply.writeHead(500).end(String(error));
  }
}).listen(0, '127.0.0.1', () => console.log(`${issuer} http://127.0.0.1:${control.address().port}`));
