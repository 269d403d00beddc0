import { requestFailureKinds, runFailureKinds } from '../../contract/failure-kinds.js';
import { runFailures } from '../../contract/run-failures.js';
import { type RetryRule, retryRules } from '../../domain/retry-decision.js';

/** Where the page lies, below the root of the package. */
export const errorDocsFile = 'docs/errors.md';

const retryWords: Readonly<Record<RetryRule, string>> = {
  never: 'no',
  once: 'once',
  attempts: 'yes, as long as the run has attempts left',
  park: 'parked until the reset time, else for a wait that doubles, two hours in all; uses no attempt',
  'park-until-reset': 'parked until the reset time if one is given; uses no attempt',
};

/** The text of `docs/errors.md`: the registry of failure kinds as two tables. A row's anchor is its kind, `run-` before it for a run's. */
export function errorDocs(): string {
  const requests = Object.entries(requestFailureKinds).map(([kind, { status, meaning, cure, retryable }]) => [
    anchored(kind, kind),
    String(status),
    meaning,
    cure,
    retryable ? 'yes' : 'no',
  ]);
  const runs = runFailureKinds.map((kind) => {
    const { meaning, cure } = runFailures[kind];
    return [anchored(`run-${kind}`, kind), meaning, cure, retryWords[retryRules[kind]]];
  });
  return `${[
    '# Failure kinds',
    'Made by `npm run docs:errors` from `contract/failure-kinds.ts`, `contract/run-failures.ts` and the retry rules of `domain/retry-decision.ts`.',
    '## Of a request',
    'Every answer that is no success has `ok: false`, a `failureKind` of this table with its status, a `message` for people, and the `traceId` under which the log of the API has it. `error.details` says more where there is more to say; of a `schema-invalid` it names the fields. Whoever sends `accept: application/problem+json` gets the same as a problem (RFC 9457), whose `type` ends with the anchor of the kind.',
    '*Again*: whether the same request, sent later, may be answered with success. A repeat that must not take effect twice carries an `Idempotency-Key`.',
    table(['failureKind', 'status', 'meaning', 'what to do', 'again'], requests),
    '## Of a run',
    '`failureKind` of a run, of a runner job and of a queue task: why the turn, or an attempt of it, did not complete. *Tried again*: what AgentRun does by itself after an attempt that ended so. *What to do* is for the time when it has given up.',
    table(['failureKind', 'meaning', 'what to do', 'tried again'], runs),
  ].join('\n\n')}\n`;
}

const anchored = (anchor: string, kind: string) => `<a id="${anchor}"></a>\`${kind}\``;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');
}
