import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ProcessWatch } from '../../../infra/launchers/process-watch.js';

const states = new Map<string, string>();
let looks = 0;
const newWatch = () =>
  new ProcessWatch((jobName) => {
    looks += 1;
    return states.get(jobName) ?? 'unknown';
  });
beforeEach(() => {
  vi.useFakeTimers();
  states.clear();
  looks = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

describe('ProcessWatch', () => {
  it('tells a change of a process that a former worker started within its interval, once', () => {
    const watch = newWatch();
    states.set('a', 'alive');
    const heard = { a: vi.fn(), b: vi.fn() };
    const stops = [watch.watch('a', heard.a), watch.watch('b', heard.b)];
    vi.advanceTimersByTime(5_000);
    expect(heard.a).not.toHaveBeenCalled();
    states.set('a', 'gone');
    vi.advanceTimersByTime(500);
    vi.advanceTimersByTime(5_000);
    expect(heard.a).toHaveBeenCalledTimes(1);
    expect(heard.b).not.toHaveBeenCalled();
    for (const stop of stops) stop();
  });

  it('tells the exit of a child at once, to all who watch it', () => {
    const watch = newWatch();
    const heard = vi.fn();
    const stops = [watch.watch('a', heard), watch.watch('a', heard)];
    watch.changed('a');
    watch.changed('nobody watches this one');
    expect(heard).toHaveBeenCalledTimes(2);
    for (const stop of stops) stop();
  });

  it('looks at nothing once nobody watches', () => {
    const watch = newWatch();
    const stop = watch.watch('a', vi.fn());
    stop();
    stop();
    const before = looks;
    vi.advanceTimersByTime(5_000);
    expect(looks).toBe(before);
    expect(vi.getTimerCount()).toBe(0);
  });
});
