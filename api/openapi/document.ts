import { createDocument, type oas31, type ZodOpenApiPathsObject } from 'zod-openapi';
import { completionLineSchema, ingestLineSchema } from '../../contract/ingest.js';
import { errorDocsPath } from '../../contract/problem.js';
import type { RouteContract } from '../../contract/route-contract.js';
import { routes } from '../../contract/routes/index.js';
import { operationOf, parameters } from './operations.js';
import { createResponses, headers } from './responses.js';
import { schemaRules } from './schema-rules.js';
import { securitySchemes } from './security.js';
import { webhooksOf } from './webhooks.js';

const description = `AgentRun runs turns of coding agents durably.

Create a session, send it messages, and read the events of its runs. Every answer is an envelope: \`{ "ok": true, "data": …, "traceId": … }\`, or \`{ "ok": false, "failureKind": …, "message": …, "traceId": …, "error": … }\`; with \`accept: application/problem+json\` a refusal comes as a problem of RFC 9457.

Answers hold exactly the fields listed here. Later versions may add fields: ignore those that you do not know. Unknown fields of a body are refused where its schema says so. Times are ISO 8601 in UTC. Lists are read page by page with \`cursor\`, logs of events with \`afterSeq\`.`;

const tags: readonly oas31.TagObject[] = [
  { name: 'system', description: 'Health, who a caller is, and what backends can do.' },
  { name: 'sessions', description: 'Conversations with an agent, and the messages to them.' },
  { name: 'storage', description: 'The volume of a session.' },
  { name: 'runs', description: 'Turns of a session: events, results, cancel.' },
  { name: 'commands', description: 'What is said to the agent of a run.' },
  { name: 'requests', description: 'What an agent asks a person for.' },
  { name: 'runner-jobs', description: 'The attempts of a run and the runners that serve them.' },
  { name: 'runners', description: 'What runners say and ask; for the authors of runners.' },
  { name: 'queue', description: 'Work that waits for its dispatch.' },
  { name: 'streams', description: 'Events as they happen, as server-sent events.' },
  { name: 'audit', description: 'Who did what.' },
  {
    name: 'webhooks',
    description: 'Signed messages when runs and tasks end, and when an agent waits for a person.',
  },
];

/**
 * The OpenAPI 3.1 document of every route, from the contract alone. `publicUrl`: the address that clients reach the API at, if it is known. The address
 * that the document was read from holds in any case, behind every prefix.
 */
export function openApiDocument(publicUrl: string | undefined): oas31.OpenAPIObject {
  const here = { url: './', description: 'Where this document was read from.' };
  return createDocument(
    {
      openapi: '3.1.1',
      info: {
        title: 'AgentRun',
        version: '1',
        description,
        license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
      },
      servers: publicUrl === undefined ? [here] : [{ url: publicUrl }, here],
      externalDocs: { url: `.${errorDocsPath}`, description: 'Failure kinds, and what to do about each' },
      tags: [...tags],
      paths: pathsOf(routes),
      webhooks: webhooksOf(),
      components: {
        parameters,
        headers,
        securitySchemes,
        // Part of no other schema: ingest bodies are text to OpenAPI.
        schemas: { IngestLine: ingestLineSchema, CompletionLine: completionLineSchema },
      },
    },
    schemaRules,
  );
}

function pathsOf(contracts: Readonly<Record<string, RouteContract>>): ZodOpenApiPathsObject {
  const responsesOf = createResponses();
  const paths: ZodOpenApiPathsObject = {};
  for (const [operationId, contract] of Object.entries(contracts)) {
    const path = contract.path.replaceAll(/:(\w+)/g, '{$1}');
    paths[path] = {
      ...paths[path],
      [contract.method]: operationOf(operationId, contract, responsesOf(contract)),
    };
  }
  return paths;
}
