import { describe, expect, it } from 'vitest';
import { tokenScopes } from '../../contract/route-contract.js';
import { apiTokens } from '../support/api.js';
import { startTurn } from '../support/turns.js';
import { useApi } from '../support/use-api.js';
import { successes } from './support/route-fixtures.js';
import { ask, everyRoute, outcomeOf, pathOf } from './support/route-walk.js';

const scopeTokens = Object.fromEntries(
  tokenScopes.map((scope) => [scope, `agr_scope_${scope}_0123456789abcdef`]),
);
const strangers = Object.fromEntries(
  tokenScopes.map((scope) => [scope, `agr_stranger_${scope}_0123456789abc`]),
);

const { api, database } = await useApi({
  apiTokens: [
    ...apiTokens,
    ...tokenScopes.flatMap((scope) => [
      { name: `scope-${scope}`, token: scopeTokens[scope] ?? '', scopes: [scope], tenantId: undefined },
      { name: `other-${scope}`, token: strangers[scope] ?? '', scopes: [scope], tenantId: 'other' },
    ]),
  ],
});
const world = { api, database };
const { launchToken, runnerToken, runToken } = await startTurn(api);
const runnerTokens = { launch: launchToken, runner: runnerToken, run: runToken };
const stranger = strangers.admin ?? '';

const guarded = everyRoute.flatMap((route) => {
  const { auth } = route.contract;
  return auth === 'none' ? [] : [{ ...route, auth }];
});

describe('routes without a token', () => {
  it('are those of the health of the API', () => {
    const open = everyRoute.filter(({ contract }) => contract.auth === 'none');
    expect(open.map(({ contract }) => contract.path)).toEqual([
      '/health',
      '/health/live',
      '/healthz',
      '/health/readiness',
      '/readyz',
    ]);
  });

  it.each(everyRoute.filter(({ contract }) => contract.auth === 'none'))(
    '$id looks at none',
    async (route) => {
      const answer = await ask(api, route, route.contract.path, { token: 'nonsense' });
      expect(answer.status).toBe(200);
    },
  );
});

describe.each(guarded)('$id', (route) => {
  const { id, contract, auth } = route;
  const blank = pathOf(contract);

  it('needs a token: 401', async () => {
    const none = await ask(api, route, blank, { token: null });
    const unknown = await ask(api, route, blank, { token: 'agr_nobody_0123456789abcdef' });
    for (const answer of [none, unknown]) {
      expect(outcomeOf(answer)).toBe('401 unauthorized');
      expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer /);
    }
  });

  it('comes before the body: a body that is no JSON is not looked at', async () => {
    if (contract.bodyKind === 'none') return;
    const answer = await ask(api, route, blank, { token: null, body: '{' });
    expect(outcomeOf(answer)).toBe('401 unauthorized');
  });

  it.each(tokenScopes)('takes or refuses the scope %s as declared', async (scope) => {
    const answer = await ask(api, route, blank, { token: scopeTokens[scope] ?? '' });
    const isEnough = auth.api !== undefined && tokenScopes.indexOf(scope) >= tokenScopes.indexOf(auth.api);
    if (isEnough) expect([401, 403]).not.toContain(answer.status);
    else expect(outcomeOf(answer)).toBe('403 forbidden');
  });

  it.each(['launch', 'runner', 'run'] as const)('takes or refuses a %s token as declared', async (kind) => {
    const answer = await ask(api, route, blank, { token: runnerTokens[kind] });
    if (auth[kind] === true) expect(answer.status).not.toBe(401);
    else expect(outcomeOf(answer)).toBe('401 unauthorized');
  });

  it('shows nothing to a token of another tenant, and changes nothing for it', async () => {
    if (auth.api === undefined) return;
    const { params, token: _owners, ...asked } = await successes[id](world);
    const path = pathOf(contract, params);
    const answer = await ask(api, route, path, { ...asked, token: stranger });
    const namesTenant = JSON.stringify(asked.body ?? null).includes('"tenantId":"acme"');
    if (contract.path.includes('/:')) expect(outcomeOf(answer)).toBe('404 not-found');
    else if (namesTenant) expect(outcomeOf(answer)).toBe('403 forbidden');
    else expect(answer.text).not.toContain('acme');
    // What the stranger did not do is still to be done.
    if (contract.path.includes('/:')) {
      const owners = await ask(api, route, path, {
        ...asked,
        ...(_owners === undefined ? {} : { token: _owners }),
      });
      expect(owners.status).toBe(200);
    }
  });

  it('shows nothing to a token of another tenant while the session is being deleted', async () => {
    if (auth.api === undefined || !contract.path.includes('/:')) return;
    const { params, token: _owners, ...asked } = await successes[id](world);
    await database.pool.query(
      `update sessions set deleted_at = now()
        where session_id = $1 or session_id in (select session_id from runs where run_id = $2)`,
      [params?.sessionId ?? null, params?.runId ?? null],
    );
    const answer = await ask(api, route, pathOf(contract, params), { ...asked, token: stranger });
    expect(outcomeOf(answer)).toBe('404 not-found');
  });
});
