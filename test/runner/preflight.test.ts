import { describe, expect, it } from 'vitest';
import { ApiError, ConnectionError } from '../../client/index.js';
import { preflight, registerWithPreflight } from '../../runner/supervisor/preflight.js';

async function judged(answers: readonly (Error | 'ok')[], signal = new AbortController().signal) {
  const left = [...answers];
  let asked = 0;
  const lines: string[] = [];
  const found = preflight({
    whoami: () => {
      asked += 1;
      const answer = left.shift() ?? answers.at(-1) ?? 'ok';
      return answer === 'ok' ? Promise.resolve() : Promise.reject(answer);
    },
    managerUrl: 'http://api:8000/api',
    managerUrlVariable: 'AGENTRUN_MGR_URL',
    signal,
    log: { warn: (_fields, line) => lines.push(line) },
    wait: () => Promise.resolve(),
  });
  const result = await found.then(
    (finding) => finding?.kind ?? 'fine',
    () => 'thrown',
  );
  const message = (await found.catch(() => undefined))?.message ?? '';
  return { result, asked, message, lines };
}

const refused = (status: number, failureKind: string) => new ApiError({ status, failureKind, message: 'no' });
const foreign = new ConnectionError('invalid-answer', 'no envelope');

describe('the preflight of a runner', () => {
  it.each([
    ['whoami answers', ['ok'], 'fine', 1],
    ['the API does not know the route', [refused(404, 'route-not-found')], 'wrong-url', 1],
    ['something else says 404', [refused(404, 'http-404')], 'wrong-url', 4],
    ['something else says 405', [refused(405, 'http-405')], 'wrong-url', 4],
    ['something else says 401', [refused(401, 'http-401')], 'wrong-url', 4],
    ['a page is answered with 200', [foreign], 'wrong-url', 4],
    ['something else speaks for the API for a moment', [refused(404, 'http-404'), 'ok'], 'fine', 2],
    ['the token is not taken', [refused(401, 'unauthorized')], 'token-refused', 1],
    ['the token may not do this', [refused(403, 'forbidden')], 'token-refused', 1],
    ['the API is overloaded to the end', [refused(503, 'unavailable')], 'thrown', 1],
    ['a gateway without its API', [refused(502, 'http-502')], 'thrown', 1],
    ['too many requests', [refused(429, 'http-429')], 'thrown', 1],
    ['nobody answers', [new ConnectionError('network', 'refused')], 'thrown', 1],
    ['an outage after a page', [foreign, new ConnectionError('network', 'refused')], 'thrown', 2],
  ] as const)('%s: %j is %s', async (_name, answers, result, asked) => {
    const found = await judged(answers);
    expect([found.result, found.asked]).toEqual([result, asked]);
    if (result === 'wrong-url' || result === 'token-refused')
      expect(found.message).toContain('http://api:8000/api (from AGENTRUN_MGR_URL)');
    expect(found.lines.every((line) => line.includes('AGENTRUN_MGR_URL'))).toBe(true);
  });

  it('says nothing when the runner has to go', async () => {
    const { result } = await judged([foreign], AbortSignal.abort());
    expect(result).toBe('thrown');
  });
});

/** Plays the answers of both questions, the last one of each again and again. */
async function registering(register: readonly (Error | 'ok')[], whoami: readonly (Error | 'ok')[]) {
  const player = (answers: readonly (Error | 'ok')[]) => {
    let asked = 0;
    const ask = () => {
      const answer = answers[Math.min(asked, answers.length - 1)] ?? 'ok';
      asked += 1;
      return answer === 'ok' ? Promise.resolve() : Promise.reject(answer);
    };
    return { ask, asked: () => asked };
  };
  const [registers, asks] = [player(register), player(whoami)];
  const result = await registerWithPreflight({
    register: registers.ask,
    whoami: asks.ask,
    managerUrl: 'http://api:8000/api',
    managerUrlVariable: 'AGENTRUN_MGR_URL',
    signal: new AbortController().signal,
    log: { warn: () => undefined },
    wait: () => Promise.resolve(),
  }).then(
    (finding) => finding?.kind ?? 'registered',
    (error: unknown) => error,
  );
  return [result, registers.asked()];
}

const noRoute = refused(404, 'route-not-found');
const noPage = refused(404, 'http-404');
const fencedOff = refused(409, 'fenced');
const away = refused(503, 'unavailable');

describe('registering beside the preflight', () => {
  it.each<[string, (Error | 'ok')[], (Error | 'ok')[], unknown, number]>([
    ['both are answered', ['ok'], ['ok'], 'registered', 1],
    ['an older API does not know whoami', ['ok'], [noRoute], 'registered', 1],
    ['whoami is not answered in time', ['ok'], [away], 'registered', 1],
    ['the path of the URL is wrong', [noRoute], [noRoute], 'wrong-url', 1],
    ['somebody else answers', [noPage], [noPage], 'wrong-url', 1],
    ['somebody else answers with a page', [foreign], [noPage], 'wrong-url', 1],
    ['somebody else spoke for a moment', [noPage, 'ok'], [noPage, 'ok'], 'registered', 2],
    [
      'the token is not taken',
      [refused(401, 'unauthorized')],
      [refused(401, 'unauthorized')],
      'token-refused',
      1,
    ],
    ['only its job is refused', [refused(403, 'forbidden')], ['ok'], refused(403, 'forbidden'), 2],
    ['another runner has the job', [fencedOff], ['ok'], fencedOff, 1],
    ['the API is away', [away], [away], away, 1],
  ])('%s', async (_name, register, whoami, expected, registers) => {
    expect(await registering(register, whoami)).toEqual([expected, registers]);
  });

  it('asks both at once', async () => {
    const asked: string[] = [];
    const never = (name: string) => () => {
      asked.push(name);
      return new Promise<void>(() => undefined);
    };
    void registerWithPreflight({
      register: never('register'),
      whoami: never('whoami'),
      managerUrl: 'http://api:8000',
      managerUrlVariable: 'AGENTRUN_MGR_URL',
      signal: new AbortController().signal,
      log: { warn: () => undefined },
    });
    expect(asked.sort()).toEqual(['register', 'whoami']);
  });
});
