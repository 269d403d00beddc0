import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { RouteContract } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';
import { packageRoot } from '../../infra/config/package-root.js';

const page = readFileSync(join(packageRoot(), 'docs', 'compatibility.md'), 'utf8');
const contracts: readonly RouteContract[] = Object.values(routes);
const served = new Set(contracts.map(({ method, path }) => `${method.toUpperCase()} ${path}`));
const pairs = [...page.matchAll(/^\| (\d+) +\| ([A-Z]+) +\| `([^`]+)` +\| (.+?) +\|$/gm)].map((row) => ({
  number: Number(row[1]),
  route: `${row[2]} ${row[3]}`,
  state: row[4],
}));
const oddities = [...page.matchAll(/^\| (\d+) +\| ([a-z][^|]*) \| ([^|]+) \|$/gm)].map((row) =>
  Number(row[1]),
);
const countTo = (last: number) => Array.from({ length: last }, (_, index) => index + 1);

describe('docs/compatibility.md', () => {
  it('has a row for each of the 62 pairs of the old contract, and for each of its 53 oddities', () => {
    expect(pairs.map(({ number }) => number)).toEqual(countTo(62));
    expect(new Set(pairs.map(({ route }) => route)).size).toBe(62);
    expect(oddities).toEqual(countTo(53));
  });

  it.each(pairs)('$route: $state', ({ route, state }) => {
    expect(state).toMatch(/^(works|comes with .+)$/);
    expect(served.has(route)).toBe(state === 'works');
  });

  it('names only files that are there', () => {
    const named = [
      ...page.matchAll(/`((?:api|contract|domain|store|infra|activities|test|docs|examples)\/[^`]*)`/g),
    ];
    const missing = named
      .map((match) => match[1] ?? '')
      .filter((path) => !existsSync(join(packageRoot(), path)));
    expect(missing).toEqual([]);
  });
});
