import { routes } from '../../contract/routes/index.js';
import { type FuzzRecords, idNames } from './fuzz-records.js';

// What schemathesis is told: https://schemathesis.readthedocs.io/en/stable/reference/configuration/

/** Checks that are switched off, everywhere or for operations, each with its reason: printed at the end of a run. */
export const switchedOff: readonly {
  readonly check: string;
  readonly operations?: readonly string[];
  readonly reason: string;
}[] = [
  {
    check: 'positive_data_acceptance',
    operations: ['send', 'createCommand', 'createQueueTask'],
    reason:
      'their bodies have rules across fields (a prompt or a payload, one idempotency key, no deadline with an answer) that the document says in words only',
  },
  {
    check: 'positive_data_acceptance',
    operations: ['ingestEvents'],
    reason:
      '`spilledEpoch` must be below the epoch of the runner that sends it, which the document cannot know',
  },
  {
    check: 'positive_data_acceptance',
    operations: ['streamRun', 'streamSession', 'streamFeed'],
    reason: 'a cursor is what the stream has given: the document says its form in words',
  },
  {
    check: 'response_schema_conformance',
    operations: ['streamRun', 'streamSession', 'streamFeed'],
    reason:
      'the document has the schema of a frame with its name and its data parsed; schemathesis compares the fields on the wire. Frames are compared in test/api/streams',
  },
  {
    check: 'positive_data_acceptance',
    operations: ['createWebhook', 'updateWebhook'],
    reason: 'which addresses are public is no form of a text',
  },
  {
    check: 'use_after_free',
    operations: ['getStorage', 'evictStorage', 'refreshStorage'],
    reason:
      'DELETE of a storage evicts the volume; the record stays and says `evicted` (contract: DELETE …/storage)',
  },
];

/** How a request that the document forbids may be refused: schemathesis' own list, and 431 for a cursor that is longer than a request line. */
const refusals = ['400', '401', '403', '404', '405', '406', '409', '415', '422', '428', '429', '431', '5xx'];

/** How often a parameter gets an id that exists instead of a generated one. */
const existing = 0.7;

/** Operations of the document; each gets its share of the cases. */
const operations = Object.keys(routes).length;

/** How a document, a seed and the records become the configuration file (TOML; JSON's strings and lists are TOML too). */
export function schemathesisConfig(options: {
  readonly seed: number;
  readonly token: string;
  /** With the systematic cases, which are the same for every seed. */
  readonly whole: boolean;
  /** How many cases are to be drawn at least. */
  readonly wanted: number;
  readonly records: FuzzRecords;
}): string {
  const { records } = options;
  const dictionaries = idNames
    .map((name) => [name, records[name]] as const)
    .filter(([, ids]) => ids.length > 0);
  const bindings = [
    ...dictionaries.map(([name]) => [`path.${name}`, name]),
    ['query.sessionId', 'sessionId'],
    ['query.runId', 'runId'],
    ['query.commandId', 'commandId'],
    ['body.runnerId', 'runnerId'],
    ['body.sessionId', 'sessionId'],
    ['body.answers', 'requestId'],
    ['body.sessionRef.sessionId', 'sessionId'],
  ];
  const lines = [
    `seed = ${options.seed}`,
    // One: with the same seed the cases come in the same order.
    'workers = 1',
    'continue-on-failure = true',
    'request-timeout = 40.0',
    '[auth.openapi.apiToken]',
    `bearer = ${JSON.stringify(options.token)}`,
    '[generation]',
    `max-examples = ${Math.ceil(options.wanted / operations) + 4}`,
    // Text with U+0000 is refused everywhere; the document does not say so of every string.
    'allow-x00 = false',
    'database = "none"',
    '[phases.coverage]',
    `enabled = ${options.whole}`,
    '[checks]',
    `negative_data_rejection.expected-statuses = ${JSON.stringify(refusals)}`,
    ...switchedOff
      .filter(({ operations }) => operations === undefined)
      .map(({ check }) => `${check}.enabled = false`),
    ...dictionaries.flatMap(([name, values]) => [
      `[dictionaries.${name}]`,
      `values = ${JSON.stringify(values)}`,
    ]),
    '[parameters]',
    ...bindings.map(
      ([key, dictionary]) =>
        `${JSON.stringify(key)} = { dictionary = ${JSON.stringify(dictionary)}, probability = ${existing} }`,
    ),
    ...switchedOff.flatMap(({ check, operations }) =>
      operations === undefined
        ? []
        : [
            '[[operations]]',
            `include-operation-id = ${JSON.stringify(operations)}`,
            `checks.${check}.enabled = false`,
          ],
    ),
  ];
  return `${lines.join('\n')}\n`;
}
