import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type {
  ContainerFacts,
  ObjectEvent,
  PodFacts,
  PodState,
} from '../../../domain/kubernetes/pod-facts.js';
import { type PodGraces, podFate } from '../../../domain/kubernetes/pod-fate.js';
import type { ProcessFate } from '../../../domain/supervision.js';

const nowMs = 1_000_000_000;
const ago = (seconds: number) => nowMs - seconds * 1_000;
const graces: PodGraces = { place: 600_000, image: 120_000, volume: 300_000, start: 600_000 };

const container = (name: string, over: Partial<ContainerFacts> = {}): ContainerFacts => ({
  name,
  waiting: null,
  runningSinceMs: null,
  ended: null,
  endedBefore: null,
  ...over,
});
const waiting = (reason = 'PodInitializing', message = '') => ({ waiting: { reason, message } });
const ended = (exitCode: number, reason = 'Error', message = '') => ({
  ended: { exitCode, reason, message },
});
const prepared = container('prepare', ended(0, 'Completed'));
const hostRuns = container('agent-host', { runningSinceMs: ago(60) });
const runs = container('supervisor', { runningSinceMs: ago(50) });
const notYet = ['prepare', 'agent-host', 'supervisor'].map((name) => container(name, waiting()));

const pod = (over: Partial<PodState> = {}): PodState => ({
  name: 'agentrun-x-1-abcde',
  uid: 'pod-1',
  phase: 'Running',
  reason: '',
  message: '',
  createdAtMs: ago(60),
  isDeleting: false,
  nodeName: 'node1',
  scheduled: { isDone: true, sinceMs: ago(60), message: '' },
  disruption: null,
  containers: [prepared, hostRuns, runs],
  ...over,
});
const job = { uid: 'job-1', createdAtMs: ago(61), isDeleting: false, isSuspended: false, failed: null };
const facts = (podOver: Partial<PodState> | null = {}, over: Partial<PodFacts> = {}): PodFacts => ({
  job,
  pod: podOver === null ? null : pod(podOver),
  podIsGone: false,
  node: { name: 'node1', isReady: true },
  events: [],
  ...over,
});
const event = (
  about: ObjectEvent['about'],
  reason: string,
  message: string,
  secondsAgo = 1,
): ObjectEvent => ({ about, reason, message, firstAtMs: ago(secondsAgo), lastAtMs: ago(secondsAgo) });
const pending = (containers: readonly ContainerFacts[], seconds = 60, over: Partial<PodState> = {}) => ({
  phase: 'Pending',
  createdAtMs: ago(seconds),
  scheduled: { isDone: true, sinceMs: ago(seconds), message: '' },
  containers,
  ...over,
});
const unplaced = (message: string, seconds = 60) =>
  pending(notYet, seconds, {
    nodeName: null,
    scheduled: { isDone: false, sinceMs: ago(seconds), message },
  });
const supervisorEnds = (exitCode: number, reason = 'Error', message = '') => ({
  containers: [prepared, hostRuns, container('supervisor', ended(exitCode, reason, message))],
});
const drained = { reason: 'EvictionByEvictionAPI', message: 'drained' };
const words = (fate: ProcessFate) => {
  if (fate.state === 'waiting') return `waiting ${fate.for}: ${fate.message}`;
  if (fate.state === 'gone') return `gone ${fate.cause}: ${fate.message}`;
  if (fate.state === 'alive')
    return `alive${fate.lostNode === undefined ? '' : `, lost ${fate.lostNode}`} on ${fate.node}`;
  return fate.state;
};
const fateOf = (given: PodFacts) => words(podFate(given, nowMs, graces));

describe('podFate', () => {
  it.each<[string, PodFacts, string]>([
    ['1 nothing there', facts(null, { job: null }), 'gone null: its Job is not in the cluster'],
    [
      '2 supervisor ended',
      facts(supervisorEnds(1)),
      'gone null: container supervisor ended with exit code 1',
    ],
    [
      '2 supervisor ended in order',
      facts(supervisorEnds(0, 'Completed')),
      'gone null: container supervisor ended with exit code 0 (Completed)',
    ],
    [
      '2 its own reason',
      facts(supervisorEnds(2, 'Error', 'port 8181 is taken')),
      'gone prerequisite-failed: port 8181 is taken',
    ],
    ['2 without a reason', facts(supervisorEnds(2)), 'gone prerequisite-failed: supervisor refused to begin'],
    [
      '2 out of memory',
      facts(supervisorEnds(137, 'OOMKilled')),
      'gone oom-killed: container supervisor used up its memory',
    ],
    [
      '2 out of memory in the agent, and the supervisor ended for it',
      facts({
        containers: [
          prepared,
          container('agent-host', { runningSinceMs: ago(1), endedBefore: ended(137, 'OOMKilled').ended }),
          container('supervisor', ended(1)),
        ],
      }),
      'gone oom-killed: container agent-host used up its memory',
    ],
    [
      '2 a tool of the agent ran out of memory, and all ended in order',
      facts({
        containers: [
          prepared,
          container('agent-host', ended(0, 'OOMKilled')),
          container('supervisor', ended(1)),
        ],
      }),
      'gone null: container supervisor ended with exit code 1',
    ],
    [
      '2 the API refused its token',
      facts(supervisorEnds(5, 'Error', 'wrong key')),
      'gone prerequisite-failed: wrong key',
    ],
    [
      '2 evicted',
      facts({ ...supervisorEnds(143), phase: 'Failed', reason: 'Evicted', message: 'low on memory' }),
      'gone evicted: Evicted: low on memory',
    ],
    [
      '2 drained',
      facts({ ...supervisorEnds(143), disruption: drained }),
      'gone evicted: EvictionByEvictionAPI: drained',
    ],
    [
      '2 its node was lost, says the cluster',
      facts({ ...supervisorEnds(137), disruption: { reason: 'DeletionByTaintManager', message: '' } }),
      'gone node-lost: DeletionByTaintManager',
    ],
    [
      '2 out of memory before a drain',
      facts({ ...supervisorEnds(137, 'OOMKilled'), disruption: drained }),
      'gone oom-killed: container supervisor used up its memory',
    ],
    [
      '2 time is up',
      facts(supervisorEnds(143), {
        job: { ...job, failed: { reason: 'DeadlineExceeded', message: 'Job was active too long' } },
      }),
      'gone deadline-exceeded: Job was active too long',
    ],
    [
      '2 killed by its probe',
      facts(supervisorEnds(137), {
        events: [
          event('pod', 'Unhealthy', 'Liveness probe failed: HTTP 500', 9),
          event('pod', 'Killing', 'Container supervisor failed liveness probe, will be restarted'),
        ],
      }),
      'gone unhealthy: container supervisor was killed: Liveness probe failed: HTTP 500',
    ],
    [
      '2 ended in order after its probe had it ended',
      facts(supervisorEnds(1), {
        events: [event('pod', 'Killing', 'Container supervisor failed startup probe, will be restarted')],
      }),
      'gone unhealthy: container supervisor was killed: Container supervisor failed startup probe, will be restarted',
    ],
    [
      '2 a probe that failed once says nothing about a later end',
      facts(supervisorEnds(1), { events: [event('pod', 'Unhealthy', 'Liveness probe failed: timeout')] }),
      'gone null: container supervisor ended with exit code 1',
    ],
    [
      '2 readiness is no reason',
      facts(supervisorEnds(137), { events: [event('pod', 'Unhealthy', 'Readiness probe failed: timeout')] }),
      'gone null: container supervisor ended with exit code 137',
    ],
    [
      '2 its pod was deleted',
      facts({ ...supervisorEnds(143), isDeleting: true }),
      'gone evicted: its pod was deleted',
    ],
    [
      '3 agent-host was started again',
      facts({
        containers: [
          prepared,
          container('agent-host', { runningSinceMs: ago(1), endedBefore: ended(137).ended }),
          runs,
        ],
      }),
      'gone null: container agent-host ended with exit code 137',
    ],
    [
      '3 the agent writes no reasons for us',
      facts({
        containers: [prepared, container('agent-host', ended(2, 'Error', 'give up, do not retry')), runs],
      }),
      'gone null: container agent-host ended with exit code 2',
    ],
    [
      '4 prepare refused',
      facts(pending([container('prepare', ended(2, 'Error', 'no such repository')), ...notYet.slice(1)])),
      'gone prerequisite-failed: no such repository',
    ],
    [
      '4 prepare failed',
      facts(pending([container('prepare', ended(1, 'Error', 'restore failed')), ...notYet.slice(1)])),
      'gone null: container prepare ended with exit code 1: restore failed',
    ],
    [
      '5 rejected by its node',
      facts({ phase: 'Failed', reason: 'OutOfcpu', message: 'Node did not have enough cpu', containers: [] }),
      'gone evicted: OutOfcpu: Node did not have enough cpu',
    ],
    ['5 seen, and not there any more', facts(null, { podIsGone: true }), 'gone evicted: its pod was deleted'],
    [
      '5 time was up before that',
      facts(null, { job: { ...job, failed: { reason: 'DeadlineExceeded', message: 'too long' } } }),
      'gone deadline-exceeded: too long',
    ],
    ['6 runs', facts(), 'alive on node1'],
    ['6 ends in order still', facts({ isDeleting: true, disruption: drained }), 'alive on node1'],
    ['6 nobody may look at nodes', facts({}, { node: null }), 'alive on node1'],
    [
      '6 its node does not answer',
      facts({ isDeleting: true }, { node: { name: 'node1', isReady: false } }),
      'alive, lost node1 on node1',
    ],
    [
      '7 deleted before it began',
      facts(pending(notYet, 60, { isDeleting: true })),
      'gone evicted: its pod was deleted',
    ],
    [
      '7 the same on a node that is lost',
      facts(pending(notYet, 60, { isDeleting: true }), { node: { name: 'node1', isReady: false } }),
      'gone node-lost: node node1 does not answer',
    ],
    [
      '8 an image that is no name',
      facts(
        pending([container('prepare', waiting('InvalidImageName', 'not a name')), ...notYet.slice(1)], 1),
      ),
      'gone image-pull-failed: InvalidImageName: not a name',
    ],
    [
      '8 a pod that is not valid',
      facts(null, { events: [event('job', 'FailedCreate', 'Error creating: Pod "x" is invalid: spec')] }),
      'gone invalid-pod: Error creating: Pod "x" is invalid: spec',
    ],
    [
      '9 no place',
      facts(unplaced('0/3 nodes are available', 600)),
      'gone unschedulable: 0/3 nodes are available (waited for 600 s)',
    ],
    [
      '9 no room in the quota',
      facts(null, {
        job: { ...job, createdAtMs: ago(600) },
        events: [event('job', 'FailedCreate', 'pods "x" is forbidden: exceeded quota: q')],
      }),
      'gone unschedulable: pods "x" is forbidden: exceeded quota: q (waited for 600 s)',
    ],
    [
      '9 no image: the grace counts from the first failure',
      facts(
        pending([container('prepare', waiting('ImagePullBackOff', 'Back-off')), ...notYet.slice(1)], 400),
        {
          events: [event('pod', 'Failed', 'Failed to pull image "x": not found', 120)],
        },
      ),
      'gone image-pull-failed: ImagePullBackOff: Failed to pull image "x": not found (waited for 120 s)',
    ],
    [
      '9 no volume',
      facts(pending(notYet, 300), {
        events: [event('pod', 'FailedAttachVolume', 'Multi-Attach error for volume "v"')],
      }),
      'gone storage-unavailable: FailedAttachVolume: Multi-Attach error for volume "v" (waited for 300 s)',
    ],
    [
      '9 a volume that cannot be bound',
      facts(unplaced('0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims', 300)),
      'gone storage-unavailable: 0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims (waited for 300 s)',
    ],
    [
      '9 a Secret that is not there',
      facts(pending(notYet, 120), {
        events: [
          event('pod', 'FailedMount', 'MountVolume.SetUp failed for volume "p" : secret "key" not found'),
        ],
      }),
      'gone invalid-pod: FailedMount: MountVolume.SetUp failed for volume "p" : secret "key" not found (waited for 120 s)',
    ],
    [
      '9 a container that cannot be made',
      facts(
        pending(
          [prepared, container('agent-host', waiting('CreateContainerError', 'no')), ...notYet.slice(2)],
          120,
        ),
      ),
      'gone invalid-pod: container agent-host: CreateContainerError: no (waited for 120 s)',
    ],
    [
      '9 containers that do not begin',
      facts(pending(notYet, 600)),
      'gone null: node node1 starts its containers (waited for 600 s)',
    ],
    ['10 no pod yet', facts(null), 'waiting place: its pod has not been made yet'],
    [
      '10 a queue of the cluster',
      facts(null, { job: { ...job, isSuspended: true } }),
      'waiting place: its Job waits for its queue',
    ],
    [
      '10 no place yet',
      facts(unplaced('0/3 nodes are available', 599)),
      'waiting place: 0/3 nodes are available',
    ],
    [
      '10 no room, where most nodes are in another zone than its volume',
      facts(
        unplaced(
          '0/6 nodes are available: 2 Insufficient cpu, 4 node(s) had volume node affinity conflict',
          400,
        ),
      ),
      'waiting place: 0/6 nodes are available: 2 Insufficient cpu, 4 node(s) had volume node affinity conflict',
    ],
    [
      '10 not looked at',
      facts({ ...unplaced(''), scheduled: null }),
      'waiting place: the scheduler has not looked at its pod yet',
    ],
    [
      '10 another node holds the volume',
      facts(pending(notYet, 200), { events: [event('pod', 'FailedAttachVolume', 'Multi-Attach error')] }),
      'waiting volume: FailedAttachVolume: Multi-Attach error',
    ],
    [
      '10 a volume that failed once and is there',
      facts(pending([container('prepare', { runningSinceMs: ago(1) }), ...notYet.slice(1)]), {
        events: [event('pod', 'FailedMount', 'timed out')],
      }),
      'waiting start: prepare fills the workspace on node node1',
    ],
    [
      '10 a large image',
      facts(pending(notYet, 200), { events: [event('pod', 'Pulling', 'Pulling image "x"')] }),
      'waiting start: node node1 pulls the image: Pulling image "x"',
    ],
    [
      '10 an image that failed just now',
      facts(pending([container('prepare', waiting('ErrImagePull', 'not found')), ...notYet.slice(1)], 400), {
        events: [event('pod', 'Failed', 'Failed to pull image "x": not found', 119)],
      }),
      'waiting image: ErrImagePull: not found',
    ],
  ])('%s', (_, given, expected) => {
    expect(fateOf(given)).toBe(expected);
  });

  it('tells since when the supervisor runs, which the time to claim counts from', () => {
    expect(podFate(facts(), nowMs, graces)).toEqual({ state: 'alive', startedAtMs: ago(50), node: 'node1' });
  });

  const someTime = fc.integer({ min: ago(2_000), max: nowMs + 5_000 });
  const someEnd = fc.record({
    exitCode: fc.integer({ min: 0, max: 255 }),
    reason: fc.constantFrom('', 'Error', 'OOMKilled', 'Completed', 'ContainerStatusUnknown'),
    message: fc.string(),
  });
  const someContainer = (name: string) =>
    fc.record({
      name: fc.constant(name),
      waiting: fc.option(
        fc.record({
          reason: fc.constantFrom('', 'PodInitializing', 'ErrImagePull', 'CrashLoopBackOff', 'Other'),
          message: fc.string(),
        }),
        { nil: null },
      ),
      runningSinceMs: fc.option(someTime, { nil: null }),
      ended: fc.option(someEnd, { nil: null }),
      endedBefore: fc.option(someEnd, { nil: null }),
    });
  const somePod: fc.Arbitrary<PodState> = fc.record({
    name: fc.constant('p'),
    uid: fc.constant('u'),
    phase: fc.constantFrom('Pending', 'Running', 'Failed', 'Succeeded', 'Unknown'),
    reason: fc.constantFrom('', 'Evicted', 'NodeLost', 'Other'),
    message: fc.string(),
    createdAtMs: someTime,
    isDeleting: fc.boolean(),
    nodeName: fc.option(fc.constant('node1'), { nil: null }),
    scheduled: fc.option(fc.record({ isDone: fc.boolean(), sinceMs: someTime, message: fc.string() }), {
      nil: null,
    }),
    disruption: fc.option(fc.record({ reason: fc.string(), message: fc.string() }), { nil: null }),
    containers: fc.tuple(someContainer('prepare'), someContainer('agent-host'), someContainer('supervisor')),
  });
  const someFacts: fc.Arbitrary<PodFacts> = fc.record({
    job: fc.option(fc.constant(job), { nil: null }),
    pod: fc.option(somePod, { nil: null }),
    podIsGone: fc.boolean(),
    node: fc.option(fc.record({ name: fc.constant('node1'), isReady: fc.boolean() }), { nil: null }),
    events: fc.array(
      fc.record({
        about: fc.constantFrom('job' as const, 'pod' as const),
        reason: fc.constantFrom('FailedMount', 'Failed', 'Killing', 'Unhealthy', 'FailedCreate'),
        message: fc.string(),
        firstAtMs: someTime,
        lastAtMs: someTime,
      }),
      { maxLength: 4 },
    ),
  });

  it('never calls a runner alive whose supervisor or agent-host has ended', () => {
    fc.assert(
      fc.property(someFacts, (given) => {
        const hasEnded = given.pod?.containers.some(
          ({ name, ended: end, endedBefore }) =>
            name !== 'prepare' && (end !== null || (name === 'agent-host' && endedBefore !== null)),
        );
        if (hasEnded === true) expect(podFate(given, nowMs, graces).state).toBe('gone');
      }),
    );
  });

  it('lets nothing wait for longer than the longest grace', () => {
    fc.assert(
      fc.property(someFacts, (given) => {
        const fate = podFate(given, nowMs + 1_000_000, graces);
        expect(fate.state).not.toBe('waiting');
      }),
    );
  });

  it('is one fate for the same facts, and gives a reason in words', () => {
    fc.assert(
      fc.property(someFacts, (given) => {
        const fate = podFate(given, nowMs, graces);
        expect(podFate(given, nowMs, graces)).toEqual(fate);
        if (fate.state === 'gone') expect(fate.message).not.toBe('');
      }),
    );
  });
});
