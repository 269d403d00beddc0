import { createHash } from 'node:crypto';
import type {
  AgentQuestion,
  AgentRequest,
  AgentRequestResolution,
} from '../../../contract/agent-requests.js';
import type { JsonValue } from '../../../contract/json.js';
import { elicitationRequest } from './codex-elicitation.js';
import {
  commandApprovalSchema,
  elicitationSchema,
  fileChangeApprovalSchema,
  legacyExecSchema,
  legacyPatchSchema,
  permissionsApprovalSchema,
  userInputSchema,
} from './codex-request-protocol.js';

/** What Codex asks, in the words of the contract, and how an answer is said to Codex. */
export interface AskedRequest {
  /** Without the id, which the driver gives. */
  readonly request: Omit<AgentRequest, 'requestId'>;
  /** The result of the JSON-RPC request for a resolution. */
  readonly result: (resolution: AgentRequestResolution) => unknown;
  /** Codex' own words for "timed out" and for the reason of a denial are part of the result: no note is needed. */
  readonly resultTellsWhy: boolean;
}

/** A file that a patch would change, as the item of the patch announced it. */
export interface AnnouncedChange {
  readonly path: string;
  readonly kind: string;
  readonly diff: string | null;
}

/**
 * Reads a request of Codex (agents.md 2.1, Server requests); null for one that nobody can be asked about, which must get an error. `changesOf`
 * answers what the item of a patch said that it changes. Pure.
 *
 * | method | kind | approved / for the session | anything else |
 * |---|---|---|---|
 * | item/commandExecution/requestApproval | command | accept / acceptForSession | decline |
 * | item/fileChange/requestApproval | file-change | accept / acceptForSession | decline |
 * | item/permissions/requestApproval | permissions | what was asked, scope turn / session | nothing granted |
 * | item/tool/requestUserInput | question | answers | no answers |
 * | mcpServer/elicitation/request | elicitation | accept with the answers as content | decline; cancel when nobody decided |
 * | execCommandApproval, applyPatchApproval | command, file-change | approved / approved_for_session | denied; timed_out |
 */
export function askedRequest(
  method: string,
  params: unknown,
  changesOf: (itemId: string) => readonly AnnouncedChange[],
): AskedRequest | null {
  switch (method) {
    case 'item/commandExecution/requestApproval':
      return commandRequest(params);
    case 'item/fileChange/requestApproval':
      return fileChangeRequest(params, changesOf);
    case 'item/permissions/requestApproval':
      return permissionsRequest(params);
    case 'item/tool/requestUserInput':
      return userInputRequest(params);
    case 'mcpServer/elicitation/request': {
      const elicitation = elicitationSchema.safeParse(params).data;
      if (elicitation === undefined) return null;
      const { message, serverName, url, questions, result } = elicitationRequest(elicitation);
      return {
        request: agentRequest(
          {
            kind: 'elicitation',
            itemId: null,
            summary: `${serverName}: ${message}${url === null ? '' : ` ${url}`}`,
            reason: message,
            questions,
          },
          { serverName, message, url },
        ),
        result,
        resultTellsWhy: false,
      };
    }
    case 'execCommandApproval':
    case 'applyPatchApproval':
      return legacyRequest(method, params);
    default:
      return null;
  }
}

function commandRequest(params: unknown): AskedRequest | null {
  const asked = commandApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const command = asked.command ?? null;
  const network = asked.networkApprovalContext ?? null;
  const what =
    asked.kind === 'writeStdin'
      ? `type into a running terminal: ${command ?? ''}`
      : (command ?? `network access ${JSON.stringify(network)}`);
  return {
    request: agentRequest(
      {
        kind: 'command',
        itemId: asked.itemId,
        summary: what,
        command,
        cwd: asked.cwd ?? null,
        reason: asked.reason ?? null,
      },
      { kind: asked.kind ?? 'command', network, permissions: asked.additionalPermissions ?? null },
    ),
    result: decision,
    resultTellsWhy: false,
  };
}

function fileChangeRequest(
  params: unknown,
  changesOf: (itemId: string) => readonly AnnouncedChange[],
): AskedRequest | null {
  const asked = fileChangeApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const changes = changesOf(asked.itemId);
  const files = changes.map((change) => `${change.kind} ${change.path}`).join(', ');
  const root = asked.grantRoot ?? null;
  return {
    request: agentRequest(
      {
        kind: 'file-change',
        itemId: asked.itemId,
        summary: `change files: ${files || (root ?? 'unknown')}`,
        reason: asked.reason ?? null,
      },
      // With the texts: an answer to one patch is none to another of the same file.
      { root, changes: changes.map(({ path, kind, diff }) => ({ path, kind, diff })) },
    ),
    result: decision,
    resultTellsWhy: false,
  };
}

function permissionsRequest(params: unknown): AskedRequest | null {
  const asked = permissionsApprovalSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const wanted = Object.fromEntries(Object.entries(asked.permissions).filter(([, value]) => value !== null));
  return {
    request: agentRequest(
      {
        kind: 'permissions',
        itemId: asked.itemId,
        summary: `more permissions: ${JSON.stringify(wanted)}`,
        cwd: asked.cwd ?? null,
        reason: asked.reason ?? null,
      },
      wanted,
    ),
    result: (resolution) =>
      resolution.resolution === 'approved'
        ? { permissions: wanted, scope: resolution.forSession ? 'session' : 'turn' }
        : { permissions: {}, scope: 'turn' },
    resultTellsWhy: false,
  };
}

function userInputRequest(params: unknown): AskedRequest | null {
  const asked = userInputSchema.safeParse(params).data;
  if (asked === undefined) return null;
  const questions = asked.questions.map(
    (question): AgentQuestion => ({
      id: question.id,
      header: question.header.slice(0, 500),
      question: question.question.slice(0, 4_000),
      options:
        question.options?.map((option) => ({
          label: option.label.slice(0, 500),
          description: option.description.slice(0, 2_000),
        })) ?? null,
      secret: question.isSecret,
    }),
  );
  return {
    request: agentRequest({
      kind: 'question',
      itemId: asked.itemId,
      summary: questions.map((question) => question.question).join(' / '),
      questions,
    }),
    result: (resolution) => {
      const given = Object.entries(answersTo(questions, resolution));
      return { answers: Object.fromEntries(given.map(([id, answers]) => [id, { answers }])) };
    },
    resultTellsWhy: false,
  };
}

function legacyRequest(method: string, params: unknown): AskedRequest | null {
  const exec = method === 'execCommandApproval' ? legacyExecSchema.safeParse(params).data : undefined;
  const patch = method === 'applyPatchApproval' ? legacyPatchSchema.safeParse(params).data : undefined;
  if (exec !== undefined) {
    const command = exec.command.join(' ');
    const { cwd = null, reason = null } = exec;
    return {
      request: agentRequest({ kind: 'command', itemId: exec.callId, summary: command, command, cwd, reason }),
      result: legacyDecision,
      resultTellsWhy: true,
    };
  }
  if (patch === undefined) return null;
  return {
    request: agentRequest(
      {
        kind: 'file-change',
        itemId: patch.callId,
        summary: `change files: ${Object.keys(patch.fileChanges).join(', ')}`,
        reason: patch.reason ?? null,
      },
      patch.fileChanges,
    ),
    result: legacyDecision,
    resultTellsWhy: true,
  };
}

function decision(resolution: AgentRequestResolution): unknown {
  if (resolution.resolution !== 'approved') return { decision: 'decline' };
  return { decision: resolution.forSession ? 'acceptForSession' : 'accept' };
}

function legacyDecision(resolution: AgentRequestResolution): unknown {
  switch (resolution.resolution) {
    case 'approved':
      return { decision: resolution.forSession ? 'approved_for_session' : 'approved' };
    case 'timed-out':
      return { decision: 'timed_out' };
    case 'denied':
    case 'answered':
      return { decision: { denied: { rejection: resolution.text ?? 'denied' } } };
    case 'no-channel':
    case 'withdrawn':
    case 'superseded':
      return { decision: { denied: { rejection: `not decided by anybody (${resolution.resolution})` } } };
  }
}

/**
 * The answers of a resolution by question: those given by id, and the text for every question that has none of its own. Nothing for a
 * resolution that is no answer.
 */
function answersTo(
  questions: readonly AgentQuestion[],
  resolution: AgentRequestResolution,
): Record<string, string[]> {
  if (resolution.resolution !== 'answered') return {};
  const { text, answers } = resolution;
  const given: Record<string, string[]> = {};
  for (const { id } of questions) {
    const own = answers?.[id];
    if (own !== undefined) given[id] = own;
    else if (text !== null) given[id] = [text];
  }
  return given;
}

type RequestFields = Pick<AgentRequest, 'kind' | 'itemId' | 'summary'> &
  Partial<Pick<AgentRequest, 'command' | 'cwd' | 'reason' | 'questions'>>;

/** Fills in what a kind of request does not have, and cuts texts to the contract's limits. */
function agentRequest(fields: RequestFields, details: JsonValue = null): Omit<AgentRequest, 'requestId'> {
  const { kind, itemId, summary, command = null, cwd = null, reason = null, questions = [] } = fields;
  return {
    kind,
    itemId,
    summary: summary.slice(0, 2_000),
    command: command?.slice(0, 20_000) ?? null,
    cwd: cwd?.slice(0, 4_096) ?? null,
    reason: reason?.slice(0, 4_000) ?? null,
    questions: questions.slice(0, 20),
    fingerprint: createHash('sha256')
      .update(JSON.stringify([kind, command, cwd, details, questions]))
      .digest('hex'),
  };
}
