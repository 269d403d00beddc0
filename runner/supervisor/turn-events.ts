import { type ProducedEvent, producedEventSchema } from '../../contract/events.js';
import type { Redactor } from '../../infra/telemetry/redaction.js';
import type { EventUploader } from './event-uploader.js';
import type { TurnProgress } from './turn-progress.js';

/**
 * The events of one attempt on their way from driver, proxy and supervisor to the uploader: redacted before anything keeps them, the steers' delivery
 * told, and one diff per attempt.
 */
export class TurnEvents {
  readonly #redactor: Redactor;
  readonly #uploader: EventUploader;
  readonly #progress: TurnProgress;
  readonly #steerIds = new Set<string>();
  readonly #shownTexts = new Map<string, string>();
  #agentDiff: ProducedEvent | undefined;

  constructor(parts: { redactor: Redactor; uploader: EventUploader; progress: TurnProgress }) {
    this.#redactor = parts.redactor;
    this.#uploader = parts.uploader;
    this.#progress = parts.progress;
  }

  /** The agent's own diff of this turn, for when there is no diff of the workspace. */
  get agentDiff(): ProducedEvent | undefined {
    return this.#agentDiff;
  }

  /** From now on a user message with this id proves the delivery of a steer. Answers false when it was known. */
  expectSteer(commandId: string): boolean {
    if (this.#steerIds.has(commandId)) return false;
    this.#steerIds.add(commandId);
    return true;
  }

  /** A message of ours whose text is shown otherwise in the log. */
  showAs(messageId: string, text: string): void {
    this.#shownTexts.set(messageId, text);
  }

  /** An event of the agent. Its diff is kept back: the workspace's own is better. */
  add(event: ProducedEvent): void {
    this.#progress.event(event);
    if (event.type === 'diff') {
      this.#agentDiff = event;
      return;
    }
    this.upload(event);
    const commandId = event.type === 'user_message' ? event.payload.commandId : undefined;
    if (typeof commandId === 'string' && this.#steerIds.has(commandId))
      this.add({ type: 'steer_delivery', payload: { commandId, delivery: 'delivered' } });
  }

  upload(event: ProducedEvent): void {
    const { commandId } = event.payload;
    const shown = typeof commandId === 'string' ? this.#shownTexts.get(commandId) : undefined;
    const payload = shown === undefined ? event.payload : { ...event.payload, text: shown };
    this.#uploader.add(
      producedEventSchema.parse({
        ...event,
        at: event.at ?? new Date().toISOString(),
        payload: this.#redactor.json(payload),
        ...(event.raw === undefined ? {} : { raw: this.#redactor.json(event.raw) }),
      }),
    );
  }
}
