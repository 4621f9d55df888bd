// A browser without a window, for the tests of Portcullis: follows an address to its end, keeps cookies, and presses the one button
// of each form on the way.
//
//   node browser.mjs URL          prints the last page
//   node browser.mjs URL ISSUER   the same at a `glewlwyd`, whose pages are programs: Ann logs in and consents beforehand
const PAGES_MAX = 20;
const cookies = new Map();
const unescaped = text => text.replaceAll('&amp;', '&').replaceAll('&quot;', '"').replaceAll('&#39;', "'");

async function ask(url, form) {
  const jar = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const answer = await fetch(url, {
    redirect: 'manual', method: form ? 'POST' : 'GET', headers: { cookie: jar }, body: form ? new URLSearchParams(form) : undefined,
  });
  for (const line of answer.headers.getSetCookie()) {
    const [name, ...value] = line.split(';')[0].split('=');
    cookies.set(name, value.join('='));
  }
  return answer;
}

const [, , address, issuer] = process.argv;
let url = address;
if (issuer) {
  const api = new URL('/api/', issuer);
  const say = async (method, path, body) => {
    const jar = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const answer = await fetch(new URL(path, api), { method, headers: { 'content-type': 'application/json', cookie: jar }, body: JSON.stringify(body) });
    for (const line of answer.headers.getSetCookie()) cookies.set(...line.split(';')[0].split(/=(.*)/s).slice(0, 2));
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status}`);
  };
  await say('POST', 'auth/', { username: 'ann', password: 'password-of-ann' });
  for (const alg of ['ES256', 'RS256', 'PS256', 'EdDSA']) await say('PUT', `auth/grant/cli-${alg}`, { scope: 'openid ask' });
  url += '&g_continue';
}
let answer = await ask(url);
for (let page = 0; page < PAGES_MAX; page += 1) {
  if (answer.status >= 300 && answer.status < 400) {
    url = new URL(answer.headers.get('location'), url).href;
    answer = await ask(url);
    continue;
  }
  const text = await answer.text();
  const action = text.match(/<form[^>]*action="([^"]*)"/)?.[1];
  if (!action || answer.status >= 400) {
    console.log(answer.status, text);
    process.exit(answer.status === 200 ? 0 : 1);
  }
  const fields = [...text.matchAll(/<input[^>]*>/g)].map(it => it[0]);
  const of = (field, name) => unescaped(field.match(new RegExp(`${name}="([^"]*)"`))?.[1] ?? '');
  const form = Object.fromEntries(fields.filter(it => of(it, 'name')).map(it => [of(it, 'name'), of(it, 'value')]));
  const button = [...text.matchAll(/<button[^>]*name="([^"]*)"[^>]*value="([^"]*)"/g)].find(it => it[1] !== 'abort');
  if (button) form[button[1]] = button[2];
  url = new URL(unescaped(action), url).href;
  answer = await ask(url, form);
}
console.log('too many pages');
process.exit(1);
