import type { z } from 'zod';
import type { AgentRequestResolution } from '../../../contract/agent-requests.js';
import { type legacyChangeSchema, legacyExecSchema, legacyPatchSchema } from './codex-request-protocol.js';
import type { AskedRequest } from './codex-requests.js';
import { type AnnouncedChange, changeTitle, shownRequest } from './shown-request.js';

/** Reads a request of the protocol before `item/…/requestApproval`; null for one that does not fit. */
export function legacyRequest(method: string, params: unknown): AskedRequest | null {
  const exec = method === 'execCommandApproval' ? legacyExecSchema.safeParse(params).data : undefined;
  const patch = method === 'applyPatchApproval' ? legacyPatchSchema.safeParse(params).data : undefined;
  if (exec !== undefined) {
    const command = exec.command.map(quoted).join(' ');
    const { cwd = null, reason = null } = exec;
    return {
      ...shownRequest({
        kind: 'command',
        itemId: exec.callId,
        summary: command,
        command,
        cwd,
        reason,
        subject: { command: exec.command },
      }),
      result: legacyDecision,
      resultTellsWhy: true,
    };
  }
  if (patch === undefined) return null;
  const changes = Object.entries(patch.fileChanges).map(([path, change]) => legacyChange(path, change));
  const root = patch.grantRoot ?? null;
  return {
    ...shownRequest({
      kind: 'file-change',
      itemId: patch.callId,
      summary: `change files: ${changes.map(changeTitle).join(', ')}`,
      reason: patch.reason ?? null,
      facts: root === null ? [] : [`writes below ${root} for the rest of the session`],
      changes,
      subject: changes.length === 0 ? null : { root, changes: patch.fileChanges },
    }),
    result: legacyDecision,
    resultTellsWhy: true,
  };
}

function legacyChange(path: string, change: z.infer<typeof legacyChangeSchema>): AnnouncedChange {
  const { type, content, unified_diff: diff, move_path: movedTo } = change;
  return { path, kind: type, movedTo: movedTo ?? null, diff: diff ?? content ?? null };
}

/** An argument as a shell would need it: two words are not one with a space. */
function quoted(argument: string): string {
  return /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", `'\\''`)}'`;
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
