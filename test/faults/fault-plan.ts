import { seededSample } from '../support/seeded.js';

/** What is killed with -9. `agent`: the process group of the agent, or agent-host while there is no agent yet. */
export const targets = ['runner', 'agent', 'worker', 'api', 'postgres', 'temporal'] as const;
export type Target = (typeof targets)[number];

/** When: each is a named event in the log or a named hold in the scripted server, never a delay. */
export const moments = ['before-claim', 'first-request', 'tool-call', 'steer', 'finish'] as const;
export type Moment = (typeof moments)[number];

/** One fault. The rounds differ in the side of the moment: `steer` stored or acknowledged, `finish` last answer released or in the log. */
export type Fault =
  | { readonly kind: 'kill'; readonly target: Target; readonly moment: Moment; readonly round: 1 | 2 }
  | { readonly kind: 'freeze' };

export const faultName = (fault: Fault): string =>
  fault.kind === 'freeze' ? 'runner/frozen' : `${fault.target}/${fault.moment}/${fault.round}`;

/** All 60 kills and the frozen runner. Ordered so that no part of the stack is killed twice in a row. */
export function allFaults(): Fault[] {
  const kills = ([1, 2] as const).flatMap((round) =>
    moments.flatMap((moment) => targets.map((target): Fault => ({ kind: 'kill', target, moment, round }))),
  );
  return [...kills, { kind: 'freeze' }];
}

/** What of it is run: all, those whose name begins with `only`, or a sample that the seed draws. */
export function chooseFaults(wanted: {
  readonly all: boolean;
  readonly only?: string | undefined;
  readonly sample: number;
  readonly seed: number;
}): Fault[] {
  const { only } = wanted;
  if (only !== undefined) return allFaults().filter((fault) => `${faultName(fault)}/`.startsWith(`${only}/`));
  return wanted.all ? allFaults() : seededSample(allFaults(), wanted.sample, wanted.seed);
}
