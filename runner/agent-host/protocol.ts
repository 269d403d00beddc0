import { z } from 'zod';

/**
 * What supervisor and agent-host say to each other over the unix socket: one JSON object per line (architecture.md 7).
 * Bytes of a child's stdio travel as base64, so nothing is lost where a chunk cuts a character.
 */

const processIdSchema = z.string().min(1).max(100);
const requestIdSchema = z.string().min(1).max(100);

/** The signals that a supervisor may send to a child's process group. */
export const groupSignals = ['SIGINT', 'SIGTERM', 'SIGKILL'] as const;
export type GroupSignal = (typeof groupSignals)[number];

export const supervisorMessageSchema = z.discriminatedUnion('type', [
  /** Starts `file` in a process group of its own. `env` is added to the few variables that agent-host itself has. */
  z.strictObject({
    type: z.literal('spawn'),
    processId: processIdSchema,
    file: z.string().min(1),
    args: z.array(z.string()),
    cwd: z.string().min(1),
    env: z.record(z.string(), z.string()),
  }),
  z.strictObject({ type: z.literal('stdin'), processId: processIdSchema, data: z.base64() }),
  z.strictObject({ type: z.literal('closeStdin'), processId: processIdSchema }),
  z.strictObject({ type: z.literal('signal'), processId: processIdSchema, signal: z.enum(groupSignals) }),
  /** Asks for what changed in a git working tree since its last commit, untracked files included. */
  z.strictObject({ type: z.literal('diff'), requestId: requestIdSchema, directory: z.string().min(1) }),
]);
export type SupervisorMessage = z.infer<typeof supervisorMessageSchema>;

export const agentHostMessageSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('spawned'), processId: z.string(), pid: z.number().int().positive() }),
  z.object({ type: z.literal('spawnError'), processId: z.string(), message: z.string() }),
  z.object({ type: z.literal('stdout'), processId: z.string(), data: z.string() }),
  z.object({ type: z.literal('stderr'), processId: z.string(), data: z.string() }),
  /** The child is gone and its output has been sent. */
  z.object({
    type: z.literal('exit'),
    processId: z.string(),
    code: z.number().int().nullable(),
    signal: z.string().nullable(),
    /** The kernel killed this very process, because the memory of its container ran out. */
    outOfMemory: z.boolean(),
  }),
  z.object({
    type: z.literal('diffResult'),
    requestId: z.string(),
    diff: z.string().nullable(),
    truncated: z.boolean(),
    error: z.string().nullable(),
  }),
]);
export type AgentHostMessage = z.infer<typeof agentHostMessageSchema>;

/** The longest line either side accepts: a chunk of stdio is at most 64 KiB, a diff 512 KiB, a prompt 256 KiB. */
export const maxProtocolLineBytes = 16 * 1024 * 1024;

export function encodeMessage(message: SupervisorMessage | AgentHostMessage): string {
  return `${JSON.stringify(message)}\n`;
}

/** Parses one line; undefined when it is no message of `schema`. */
export function decodeMessage<Schema extends z.ZodType>(
  schema: Schema,
  line: string,
): z.output<Schema> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return schema.safeParse(value).data;
}
