import type { ApprovalPolicy } from '../../../contract/execution-policy.js';

/** The sandbox in the words of `thread/start` and `thread/resume`. */
const sandboxModes = {
  never: 'danger-full-access',
  'on-request': 'workspace-write',
  untrusted: 'danger-full-access',
} as const satisfies Record<ApprovalPolicy, string>;

/** The same as the object that `turn/start` takes. */
const sandboxPolicies = {
  never: { type: 'dangerFullAccess' },
  'on-request': {
    type: 'workspaceWrite',
    writableRoots: [],
    networkAccess: false,
    excludeTmpdirEnvVar: false,
    excludeSlashTmp: false,
  },
  untrusted: { type: 'dangerFullAccess' },
} as const satisfies Record<ApprovalPolicy, object>;

/** Lets the model ask a question in an ordinary turn; without it Codex 0.169 offers that in its plan mode only. */
const questions = {
  'features.default_mode_request_user_input': true,
  suppress_unstable_features_warning: true,
};

/**
 * Approval policy and sandbox of a thread that is opened. `on-request` needs a sandbox to ask out of: with full access Codex never asks
 * (measured with 0.169). Otherwise the runner's container is the boundary (agents.md 2.1, Secrets and the sandbox). Where a person can be asked, the
 * agent may ask questions too.
 */
export function threadPolicy(policy: ApprovalPolicy): Record<string, unknown> {
  return {
    approvalPolicy: policy,
    sandbox: sandboxModes[policy],
    ...(policy === 'never' ? {} : { config: questions }),
  };
}

/**
 * The same for a thread that is open already: an override of `turn/start`, which holds for later turns too. Whether the model is offered questions
 * stays as it was when the thread was opened.
 */
export function turnPolicy(policy: ApprovalPolicy): { approvalPolicy: string; sandboxPolicy: object } {
  return { approvalPolicy: policy, sandboxPolicy: sandboxPolicies[policy] };
}
