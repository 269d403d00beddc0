import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { paced } from '../../cli/paced.js';

async function* items(pieces: readonly (number | 'pause' | Error)[]) {
  for (const piece of pieces) {
    if (piece instanceof Error) throw piece;
    if (piece === 'pause') await sleep(150);
    else yield piece;
  }
}

async function groupsOf(pieces: Parameters<typeof items>[0], everyMs: number): Promise<unknown[]> {
  const groups: unknown[] = [];
  try {
    for await (const group of paced(items(pieces), everyMs)) groups.push(group);
  } catch (error) {
    groups.push(error);
  }
  return groups;
}

const failure = new Error('cut');

it.each<[string, Parameters<typeof items>[0], number, unknown[]]>([
  ['gathers what is there already', [1, 2, 3], 50, [[1, 2, 3]]],
  [
    'gathers what comes quickly',
    [1, 2, 'pause', 3, 4],
    50,
    [
      [1, 2],
      [3, 4],
    ],
  ],
  ['waits for its pace, not longer', [1, 'pause', 2, 'pause', 3], 10, [[1], [2], [3]]],
  ['gathers nothing without a pace', [1, 2], 0, [[1], [2]]],
  ['fails after what came before', [1, 2, failure], 50, [[1, 2], failure]],
  ['ends', [], 50, []],
])('%s', async (_name, pieces, everyMs, groups) => {
  expect(await groupsOf(pieces, everyMs)).toEqual(groups);
});

it('gathers what comes within its pace of what was shown', async () => {
  const pieces: (number | 'pause')[] = [1, 'pause', 2, 'pause', 3];
  expect(await groupsOf(pieces, 10_000)).toEqual([[1], [2, 3]]);
});

it('bounds a group', async () => {
  const many = Array.from({ length: 1_200 }, (_, index) => index);
  expect((await groupsOf(many, 50)).map((group) => (Array.isArray(group) ? group.length : 0))).toEqual([
    500, 500, 200,
  ]);
});
