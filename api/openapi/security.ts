import type { ZodOpenApiOperationObject } from 'zod-openapi';
import type { AuthRule, TokenScope } from '../../contract/route-contract.js';

type SecuritySchemes = Readonly<Record<string, { type: 'http'; scheme: 'bearer'; description: string }>>;

const bearer = (description: string) => ({ type: 'http', scheme: 'bearer', description }) as const;

/** The kinds of tokens (decisions.md, Auth), each by the name that operations refer to. */
export const securitySchemes = {
  apiToken: bearer(
    'A token of the configuration of the API, or a JSON Web Token of the OpenID Connect issuer that it trusts. Its scope is `read`, `operate` or `admin`, each holding those before it; it may be bound to a tenant. An API on loopback without tokens is open to all.',
  ),
  launchToken: bearer('Given to a runner at its launch; registers it and claims its first run.'),
  runnerToken: bearer('Answered by register and by each heartbeat of an idle runner.'),
  runToken: bearer('Answered with an assignment and by each heartbeat; for one attempt of one run.'),
} satisfies SecuritySchemes;

/** What an operation requires: one of these tokens. The scope of an API token is its role, as OpenAPI 3.1 has it for bearer tokens. */
export function securityOf(
  auth: AuthRule,
): Pick<ZodOpenApiOperationObject, 'security'> & { 'x-agentrun-scope'?: TokenScope } {
  if (auth === 'none') return { security: [] };
  const kinds: [boolean, Record<string, string[]>][] = [
    [auth.api !== undefined, { apiToken: [auth.api ?? ''] }],
    [auth.launch === true, { launchToken: [] }],
    [auth.runner === true, { runnerToken: [] }],
    [auth.run === true, { runToken: [] }],
  ];
  return {
    security: kinds.filter(([isTaken]) => isTaken).map(([, requirement]) => requirement),
    ...(auth.api === undefined ? {} : { 'x-agentrun-scope': auth.api }),
  };
}

/** The same for readers. */
export function accessText(auth: AuthRule): string {
  if (auth === 'none') return 'Open to everybody.';
  const tokens = [
    auth.api === undefined ? [] : [`API tokens of the scope \`${auth.api}\``],
    auth.launch === true ? ['launch tokens'] : [],
    auth.runner === true ? ['runner tokens'] : [],
    auth.run === true ? ['run tokens'] : [],
  ].flat();
  return `For ${new Intl.ListFormat('en').format(tokens)}.`;
}
