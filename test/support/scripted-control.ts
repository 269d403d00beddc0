import { z } from 'zod';
import { eventually, type LocalStack } from './local-stack.js';

// The control routes of the scripted model server (tools/scripted-model/README.md), as tests use them.

const requestSchema = z.looseObject({
  seq: z.number(),
  receivedAtMs: z.number(),
  threadKey: z.string().nullable(),
  requestKind: z.string().nullable(),
  scenario: z.string().nullable(),
  outcome: z.string(),
  body: z.unknown(),
});
export type ModelRequest = z.infer<typeof requestSchema>;
const requestsSchema = z.object({ requests: z.array(requestSchema) });
const holdsSchema = z.object({
  holds: z.array(z.object({ name: z.string(), waiting: z.array(z.string()) })),
});

async function control(local: LocalStack, path: string, method = 'GET'): Promise<unknown> {
  const response = await fetch(`${local.scriptedUrl}/__scripted/${path}`, {
    method,
    signal: AbortSignal.timeout(10_000),
  });
  return response.json();
}

/** Lets who waits for a hold go on, and who comes later pass. */
export async function release(local: LocalStack, ...holds: string[]): Promise<void> {
  for (const hold of holds) await control(local, `holds/${encodeURIComponent(hold)}/release`, 'POST');
}

/** Waits until a model request stands at the hold. */
export async function atHold(local: LocalStack, hold: string, limitMs = 30_000): Promise<void> {
  await eventually(
    `a request waits at ${hold}`,
    async () => {
      const { holds } = holdsSchema.parse(await control(local, 'holds'));
      return holds.some(({ name, waiting }) => name === hold && waiting.length > 0) ? true : undefined;
    },
    limitMs,
    20,
  );
}

/** The last model requests, in order: of a thread, or those whose body holds a text. */
export async function modelRequests(
  local: LocalStack,
  wanted: { readonly thread?: string; readonly contains?: string; readonly last?: number },
): Promise<ModelRequest[]> {
  const query = new URLSearchParams();
  if (wanted.thread !== undefined) query.set('thread', wanted.thread);
  if (wanted.contains !== undefined) query.set('contains', wanted.contains);
  if (wanted.last !== undefined) query.set('last', String(wanted.last));
  return requestsSchema.parse(await control(local, `requests?${query.toString()}`)).requests;
}

const inputSchema = z.looseObject({
  input: z.array(
    z.looseObject({
      type: z.string().optional(),
      role: z.string().optional(),
      content: z.union([z.string(), z.array(z.looseObject({ text: z.string().optional() }))]).nullish(),
    }),
  ),
});

/** The texts of all messages with the role `user` in a model request: what the model was told by people, by us and by the agent itself. */
export function userTexts(request: ModelRequest): string[] {
  return inputSchema
    .parse(request.body)
    .input.filter((item) => item.role === 'user')
    .map(({ content }) =>
      typeof content === 'string' ? content : (content ?? []).map((part) => part.text ?? '').join('\n'),
    );
}

/** How often a text stands in what the model was told by the last request of a thread. */
export async function timesInLastRequest(
  local: LocalStack,
  thread: string,
  texts: readonly string[],
): Promise<Record<string, number>> {
  const [last] = await modelRequests(local, { thread, last: 1 });
  if (last === undefined) throw new Error(`the model has seen no request of thread ${thread}`);
  const told = userTexts(last).join('\n');
  return Object.fromEntries(texts.map((text) => [text, told.split(text).length - 1]));
}
