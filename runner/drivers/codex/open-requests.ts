import { parse, v7 } from 'uuid';
import type { AgentRequest, AgentRequestResolution } from '../../../contract/agent-requests.js';
import { encodeId, idPrefixes } from '../../../contract/ids.js';
import type { DriverContext, SteerAnswer } from '../driver.js';
import { type AskedRequest, askedRequest, type ChangesOf } from './codex-requests.js';
import type { ServerRequest } from './json-rpc.js';
import { requestNote } from './request-notes.js';

/** JSON-RPC 2.0, "Method not found". */
const methodNotFoundCode = -32_601;

interface OpenRequest {
  readonly request: AgentRequest;
  readonly asked: AskedRequest;
  readonly rpc: ServerRequest;
  readonly askedAt: number;
}

/** The requests that Codex waits on, by our ids. Each is answered once, or closed without an answer when Codex waits no more. */
export class OpenRequests {
  readonly #context: DriverContext;
  readonly #tell: (messageId: string, text: string) => Promise<SteerAnswer>;
  readonly #open = new Map<string, OpenRequest>();

  /** `tell` sends a message into the running turn. */
  constructor(context: DriverContext, tell: (messageId: string, text: string) => Promise<SteerAnswer>) {
    this.#context = context;
    this.#tell = tell;
  }

  /**
   * Takes a request of Codex: it waits until `answer`. With `noChannel`, the reason why nobody can be asked, it is answered at once, and so is one that
   * cannot be shown whole; one that is unknown gets an error at once.
   */
  asked(rpc: ServerRequest, changesOf: ChangesOf, noChannel: string | null): void {
    const { listener, log } = this.#context;
    const asked = askedRequest(rpc.method, rpc.params, changesOf);
    if (asked === null) {
      log.warn({ method: rpc.method }, 'refused a request of the agent');
      const message = `AgentRun does not answer ${rpc.method}`;
      rpc.answer({ error: { code: methodNotFoundCode, message } });
      const payload = { phase: 'agent-request-refused', method: rpc.method };
      listener.onEvent({ type: 'backend_status', payload });
      return;
    }
    const requestId = encodeId(idPrefixes.agentRequest, parse(v7()));
    const request = { requestId, ...asked.request };
    this.#open.set(requestId, { request, asked, rpc, askedAt: performance.now() });
    const unasked = noChannel ?? asked.unshowable;
    if (unasked === null) {
      listener.onRequest(request);
      return;
    }
    listener.onEvent({ type: 'approval_requested', payload: request });
    const payload = { requestId, resolution: 'no-channel', reason: unasked };
    listener.onEvent({ type: 'approval_resolved', payload });
    void this.answer(requestId, { resolution: 'no-channel' });
  }

  /**
   * Answers a request; one that is not open any more is ignored. What the bare answer cannot say is said in the thread, as message
   * `note_<requestId>`.
   */
  async answer(requestId: string, resolution: AgentRequestResolution): Promise<void> {
    const open = this.#open.get(requestId);
    if (open === undefined) return;
    this.#open.delete(requestId);
    open.rpc.answer({ result: open.asked.result(resolution) });
    const note = requestNote(
      open.request,
      resolution,
      performance.now() - open.askedAt,
      open.asked.unshowable,
    );
    if (note === null || open.asked.resultTellsWhy) return;
    const { answer } = await this.#tell(`note_${requestId}`, note);
    if (answer !== 'accepted') this.#context.log.warn({ requestId, answer }, 'the agent was not told why');
  }

  /** `serverRequest/resolved`: of our own answer, or because Codex changed its mind. */
  resolved(rpcId: string | number): void {
    for (const [requestId, open] of this.#open) if (open.rpc.id === rpcId) this.#close(requestId);
  }

  /** The turn or the process has ended. */
  closeAll(): void {
    for (const requestId of this.#open.keys()) this.#close(requestId);
  }

  #close(requestId: string): void {
    this.#open.delete(requestId);
    this.#context.listener.onRequestClosed(requestId);
  }
}
