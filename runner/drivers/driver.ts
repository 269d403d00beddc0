import type { AgentRequest, AgentRequestResolution } from '../../contract/agent-requests.js';
import type { CommandPayload, ProviderEvidence } from '../../contract/commands.js';
import type { ProducedEvent } from '../../contract/events.js';
import type { ApprovalPolicy } from '../../contract/execution-policy.js';
import type { RunFailureKind } from '../../contract/failure-kinds.js';
import type { DriverCapabilities } from '../../contract/runners.js';
import type { ProxyObservation } from '../proxy/proxy-observation.js';
import type { AgentProcesses } from './agent-processes.js';

/** What became of a steer (agents.md 2.3). */
export type SteerAnswer =
  /** The agent took it. Whether it is in the thread is told by a `user_message` event. */
  | { readonly answer: 'accepted' }
  /** A turn runs that takes no messages (review, compaction), or not now (overload): the message was not taken and may be sent again. */
  | { readonly answer: 'notSteerable' }
  /** No turn runs: not begun, or just ended. */
  | { readonly answer: 'noActiveTurn' }
  /** The agent refuses this very message. */
  | { readonly answer: 'rejected'; readonly reason: string }
  /** No answer came, or one that says nothing about the message: it may be in the thread or not. Only the thread can tell. */
  | { readonly answer: 'unknown' };

/** How a turn ended. Only the driver's protocol can say so, never an exit code (agents.md 2.1, Exit). */
export interface TurnEnd {
  readonly status: 'completed' | 'interrupted' | 'failed';
  readonly failureKind: RunFailureKind | null;
  readonly message: string | null;
  readonly turnId: string | null;
  /** The provider's part in a failure, if any. */
  readonly provider?: ProviderEvidence | null;
}

/** What a thread held when it was opened: what later attempts decide by (architecture.md 5, "Delivered is not accepted"). */
export interface ThreadHistory {
  /** Ids of our messages that are in the thread; null when this kind of agent keeps none, or when the thread is too long to be read far enough. */
  readonly messageIds: ReadonlySet<string> | null;
  /** The thread holds more than was looked at. */
  readonly truncated: boolean;
  /** The newest turn that holds a message of ours: how it stands in the agent's own records, which of our messages it holds, and its items as events. */
  readonly lastTurn: {
    readonly end: TurnEnd;
    readonly messageIds: ReadonlySet<string>;
    readonly events: readonly ProducedEvent[];
  } | null;
}

export interface OpenedThread {
  readonly threadId: string;
  readonly resumed: boolean;
  /** Read only when it was asked for and the thread was resumed. */
  readonly history: ThreadHistory | null;
}

/** More text of a message or of a summary of reasoning. `restarts`: what the item had before is void. */
export interface TextPiece {
  readonly itemId: string;
  readonly text: string;
  readonly restarts: boolean;
}

/** What a driver tells. All calls come in the order of the agent's own words. */
export interface DriverListener {
  onEvent(event: ProducedEvent): void;
  /** A sign of life that is no event, such as a delta. Every notification is activity (agents.md 2.1). */
  onActivity(): void;
  /** Text that the agent is writing now; the event of its item, which follows, has all of it. */
  onText?(piece: TextPiece): void;
  /** The agent asks a person and waits until `answer` is called for it. */
  onRequest(request: AgentRequest): void;
  /** The agent waits no more for this request: its turn ended, or it changed its mind. */
  onRequestClosed(requestId: string): void;
  /** Once per `prompt`, after all events of the turn. */
  onTurnEnd(end: TurnEnd): void;
}

export interface DriverLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
}

/** What a driver is made of. */
export interface DriverContext {
  readonly processes: AgentProcesses;
  readonly listener: DriverListener;
  readonly log: DriverLog;
  readonly workspaceDirectory: string;
  /** The agent's own folder on the session's volume. */
  readonly agentHomeDirectory: string;
  /** The provider as the agent sees it: the proxy's address and a placeholder for the key. */
  readonly provider: { readonly baseUrl: string; readonly placeholderKey: string; readonly model: string };
  /** What the proxy saw of the last request to a model, for the classification of errors; null before the first one of a turn. */
  readonly lastObservation: () => ProxyObservation | null;
}

/**
 * One kind of agent (agents.md 2.3). Calls: `start`, `openThread`, then `prompt`, and `steer` and `interrupt` while a
 * turn runs; another `prompt` only after the turn's end. `close` is allowed at any time.
 */
export interface AgentDriver {
  readonly capabilities: DriverCapabilities;
  /** Whether the agent can take a prompt: false before `start` and after its process has ended. */
  readonly alive: boolean;
  start(): Promise<void>;
  /**
   * Opens a thread: a new one, or `threadId` with its history. A thread that nobody remembers becomes a new one. `approvalPolicy` holds for the
   * turns that follow; `readHistory` asks for what the thread holds.
   */
  openThread(thread: {
    threadId: string | null;
    approvalPolicy: ApprovalPolicy;
    readHistory: boolean;
  }): Promise<OpenedThread>;
  /** Makes room in the thread's context before a turn, where the agent can; bounded. A failure is logged, not thrown. */
  compact(): Promise<void>;
  /** Starts a turn and answers its id as soon as the agent has it. */
  prompt(messageId: string, payload: CommandPayload): Promise<{ turnId: string }>;
  steer(messageId: string, payload: CommandPayload): Promise<SteerAnswer>;
  /** Hands the answer to a request of {@link DriverListener.onRequest} to the agent. One that nobody waits for any more is ignored. */
  answer(requestId: string, resolution: AgentRequestResolution): Promise<void>;
  /**
   * Asks the turn, or a `compact` that runs, to end; the end of a turn comes through the listener. Answers whether the agent took it, or whether there
   * was nothing to interrupt.
   */
  interrupt(): Promise<boolean>;
  /** Ends what the agent left running in the background. Answers whether it is known to have ended. */
  cleanUp(): Promise<boolean>;
  /** Kills the agent's processes at once. */
  kill(): void;
  /** Ends the agent in order, bounded. */
  close(): Promise<void>;
}
