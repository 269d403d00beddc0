import { z } from 'zod';

/**
 * Parameters of the requests that app-server sends to its client (codex-cli 0.169; source of truth: `codex app-server generate-ts`). As in
 * codex-protocol.ts everything is open to new members.
 */

const text = z.string();
const optionSchema = z.looseObject({ label: text, description: text.catch('') });

export const commandApprovalSchema = z.looseObject({
  kind: text.nullish(),
  turnId: text,
  itemId: text,
  command: text.nullish(),
  cwd: text.nullish(),
  environmentId: text.nullish(),
  reason: text.nullish(),
  networkApprovalContext: z.json().optional(),
  additionalPermissions: z.json().optional(),
});

export const fileChangeApprovalSchema = z.looseObject({
  threadId: text,
  turnId: text,
  itemId: text,
  reason: text.nullish(),
  grantRoot: text.nullish(),
});

export const permissionsApprovalSchema = z.looseObject({
  turnId: text,
  itemId: text,
  cwd: text.nullish(),
  environmentId: text.nullish(),
  reason: text.nullish(),
  permissions: z.record(text, z.json()),
});

export const userInputSchema = z.looseObject({
  turnId: text,
  itemId: text,
  questions: z
    .array(
      z.looseObject({
        id: text,
        header: text.catch(''),
        question: text,
        isSecret: z.boolean().catch(false),
        options: z.array(optionSchema).nullish(),
      }),
    )
    .min(1),
});

/** One field of an elicitation's form: the flat JSON schema of MCP. */
const formFieldSchema = z.looseObject({
  type: text.catch('string'),
  title: text.nullish(),
  description: text.nullish(),
  enum: z.array(text).nullish(),
  enumNames: z.array(text).nullish(),
  oneOf: z.array(z.looseObject({ const: text, title: text.catch('') })).nullish(),
  items: z
    .looseObject({
      enum: z.array(text).nullish(),
      anyOf: z.array(z.looseObject({ const: text, title: text.catch('') })).nullish(),
    })
    .nullish(),
});
export type FormField = z.infer<typeof formFieldSchema>;
export const elicitationSchema = z.discriminatedUnion('mode', [
  z.looseObject({
    mode: z.enum(['form', 'openai/form', 'openaiForm']),
    turnId: text.nullish(),
    serverName: text,
    message: text,
    requestedSchema: z.looseObject({ properties: z.record(text, formFieldSchema).catch({}) }),
  }),
  z.looseObject({
    mode: z.literal('url'),
    turnId: text.nullish(),
    serverName: text,
    message: text,
    url: text,
  }),
]);
export type Elicitation = z.infer<typeof elicitationSchema>;

export const legacyChangeSchema = z
  .object({
    type: text,
    content: text.optional(),
    unified_diff: text.optional(),
    move_path: text.nullable().optional(),
  })
  .catchall(z.json());
export const legacyPatchSchema = z.looseObject({
  callId: text,
  fileChanges: z.record(text, legacyChangeSchema),
  reason: text.nullish(),
  grantRoot: text.nullish(),
});

export const legacyExecSchema = z.looseObject({
  callId: text,
  command: z.array(text),
  cwd: text.nullish(),
  reason: text.nullish(),
});

export const serverRequestResolvedSchema = z.looseObject({ requestId: z.union([text, z.number()]) });
