import { getEventListeners } from 'node:events';
import { expect, it, vi } from 'vitest';
import { useApi } from '../support/use-api.js';
import { lastSeqOf, turnWithEvents } from './support/streams.js';

const { api, database } = await useApi();

/** What the signal that lives as long as the process holds: listeners, and what `AbortSignal.any` has made of it. */
function heldBy(signal: AbortSignal): number {
  const dependants = Object.getOwnPropertySymbols(signal)
    .filter((symbol) => String(symbol).includes('DependantSignals'))
    .map((symbol) => Number(Object(Reflect.get(signal, symbol)).size ?? 0));
  return dependants.reduce((sum, size) => sum + size, getEventListeners(signal, 'abort').length);
}

it('a request leaves nothing behind at the signal of the process', async () => {
  const { runId } = await turnWithEvents(api, 1);
  const { stopping } = api.deps;
  const before = heldBy(stopping);
  for (let count = 0; count < 20; count += 1) {
    expect((await api.call('GET', `/api/v1/runs/${runId}`)).status).toBe(200);
    expect((await api.call('GET', '/api/v1/runs/none')).status).toBeGreaterThanOrEqual(400);
  }
  const poll = new AbortController();
  const path = `/api/v1/runs/${runId}/events?afterSeq=${await lastSeqOf(database, runId)}&waitMs=20000`;
  const waiting = fetch(`${api.url}${path}`, {
    headers: { authorization: 'Bearer agr_admin_0123456789abcdef' },
    signal: poll.signal,
  });
  const left = expect(waiting).rejects.toThrow('aborted');
  await vi.waitFor(() => expect(heldBy(stopping)).toBe(before + 1));
  poll.abort();
  await left;
  await vi.waitFor(() => expect(heldBy(stopping)).toBe(before));
});
