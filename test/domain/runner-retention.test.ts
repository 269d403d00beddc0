import { describe, expect, it } from 'vitest';
import { decideRetention, type RetainedRunner } from '../../domain/kubernetes/runner-retention.js';
import { seededRandom } from '../support/seeded.js';

const hourMs = 3_600_000;
const nowMs = 1_000 * hourMs;
const runner = (jobName: string, state: RetainedRunner['state'], hoursAgo: number): RetainedRunner => ({
  jobName,
  state,
  lastActiveAtMs: nowMs - hoursAgo * hourMs,
});
const decide = (runners: RetainedRunner[], maxRunners: number, maxAgeHours?: number) =>
  decideRetention(
    runners,
    { maxRunners, maxAgeMs: maxAgeHours === undefined ? undefined : maxAgeHours * hourMs },
    nowMs,
  );

describe('the decision about which runners stay', () => {
  const [old, older, oldest, young] = [
    runner('old', 'inactive', 5),
    runner('older', 'inactive', 6),
    runner('oldest', 'inactive', 7),
    runner('young', 'inactive', 1),
  ];

  it.each<[string, RetainedRunner[], number, number | undefined, string[]]>([
    ['nothing at all', [], 1, 1, []],
    ['as many as may stay', [old, young], 2, undefined, []],
    ['one too many: the oldest activity goes', [young, oldest, old], 2, undefined, ['oldest:too-many']],
    [
      'several too many, the oldest first',
      [young, older, old, oldest],
      1,
      undefined,
      ['oldest:too-many', 'older:too-many', 'old:too-many'],
    ],
    [
      'active ones count and stay',
      [runner('busy', 'active', 900), runner('busy-2', 'active', 900), young],
      1,
      undefined,
      ['young:too-many'],
    ],
    [
      'no inactive one: all stay above the limit',
      [runner('a', 'active', 9), runner('b', 'active', 9)],
      1,
      1,
      [],
    ],
    [
      'those of another installation count and stay',
      [runner('foreign', 'unknown', 900), old],
      1,
      1,
      ['old:too-many'],
    ],
    ['age alone', [old, oldest, young], 9, 6, ['oldest:too-old']],
    ['as old as may be', [older], 9, 6, []],
    [
      'first the number, then the age',
      [young, old, older, oldest],
      3,
      4,
      ['oldest:too-many', 'older:too-old', 'old:too-old'],
    ],
    ['no age is given', [oldest], 9, undefined, []],
  ])('%s', (_name, runners, maxRunners, maxAgeHours, expected) => {
    const { remove, kept } = decide(runners, maxRunners, maxAgeHours);
    expect(remove.map(({ jobName, reason }) => `${jobName}:${reason}`)).toEqual(expected);
    expect(remove.length + kept.active + kept.unknown + kept.withinLimits).toBe(runners.length);
  });

  it('never removes an active or an unknown one, nor more than it has to, whatever there is', () => {
    const random = seededRandom(7);
    const pick = (below: number) => Math.floor(random() * below);
    for (let round = 0; round < 500; round += 1) {
      const runners = Array.from({ length: pick(12) }, (_, index) =>
        runner(`r${index}`, (['active', 'inactive', 'unknown'] as const)[pick(3)] ?? 'active', pick(50)),
      );
      const maxRunners = 1 + pick(10);
      const { remove } = decide(runners, maxRunners);
      const removed = new Set(remove.map(({ jobName }) => jobName));
      const inactive = runners.filter(({ state }) => state === 'inactive');
      expect(remove).toHaveLength(Math.min(inactive.length, Math.max(0, runners.length - maxRunners)));
      for (const { jobName, state } of runners)
        if (state !== 'inactive') expect(removed.has(jobName)).toBe(false);
      const kept = inactive.filter(({ jobName }) => !removed.has(jobName));
      const youngestRemoved = Math.max(
        ...inactive.filter(({ jobName }) => removed.has(jobName)).map(({ lastActiveAtMs }) => lastActiveAtMs),
      );
      for (const { lastActiveAtMs } of kept) expect(lastActiveAtMs).toBeGreaterThanOrEqual(youngestRemoved);
    }
  });
});
