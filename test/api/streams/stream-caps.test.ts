import { expect, it } from 'vitest';
import type { Caller } from '../../../api/auth.js';
import { StreamCaps } from '../../../api/streams/stream-caps.js';

const callerOf = (name: string, tenantId?: string): Caller => ({
  kind: 'api',
  via: 'token',
  name,
  scopes: ['read'],
  tenantId,
});

it('the tokens of one tenant leave room for others, however many they are', () => {
  const caps = new StreamCaps({ perProcess: 10, perRun: 10, perToken: 2, perTenant: 5 });
  const opened = ['one', 'one', 'two', 'two', 'three'].map((name) => caps.open(callerOf(name, 'acme'), null));
  const refused = expect.objectContaining({
    failureKind: 'rate-limited',
    message: '5 streams of this tenant are open already (AGENTRUN_STREAMS_PER_TENANT)',
  });
  expect(() => caps.open(callerOf('three', 'acme'), null)).toThrow(refused);
  for (const caller of [callerOf('one', 'other'), callerOf('sees all'), callerOf('also')]) {
    opened.push(caps.open(caller, null));
  }
  opened[0]?.();
  opened.push(caps.open(callerOf('four', 'acme'), null));
  for (const release of opened.slice(1)) release();
  for (const name of ['one', 'one', 'two', 'two', 'three']) caps.open(callerOf(name, 'acme'), null);
});
