import ipaddr from 'ipaddr.js';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { allManifests } from '../support/manifests.js';

const selectorSchema = z.strictObject({ matchLabels: z.record(z.string(), z.string()).optional() });
const peerSchema = z.strictObject({
  namespaceSelector: selectorSchema.optional(),
  podSelector: selectorSchema.optional(),
  ipBlock: z.strictObject({ cidr: z.string(), except: z.array(z.string()).default([]) }).optional(),
});
const ruleSchema = z.strictObject({
  to: z.array(peerSchema).optional(),
  // So the client library calls `from`, which is a word of Python.
  _from: z.array(peerSchema).optional(),
  ports: z
    .array(z.strictObject({ port: z.number(), protocol: z.enum(['TCP', 'UDP']).default('TCP') }))
    .optional(),
});
const policySchema = z.looseObject({
  metadata: z.object({ name: z.string(), namespace: z.string() }),
  spec: z.strictObject({
    podSelector: z.looseObject({ matchLabels: z.record(z.string(), z.string()).optional() }),
    policyTypes: z.array(z.enum(['Ingress', 'Egress'])),
    ingress: z.array(ruleSchema).default([]),
    egress: z.array(ruleSchema).default([]),
  }),
});
const policies = allManifests()
  .filter(({ kind }) => kind === 'NetworkPolicy')
  .map((manifest) => policySchema.parse(manifest));
const ofNamespace = (namespace: string) =>
  policies.filter(({ metadata }) => metadata.namespace === namespace);

/** Whether a rule lets a packet to this address of the outside pass. */
function reaches(rules: readonly z.infer<typeof ruleSchema>[], address: string, port: number): boolean {
  const target = ipaddr.parse(address);
  const isIn = (range: string) => {
    const [base, bits] = ipaddr.parseCIDR(range);
    return base.kind() === target.kind() && target.match(base, bits);
  };
  return rules.some(
    ({ to = [], ports }) =>
      (ports === undefined || ports.some((each) => each.port === port)) &&
      // A rule that names nobody is for everybody.
      (to.length === 0 ||
        to.some(
          ({ ipBlock }) =>
            ipBlock !== undefined && isIn(ipBlock.cidr) && !ipBlock.except.some((each) => isIn(each)),
        )),
  );
}

describe.each(['agentrun', 'agentrun-v01'])('%s', (namespace) => {
  it('lets nothing in or out that no policy names', () => {
    expect(ofNamespace(namespace).map(({ spec }) => spec)).toContainEqual({
      podSelector: {},
      policyTypes: ['Ingress', 'Egress'],
      ingress: [],
      egress: [],
    });
  });

  it.each(['169.254.169.254', '169.254.170.2', 'fe80::1', 'fd00:ec2::254'])(
    'never reaches the metadata of the cloud at %s',
    (address) => {
      const rules = ofNamespace(namespace).flatMap(({ spec }) => spec.egress);
      for (const port of [80, 443]) expect(reaches(rules, address, port)).toBe(false);
    },
  );
});

describe('runners', () => {
  const runners = ofNamespace('agentrun-v01');
  const egress = runners.flatMap(({ spec }) => spec.egress);

  it('are reached by nobody', () => {
    expect(runners.flatMap(({ spec }) => spec.ingress)).toEqual([]);
    expect(runners.every(({ spec }) => spec.policyTypes.includes('Ingress'))).toBe(true);
  });

  it('reach the pods of DNS and of the API in the cluster, at one port each', () => {
    const pods = egress.flatMap(({ to = [], ports }) =>
      to
        .filter(({ ipBlock }) => ipBlock === undefined)
        .map(({ namespaceSelector, podSelector }) => [
          namespaceSelector?.matchLabels,
          podSelector?.matchLabels,
          ports,
        ]),
    );
    expect(pods).toEqual([
      [
        { 'kubernetes.io/metadata.name': 'kube-system' },
        { 'k8s-app': 'kube-dns' },
        [
          { port: 53, protocol: 'UDP' },
          { port: 53, protocol: 'TCP' },
        ],
      ],
      [
        { 'kubernetes.io/metadata.name': 'agentrun' },
        { 'app.kubernetes.io/component': 'api' },
        [{ port: 8080, protocol: 'TCP' }],
      ],
    ]);
  });

  it.each(['93.184.216.34', '2606:2800:220:1::1'])('reach %s by HTTPS only', (address) => {
    expect(reaches(egress, address, 443)).toBe(true);
    for (const port of [22, 25, 80, 5432, 6443]) expect(reaches(egress, address, port)).toBe(false);
  });

  it.each([
    '10.96.0.1',
    '100.64.0.1',
    '127.0.0.1',
    '172.16.0.1',
    '172.31.255.255',
    '192.168.1.1',
    '198.18.0.1',
    '0.0.0.0',
    '255.255.255.255',
    '::1',
    '::ffff:10.0.0.1',
    'fc00::1',
    'fd12:3456::1',
    '2002:a00:1::',
    '64:ff9b::a00:1',
    'ff02::1',
  ])('do not reach the private or special address %s', (address) => {
    for (const port of [443, 6443, 8080]) expect(reaches(egress, address, port)).toBe(false);
  });
});
