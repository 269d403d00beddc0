import { describe, expect, test } from 'vitest';
import {
  JsonRpcConnection,
  JsonRpcConnectionError,
  JsonRpcError,
  type ServerRequest,
} from '../../runner/drivers/codex/json-rpc.js';

function connection() {
  const sent: unknown[] = [];
  const notified: [string, unknown][] = [];
  const waiting: ServerRequest[] = [];
  const log = { info: () => undefined, warn: () => undefined };
  const rpc = new JsonRpcConnection({
    write: (line) => sent.push(JSON.parse(line)),
    log,
    onNotification: (method, params) => notified.push([method, params]),
    onRequest: (request) => {
      if (request.method === 'broken') throw new Error('no');
      if (request.method === 'waits') waiting.push(request);
      else if (request.method === 'known') request.answer({ result: { decision: 'decline' } });
      else request.answer({ error: { code: -32_601, message: 'unknown' } });
    },
  });
  const receive = (message: unknown): void => rpc.feed(Buffer.from(`${JSON.stringify(message)}\n`));
  return { rpc, sent, notified, waiting, receive };
}

describe('JsonRpcConnection', () => {
  test('keeps its own ids apart from those of the other side', async () => {
    const { rpc, sent, receive } = connection();
    const answer = rpc.request('turn/start', { a: 1 }, 1_000);
    receive({ id: 1, method: 'known', params: {} });
    receive({ id: 0, method: 'strange', params: {} });
    receive({ id: 1, result: { turn: 'x' } });
    expect(await answer).toEqual({ turn: 'x' });
    expect(sent).toEqual([
      { id: 1, method: 'turn/start', params: { a: 1 } },
      { id: 1, result: { decision: 'decline' } },
      { id: 0, error: { code: -32_601, message: 'unknown' } },
    ]);
  });

  test('a request of the other side is answered later, once, and an error of ours is an answer too', () => {
    const { sent, waiting, receive } = connection();
    receive({ id: 'a', method: 'waits', params: {} });
    receive({ id: 7, method: 'broken', params: {} });
    expect(sent).toMatchObject([{ id: 7, error: { code: -32_603 } }]);
    waiting[0]?.answer({ result: 'yes' });
    waiting[0]?.answer({ result: 'no' });
    expect(sent.slice(1)).toEqual([{ id: 'a', result: 'yes' }]);
  });

  test('reads lines wherever the chunks are cut, inside a character too, and skips what is no message', () => {
    const { rpc, notified } = connection();
    const bytes = Buffer.from('{"method":"a","params":{"text":"naïve 🐦"}}\nnoise\n[]\n{"method":"b"}\n');
    for (const byte of bytes) rpc.feed(Buffer.from([byte]));
    expect(notified).toEqual([
      ['a', { text: 'naïve 🐦' }],
      ['b', undefined],
    ]);
  });

  test('an error answer, a missing answer and a lost connection reject', async () => {
    const { rpc, receive } = connection();
    const refused = rpc.request('x', {}, 1_000);
    receive({ id: 1, error: { code: -32_600, message: 'no active turn to steer' } });
    await expect(refused).rejects.toThrow(JsonRpcError);
    await expect(rpc.request('y', {}, 10)).rejects.toThrow('y: no answer within 10 ms');
    const lost = rpc.request('z', {}, 1_000);
    rpc.close('the agent process ended');
    await expect(lost).rejects.toThrow(JsonRpcConnectionError);
    await expect(rpc.request('after', {}, 1_000)).rejects.toThrow('the agent process ended');
  });

  test('asks an overloaded server again', async () => {
    const { rpc, sent, receive } = connection();
    const answer = rpc.request('turn/start', {}, 5_000);
    receive({ id: 1, error: { code: -32_001, message: 'Server overloaded; retry later.' } });
    await expect.poll(() => sent.length).toBe(2);
    receive({ id: 2, result: 'ok' });
    expect(await answer).toBe('ok');
  });
});
