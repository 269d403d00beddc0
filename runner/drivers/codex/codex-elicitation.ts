import type { AgentQuestion, AgentRequestResolution } from '../../../contract/agent-requests.js';
import type { JsonValue } from '../../../contract/json.js';
import type { Elicitation, FormField } from './codex-request-protocol.js';

/** An elicitation of an MCP server: each field of its form is a question, and the answers are the content it gets. */
export interface ElicitationRequest {
  readonly serverName: string;
  readonly message: string;
  readonly url: string | null;
  readonly questions: AgentQuestion[];
  readonly result: (resolution: AgentRequestResolution) => unknown;
}

/** Reads an elicitation (MCP, "Elicitation"): `decline` is a person's no, `cancel` says that nobody decided. Pure. */
export function elicitationRequest(elicitation: Elicitation): ElicitationRequest {
  const { serverName, message } = elicitation;
  const fields = elicitation.mode === 'url' ? [] : Object.entries(elicitation.requestedSchema.properties);
  return {
    serverName,
    message,
    url: elicitation.mode === 'url' ? elicitation.url : null,
    questions: fields.map(([id, field]) => ({
      id: id.slice(0, 200),
      header: (field.title ?? id).slice(0, 500),
      question: (field.description ?? field.title ?? message).slice(0, 4_000),
      options: optionsOf(field),
      secret: false,
    })),
    result: (resolution) => {
      const answer = (action: string, content: JsonValue) => ({ action, content, _meta: null });
      switch (resolution.resolution) {
        case 'approved':
          return answer('accept', elicitation.mode === 'url' ? null : {});
        case 'answered':
          return answer('accept', elicitation.mode === 'url' ? null : contentOf(fields, resolution));
        case 'denied':
          return answer('decline', null);
        case 'timed-out':
        case 'no-channel':
        case 'withdrawn':
        case 'superseded':
          return answer('cancel', null);
      }
    },
  };
}

function optionsOf(field: FormField): AgentQuestion['options'] {
  if (field.type === 'boolean') return ['true', 'false'].map((label) => ({ label, description: '' }));
  const titled = field.oneOf ?? field.items?.anyOf;
  if (titled) return titled.map((one) => ({ label: one.const.slice(0, 500), description: one.title }));
  const values = field.enum ?? field.items?.enum;
  if (!values) return null;
  return values.map((label, at) => ({
    label: label.slice(0, 500),
    description: field.enumNames?.[at] ?? '',
  }));
}

function contentOf(
  fields: readonly [string, FormField][],
  { text, answers }: Extract<AgentRequestResolution, { resolution: 'answered' }>,
): Record<string, JsonValue> {
  const content: Record<string, JsonValue> = {};
  for (const [id, field] of fields) {
    const given = answers?.[id] ?? (text === null ? [] : [text]);
    const value = typedValue(field.type, given);
    if (value !== null) content[id] = value;
  }
  return content;
}

/** An answer in the type of its field; null when it does not fit. */
function typedValue(type: string, given: readonly string[]): JsonValue {
  if (type === 'array') return given.length === 0 ? null : [...given];
  const [first] = given;
  if (first === undefined) return null;
  if (type === 'boolean') return /^(true|yes|y|1)$/i.test(first.trim());
  if (type === 'number' || type === 'integer') {
    const value = Number(first);
    return first.trim() === '' || !Number.isFinite(value) ? null : value;
  }
  return first;
}
