import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { requestFailureKinds, runFailureKinds } from '../../contract/failure-kinds.js';
import { errorDocsPath } from '../../contract/problem.js';
import { failuresOf } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';
import { runFailures } from '../../contract/run-failures.js';
import { packageRoot } from '../../infra/config/package-root.js';
import { errorDocs, errorDocsFile } from '../support/error-docs.js';

const requestKinds = Object.entries(requestFailureKinds);
const sentences = [
  ...requestKinds.flatMap(([kind, { meaning, cure }]) => [
    { kind, text: meaning },
    { kind, text: cure },
  ]),
  ...runFailureKinds.flatMap((kind) => [
    { kind, text: runFailures[kind].meaning },
    { kind, text: runFailures[kind].cure },
  ]),
];

describe('the registry of failure kinds', () => {
  it('is docs/errors.md (else run npm run docs:errors)', () => {
    expect(errorDocsPath).toBe(`/${errorDocsFile}`);
    expect(readFileSync(join(packageRoot(), errorDocsFile), 'utf8')).toBe(errorDocs());
  });

  it.each(sentences)('says what $kind is and its cure in a sentence: $text', ({ text }) => {
    expect(text).toMatch(/^[A-Z][^|\n]*\.$/);
  });

  it('has client and server errors only; what may be repeated are timeouts, limits and failures of ours', () => {
    for (const [, { status }] of requestKinds) expect(status).toBeGreaterThanOrEqual(400);
    const repeatable = requestKinds.filter(([, { retryable }]) => retryable).map(([kind]) => kind);
    expect(repeatable).toEqual([
      'request-timeout',
      'session-busy',
      'rate-limited',
      'infra-failed',
      'unavailable',
    ]);
  });

  it('lists every run failure kind once', () => {
    expect(new Set(runFailureKinds).size).toBe(runFailureKinds.length);
    expect(Object.keys(runFailures).toSorted()).toEqual([...runFailureKinds].toSorted());
  });

  it('has no kind that no route and no part of the server answers', () => {
    const answered = new Set<string>(Object.values(routes).flatMap((route) => [...failuresOf(route)]));
    const beforeRoutes = ['route-not-found', 'method-not-allowed', 'headers-too-large'];
    expect(requestKinds.map(([kind]) => kind).filter((kind) => !answered.has(kind))).toEqual(beforeRoutes);
  });
});
