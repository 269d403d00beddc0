import { expect, it, test } from 'vitest';
import { tellRepeats, tellWaiting, waitingText } from '../../cli/waiting-remarks.js';
import { ApiError, ConnectionError, errorLine, StreamError } from '../../client/index.js';

const refused = (status: number, failureKind: string) => new ApiError({ status, failureKind, message: 'no' });
const cut = new ConnectionError('network', 'GET /x: no connection to the API', {
  cause: Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }),
});

test.each([
  [cut, 'the API does not answer (GET /x: no connection to the API: connect ECONNREFUSED 127.0.0.1:1)'],
  [
    new ConnectionError('network', 'cut', {
      cause: new AggregateError([new TypeError('a'), new Error('b')], 'c'),
    }),
    'the API does not answer (cut: c [a; b])',
  ],
  [refused(429, 'rate-limited'), 'the API refuses (rate-limited: no)'],
  [refused(503, 'unavailable'), 'the API is not available (unavailable: no)'],
  [new StreamError('infra-failed', 'oh'), 'the API cut the stream (infra-failed: oh)'],
  [refused(401, 'unauthorized'), null],
])('%s', (error, text) => {
  expect(waitingText(error)).toBe(text);
});

const recorder = () => {
  const remarks: string[] = [];
  return { remarks, output: { remark: (text: string) => void remarks.push(text) } };
};

it('tells a wait and its end once, and nothing of a token that is read anew', () => {
  const { remarks, output } = recorder();
  const tell = tellWaiting(output);
  const waits = (error: unknown) => tell({ kind: 'waiting', attempt: 1, delayMs: 1, error });
  waits(refused(401, 'unauthorized'));
  tell({ kind: 'connected' });
  waits(refused(429, 'rate-limited'));
  waits(cut);
  tell({ kind: 'connected' });
  tell({ kind: 'connected' });
  expect(remarks).toEqual(['the API refuses (rate-limited: no); waiting', 'the API is back']);
});

it('tells once that a request is repeated, and leaves its end to the command', () => {
  const { remarks, output } = recorder();
  const log = tellRepeats(output);
  log.warn({ delayMs: 10, ...errorLine(cut) }, 'for a log');
  log.warn({ delayMs: 20, ...errorLine(cut) }, 'for a log');
  log.warn({ attempts: 4, ...errorLine(cut) }, 'gave up');
  expect(remarks).toEqual([
    'GET /x: no connection to the API: connect ECONNREFUSED 127.0.0.1:1; trying again',
  ]);
});
