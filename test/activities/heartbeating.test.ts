import { ActivityCancellationDetails } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { heartbeating } from '../../activities/runners.js';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it.each([
  ['a cancel, which its step may still be carrying out', { cancelRequested: true }, true],
  ['the server has given the try up for its time', { timedOut: true }, false],
  ['the server does not know the try any more', { notFound: true }, false],
])('after %s', async (_what, said, goesOn) => {
  const environment = new MockActivityEnvironment();
  let beats = 0;
  environment.on('heartbeat', () => {
    beats += 1;
  });
  let end: (() => void) | undefined;
  const step = new Promise<void>((resolve) => {
    end = resolve;
  });
  const running = environment.run(() => heartbeating('working', () => step));
  await vi.advanceTimersByTimeAsync(11_000);
  expect(beats).toBe(3);
  environment.cancel('CANCELLED', new ActivityCancellationDetails(said));
  await vi.advanceTimersByTimeAsync(10_000);
  expect(beats).toBe(goesOn ? 5 : 3);
  end?.();
  await running;
  await vi.advanceTimersByTimeAsync(20_000);
  expect(beats).toBe(goesOn ? 5 : 3);
});
